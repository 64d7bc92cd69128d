"""``trader``: filters explained without a server, and refused with a mark at the place."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest


def test_explain_shows_how_a_filter_is_read(run: Callable[..., Any]) -> None:
    result = run("trader", "explain", "rsi() < 30 and close > sma(200)", "--interval", "1h")
    assert result.exit_code == 0, result.output
    lines = result.output.splitlines()
    assert lines[0] == "filter   rsi(close, 14) < 30 and close > sma(close, 200)"
    assert lines[2:4] == ["klines   200 of 1h", "symbols  each by itself"]
    assert "  number     rsi(close, 14)" in lines
    assert "  condition  close > sma(close, 200)" in lines


def test_explain_names_the_own_interval_only_if_it_is_told(run: Callable[..., Any]) -> None:
    lines = run("trader", "explain", 'rank(close @ "4h") < 3').output.splitlines()
    assert lines[2] == "klines   1 of its own interval, 1 of 4h"
    assert lines[3] == "symbols  all together"


@pytest.mark.parametrize(
    ("text", "message", "column", "hint"),
    [
        ("rsy(14) < 30", "rsy", 1, "did you mean rsi"),
        ("close > 1 andd close", "andd", 11, ""),
        ("rsi(14)", "a filter is a condition", 1, "> 0"),
    ],
)
def test_what_is_no_filter_is_refused_with_a_mark_at_the_place(
    run: Callable[..., Any], text: str, message: str, column: int, hint: str
) -> None:
    result = run("trader", "explain", text)
    assert result.exit_code == 2
    shown = result.output.splitlines()
    assert f"column {column}" in shown[0]
    assert shown[1] == f"    {text}"
    assert shown[2] == " " * (3 + column) + "^"
    assert hint in result.output
    assert message in result.output


def test_an_interval_that_is_none_is_refused(run: Callable[..., Any]) -> None:
    result = run("trader", "explain", "close > 1", "--interval", "7m")
    assert result.exit_code == 2
    assert "7m" in result.output
