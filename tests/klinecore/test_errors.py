"""klinecore.errors: one class per reaction."""

from __future__ import annotations

import pytest

import klinecore as kc


def test_the_tree() -> None:
    assert issubclass(kc.ParseError, kc.KlineCoreError)
    assert issubclass(kc.UnknownSeriesError, kc.KlineCoreError)
    assert issubclass(kc.UnknownSeriesError, LookupError)
    assert not issubclass(kc.KlineCoreError, ValueError)


def test_an_unknown_symbol_names_what_exists() -> None:
    market = kc.Market(["BTCUSDT", "ETHUSDT"], ["1m"])
    with pytest.raises(kc.UnknownSeriesError) as caught:
        market["XRPUSDT", "1m"]
    assert str(caught.value) == "unknown symbol 'XRPUSDT'; this market holds: BTCUSDT, ETHUSDT"
    assert (caught.value.what, caught.value.name) == ("symbol", "XRPUSDT")
    assert caught.value.known == ("BTCUSDT", "ETHUSDT")


def test_an_unknown_interval_names_what_exists() -> None:
    market = kc.Market(["BTCUSDT"], ["1m", "1h"])
    with pytest.raises(kc.UnknownSeriesError) as caught:
        market["BTCUSDT", "1M"]
    assert str(caught.value) == "unknown interval '1M'; this market holds: 1m, 1h"
    assert (caught.value.what, caught.value.known) == ("interval", ("1m", "1h"))


def test_a_long_list_is_cut_in_the_message_and_whole_in_the_attribute() -> None:
    known = [f"S{number}" for number in range(500)]
    error = kc.UnknownSeriesError("symbol", "X", known)
    assert str(error).endswith("S9, ... (500 in all)")
    assert error.known == tuple(known)
