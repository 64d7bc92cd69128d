"""The same signal has the same id, whoever computes it, and no two signals share one."""

from __future__ import annotations

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from server.signals.model import Signal, SignalStatus, signal_id

TEXT = st.text(st.characters(codec="ascii", exclude_characters="\n"), max_size=8)
KEYS = st.tuples(TEXT, TEXT, TEXT, TEXT, TEXT, st.integers(0, 1 << 45))


def test_the_id_is_a_promise_to_every_table_that_has_it() -> None:
    trader = "3f9b1d3e-0000-4000-8000-000000000001"
    found = signal_id(trader, "abc", "spot", "BTCUSDT", "1m", 1_700_000_000_000)
    assert found == "7c67c43a-39e1-5c45-8432-9c8017e688d2"


@given(KEYS, KEYS)
def test_ids_are_equal_exactly_when_what_they_stand_for_is(
    one: tuple[str, str, str, str, str, int], other: tuple[str, str, str, str, str, int]
) -> None:
    assert (signal_id(*one) == signal_id(*other)) == (one == other)


def test_a_signal_survives_its_journey_as_json() -> None:
    signal = Signal(
        id="i",
        trader_id="t",
        filter_hash="h",
        market="spot",
        symbol="BTCUSDT",
        interval="1m",
        open_time_ms=60_000,
        price="0.00001000",
        status=SignalStatus.FIRED,
        revision=1,
        data_revision=7,
        complete=True,
        values={"rsi(14)": 29.5, "sma(200)": None},
        anchors={"1m": 0},
        at_ms=120_001,
    )
    assert msgspec.json.decode(msgspec.json.encode(signal), type=Signal) == signal
