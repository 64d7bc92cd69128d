"""Bugs planted in the server on purpose: seeds must find each, and name it."""

from __future__ import annotations

from typing import Any

import pytest
from simulation.seeds import Outcome, run_seed

from server.feeds.answers import Answers
from server.feeds.backfill import Backfill
from server.feeds.closes import Closes
from server.signals.channels import Channels


def found(outcome: Outcome) -> set[str]:
    return {fault.partition(":")[0] for fault in outcome.verdict.faults}


def test_a_forming_row_taken_as_closed_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    def never(self: Answers, key: Any, answer: Any, *, followed: bool) -> tuple[int, int]:
        return 1 << 60, 0

    monkeypatch.setattr(Answers, "_judge", never)
    assert "invented" in found(run_seed(1, symbols=3, hours=2.0, names=("drop_closes",)))


def test_holes_that_nobody_fills_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    async def do_nothing(self: Backfill) -> None:
        return

    monkeypatch.setattr(Backfill, "sweep", do_nothing)
    monkeypatch.setattr(Closes, "_fetch_late", lambda self, group: None)
    assert "lost" in found(run_seed(1, symbols=3, hours=2.0, names=("drop_closes",)))


def test_a_close_told_twice_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    right = Channels._publish_closed

    def twice(self: Channels, event: Any) -> None:
        right(self, event)
        right(self, event)

    monkeypatch.setattr(Channels, "_publish_closed", twice)
    assert "closes_twice" in found(run_seed(1, symbols=3, hours=0.5))


def test_a_close_told_to_nobody_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    right = Channels._publish_closed

    def sometimes(self: Channels, event: Any) -> None:
        if event.open_time_ms % 420_000:
            right(self, event)

    monkeypatch.setattr(Channels, "_publish_closed", sometimes)
    assert "closes_missing" in found(run_seed(1, symbols=3, hours=0.5))


def test_a_barrier_told_twice_or_never_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    right = Channels._publish_barrier

    def odd(self: Channels, event: Any) -> None:
        for _ in range(event.open_time_ms // 60_000 % 3):
            right(self, event)

    monkeypatch.setattr(Channels, "_publish_barrier", odd)
    outcome = run_seed(1, symbols=3, hours=0.5, names=("reorder",))
    assert any("was told again" in fault for fault in outcome.verdict.faults)
    assert any("was not told" in fault for fault in outcome.verdict.faults)


def test_a_barrier_told_before_its_closes_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    right = Channels._publish_closed
    waiting: list[Any] = []

    def one_late(self: Channels, event: Any) -> None:
        waiting.append(event)
        if len(waiting) > 1:
            right(self, waiting.pop(0))

    monkeypatch.setattr(Channels, "_publish_closed", one_late)
    assert "barrier" in found(run_seed(1, symbols=3, hours=0.5, names=("reorder",)))


def test_too_many_requests_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    right = Backfill.sweep

    async def a_hundred_times(self: Backfill) -> None:
        await right(self)
        for _ in range(100):
            await self._answers.api._rest.get("/api/v3/exchangeInfo", {})

    monkeypatch.setattr(Backfill, "sweep", a_hundred_times)
    assert "breach" in found(run_seed(1, symbols=3, hours=0.5))
