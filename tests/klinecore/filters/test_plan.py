"""Filters become steps, and those that several filters have in common are one."""

from __future__ import annotations

import klinecore as kc
from klinecore.filters.plan import resolve


def test_a_filter_takes_the_steps_that_others_have_already() -> None:
    first = resolve(kc.filters.compile("rsi(14) > 70 and close > ema(50)").root, "1m")
    held = {step.key: step for step in first.walk()}
    second = kc.filters.compile("rsi(14) > 80 and close > ema(50)").root
    alone = {step.key: step for step in resolve(second, "1m").walk()}
    found = {step.key: step for step in resolve(second, "1m", held).walk()}
    assert list(found) == list(alone)
    shared = {step.op for key, step in found.items() if step is held.get(key)}
    assert shared == {"indicator", "field", "gt"}
    assert {step.op for key, step in found.items() if key not in held} == {"const", "gt", "and"}
    assert len(held) == len(list(first.walk())), "what is held is not added to"


def test_on_another_interval_the_same_text_is_another_step() -> None:
    root = kc.filters.compile("rsi(14) > 70").root
    held = {step.key: step for step in resolve(root, "1m").walk()}
    assert not any(step.key in held for step in resolve(root, "5m", held).walk())
