"""How long a refusal takes says nothing of how much of a key was right."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from statistics import fmean, pvariance

import pytest

from server.access.follower import FollowedKeys
from server.access.keys import KeysFile
from server.api.auth import Gate
from server.api.problems import ApiError
from server.clock import SystemClock
from server.identity import Scope, Tier

Make = Callable[[random.Random], bytes]
SAMPLES = 100_000
#: Of Welch's t, as usual for leaks: beyond it they are there.
T_MAX = 4.5
#: Share of the samples that is kept, the fastest: the rest is what else the machine did.
KEPT = 0.8
#: A machine that is busy in an uneven way may be asked again; a leak shows each time.
ROUNDS = 3


def welch(one: list[int], other: list[int]) -> float:
    kept = [sorted(samples)[: int(len(samples) * KEPT)] for samples in (one, other)]
    error = sum(pvariance(samples) / len(samples) for samples in kept) ** 0.5
    return abs(fmean(kept[0]) - fmean(kept[1])) / error


def measure(gate: Gate, kinds: tuple[Make, Make]) -> float:
    """Welch's t of two kinds of refusals, in a random order, each many times."""
    samples: tuple[list[int], list[int]] = ([], [])
    check, clock = gate.check, time.perf_counter_ns
    draw = random.Random(7)
    # Another text each time: where one happens to lie in a table is no leak.
    texts = [(which, kinds[which](draw)) for which in [0, 1] * SAMPLES]
    draw.shuffle(texts)
    for which, text in texts:
        gate._failures.clear()
        # Copied, so that all lie in the same place, and the processor knows each as well.
        headers = [(b"x-api-key", bytes(bytearray(text)))]
        started = clock()
        with suppress(ApiError):
            check(headers, "10.0.0.1")
        samples[which].append(clock() - started)
    return welch(*samples)


LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"


def letters(draw: random.Random, count: int) -> bytes:
    return "".join(draw.choices(LETTERS, k=count)).encode()


@pytest.mark.slow
@pytest.mark.parametrize("pair", ["key of the file", "own key"])
def test_a_refusal_takes_as_long_however_much_was_right(tmp_path: Path, pair: str) -> None:
    file = KeysFile(str(tmp_path / "keys.json"))
    keys = [file.add("ann", Tier.FREE, Scope.READ, now_ms=0)[0].encode() for _ in range(64)]
    own = b"correct-horse-battery-staple-and-much-more-beside"
    gate = Gate([own.decode()], SystemClock(), keys=FollowedKeys(file, SystemClock()))
    kinds: dict[str, tuple[Make, Make]] = {
        "key of the file": (
            lambda draw: draw.choice(keys)[:40] + letters(draw, 22),
            lambda draw: draw.choice(keys)[:19] + letters(draw, 43),
        ),
        "own key": (
            lambda draw: own[:30] + letters(draw, len(own) - 30),
            lambda draw: b"X" + own[1:30] + letters(draw, len(own) - 30),
        ),
    }
    results = []
    for _ in range(ROUNDS):
        results.append(measure(gate, kinds[pair]))
        if results[-1] < T_MAX:
            return
    raise AssertionError(f"Welch's t was {results}")


def test_the_statistic_finds_a_difference() -> None:
    draw = random.Random(1)
    same = [[int(draw.gauss(1000, 50)) for _ in range(5000)] for _ in range(2)]
    assert welch(*same) < T_MAX
    assert welch(same[0], [sample + 10 for sample in same[1]]) > T_MAX
