"""What no filter may be is refused where it stands, and none of it is ever run."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from reference.hostile_filters import BOMBS, ESCAPES, HOSTILE, named

from klinecore.filters import FilterError, Limits, compile, parse_expression

SUPPORT = Path(__file__).parents[2] / "support"

# Events of Python's audit hooks while each text is compiled, by kind; what the catalog evaluates
# of its own, the rows before the first value, is known beforehand.
WATCHED = """
import json, sys
sys.path.insert(0, sys.argv[1])
from reference.hostile_filters import HOSTILE
from klinecore.filters import FilterError, compile as read
from klinecore.indicators import CATALOG
from klinecore.indicators.entry import _compiled

texts = [*HOSTILE, "rsi(14) < 30 and macd(12, 26, 9).hist @ '1h' > 0"]
own = {_compiled(entry.rows_before) for entry in CATALOG.values()}
counts, seen = {}, []

def hook(event, args):
    if event == "exec" and args[0] in own:
        event = "own exec"
    seen.append(event)

def refused(text):
    try:
        read(text)
    except FilterError as error:
        str(error)
        return True
    return False

refused(texts[0])
refusals = []
sys.addaudithook(hook)
for text in texts:
    refusals.append(refused(text))
events = list(seen)
for event in events:
    counts[event] = counts.get(event, 0) + 1
print(json.dumps([sum(refusals), len(texts), counts]))
"""


def test_there_are_enough_of_them() -> None:
    assert len(set(ESCAPES)) >= 300
    assert len(set(BOMBS)) >= 90


@pytest.mark.parametrize("text", HOSTILE, ids=named)
def test_it_is_refused_with_the_place_and_a_hint(text: str) -> None:
    with pytest.raises(FilterError) as caught:
        compile(text)
    error = caught.value
    assert error.line >= 1
    assert 1 <= error.column <= len(text) + 1
    assert error.message
    assert error.hint
    assert len(error.message) <= 200
    shown = str(error)
    assert shown.isascii()
    assert all(c == "\n" or c.isprintable() for c in shown)
    assert len(shown) <= 1000


def test_nothing_of_them_is_run_imported_or_opened() -> None:
    command = [sys.executable, "-c", WATCHED, str(SUPPORT)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    refused, texts, events = json.loads(done.stdout)
    assert (refused, texts) == (len(HOSTILE), len(HOSTILE) + 1)
    # Trees are made, and that is an event too; code is run for the catalog's own lookbacks only.
    assert set(events) <= {"compile", "own exec", "builtins.id"}


@pytest.mark.parametrize("given", [None, 3, b"close > 3", ["close > 3"]])
def test_what_is_no_text_is_the_callers_mistake(given: object) -> None:
    with pytest.raises(TypeError, match="a filter is a str, not"):
        compile(given)  # type: ignore[arg-type]


# Each limit: a text at it, and one over it.
AT_AND_OVER = {
    "text": (Limits(text=9), "close > 3", "close > 30"),
    "tokens": (Limits(tokens=3), "close > 3", "close > -3"),
    "depth": (Limits(depth=3), "abs(close) > 3", "abs(abs(close)) > 3"),
    "nodes": (Limits(nodes=3), "close > 3", "close > -open"),
    "indicators": (Limits(indicators=1), "rsi(14) > rsi(14)", "rsi(14) > rsi(15)"),
    "window": (Limits(window=20), "sma(20) > 1", "sma(20)[1] > 1"),
    "windows": (Limits(windows=24), "sma(20) > sma(6)", "sma(20) > sma(7)"),
    "cost_ns": (Limits(cost_ns=1), "close > 3", "close > 3 and open > 3"),
    "intervals": (Limits(intervals=1), 'rsi(2) @ "1h" > 1', 'rsi(2) @ "1h" > rsi(2) @ "4h"'),
}


def test_every_limit_is_tried() -> None:
    assert set(AT_AND_OVER) == set(Limits.__dataclass_fields__)


@pytest.mark.parametrize("limit", AT_AND_OVER)
def test_a_limit_allows_what_is_at_it_and_names_itself_beyond(limit: str) -> None:
    limits, at, over = AT_AND_OVER[limit]
    if limit == "text":
        assert parse_expression(at, limits=limits).normal == at
    else:
        compile(at, limits=limits)
    with pytest.raises(FilterError) as caught:
        compile(over, limits=limits)
    assert caught.value.hint == f"limit: {limit}"
    assert str(getattr(limits, limit)) in caught.value.message


def test_a_normal_form_over_the_limit_is_refused_too() -> None:
    with pytest.raises(FilterError) as caught:
        compile("rsi() > 3", limits=Limits(text=12))
    assert caught.value.message.startswith("in its normal form, a filter has at most 12")
    assert (caught.value.column, caught.value.hint) == (1, "limit: text")
    with pytest.raises(FilterError) as caught:
        compile("rsi() > 3", limits=Limits(tokens=7))
    assert caught.value.message.startswith("in its normal form, a filter has at most 7")
    assert (caught.value.column, caught.value.hint) == (1, "limit: tokens")


def test_parts_that_are_shared_cost_no_more_than_once() -> None:
    text = "close"
    for _ in range(10):
        text = f"count(1 < {text} < 9, 2)"
    made = parse_expression(text)
    assert made.normal == text
    assert len(list(made.root.walk())) == 3 + 4 * 10
    # Comparing them, and taking their hash, is no walk over all paths either.
    assert hash(made.root) == hash(parse_expression(text).root)
    assert made.root == parse_expression(text).root
