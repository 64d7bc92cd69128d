"""The judge must see what it is there for: each kind of fault, put into an answer by hand."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from simulation.judge import Judge
from simulation.trouble import HEAL_S, Trouble

from server.exchange.book import Book
from server.exchange.generated import GeneratedMarket
from server.exchange.listings import Listings

START_MS = 1_768_384_740_000
END_MS = START_MS + 7_200_000
NOW_MS = START_MS + 3_600_000
HEAL_MS = int(HEAL_S * 1000)


def make_judge(market: str = "spot") -> Judge:
    book = Book(Listings(GeneratedMarket(3, ["BTCUSDT"], market=market)))
    return Judge(
        book,
        ("1m",),
        5,
        first_ms=START_MS,
        end_ms=END_MS,
        trouble=Trouble(START_MS),
        note=lambda kind, *facts: None,
    )


def body_of(judge: Judge, places: Callable[[int], list[int]]) -> bytes:
    """An answer of the truth's rows at ``places(end)``, where ``end`` is one behind the newest."""
    truth = judge.truth("BTCUSDT", "1m")
    texts = [truth.texts[place] for place in places(truth.closed_by(NOW_MS))]
    return f'{truth.head}{",".join(texts)}],"count":{len(texts)}}}'.encode()


@pytest.mark.parametrize(
    ("places", "kind"),
    [
        (lambda end: [end - 5, end - 4, end - 3, end - 2, end - 1], None),
        (lambda end: [end - 5, end - 4, end - 2, end - 1], "lost"),
        (lambda end: [end - 5, end - 4, end - 3, end - 2], "lost"),
        (lambda end: [end - 5, end - 4, end - 4, end - 3, end - 2, end - 1], "duplicated"),
        (lambda end: [end - 5, end - 3, end - 4, end - 2, end - 1], "out_of_order"),
        (lambda end: [end - 4, end - 3, end - 2, end - 1, end], "invented"),  # not closed yet
    ],
)
def test_rows_that_are_not_the_truth_are_seen(
    places: Callable[[int], list[int]], kind: str | None
) -> None:
    judge = make_judge()
    judge.check_body("BTCUSDT", "1m", body_of(judge, places), NOW_MS, final=True)
    found = {name for name, count in judge.found.items() if count}
    assert (kind in found) if kind else (found == set())
    assert judge.verdict({}).ok == (kind is None)


def test_one_other_digit_is_an_invented_row() -> None:
    judge = make_judge()
    body = body_of(judge, lambda end: list(range(end - 5, end)))
    at = body.index(b'"c":"') + 6
    judge.check_body("BTCUSDT", "1m", body[:at] + b"7777" + body[at + 4 :], NOW_MS)
    assert judge.found["invented"] == 1


def test_a_count_that_is_not_the_number_of_rows_is_seen() -> None:
    judge = make_judge()
    body = body_of(judge, lambda end: list(range(end - 5, end)))
    judge.check_body("BTCUSDT", "1m", body.replace(b'"count":5', b'"count":4'), NOW_MS)
    assert judge.found["invented"] == 1


def close_frame(judge: Judge, place: int, revised: bool = False) -> bytes:
    row = judge.truth("BTCUSDT", "1m").texts[place]
    extra = ',"revised":true' if revised else ""
    return f'{{"e":"kline","E":1,"k":{row[:-1]},"s":"BTCUSDT","i":"1m"}}{extra}}}'.encode()


def test_each_close_must_be_told_once() -> None:
    judge = make_judge()
    truth = judge.truth("BTCUSDT", "1m")
    from_ms = NOW_MS - 3 * 60_000
    first, end = truth.closed_by(from_ms), truth.closed_by(NOW_MS)
    judge.begin_life()
    judge.follow("BTCUSDT", from_ms)
    for place in range(first, end):
        judge.hear(close_frame(judge, place))
    judge.hear(close_frame(judge, end - 1, revised=True))
    judge.end_life(NOW_MS + HEAL_MS)
    told_to = truth.closed_by(NOW_MS + HEAL_MS)
    assert judge.found["closes_missing"] == 0  # the last minutes have time to come
    assert judge.found["closes_twice"] == 0
    judge.begin_life()
    judge.follow("BTCUSDT", from_ms)
    judge.hear(close_frame(judge, first))
    judge.hear(close_frame(judge, first))
    judge.end_life(NOW_MS + HEAL_MS + 60_000)
    assert judge.found["closes_twice"] == 1
    assert judge.found["closes_missing"] > 0
    assert told_to > end


def test_a_breach_of_the_exchanges_limits_is_a_fault() -> None:
    verdict = make_judge().verdict({"refused_429": 0, "too_many_messages": 1})
    assert (verdict.ok, verdict.faults) == (False, ("breach: too_many_messages: 1",))


def test_a_hole_is_excused_until_there_was_calm_for_long_enough() -> None:
    trouble = Trouble(0)
    minute = 60_000
    assert trouble.excuses(10 * minute, 10 * minute + HEAL_MS - 1)
    assert not trouble.excuses(10 * minute, 10 * minute + HEAL_MS)
    trouble.add(20 * minute, 25 * minute)
    assert not trouble.excuses(10 * minute, 21 * minute)  # there was calm before
    assert trouble.excuses(19 * minute, 25 * minute)
    assert not trouble.excuses(19 * minute, 25 * minute + HEAL_MS)
    trouble.add(26 * minute, 26 * minute)  # a minute of calm was not enough
    assert trouble.excuses(19 * minute, 26 * minute)
    trouble.add(40 * minute, 50 * minute)
    assert not trouble.excuses(19 * minute, 41 * minute)
    assert trouble.excuses(39 * minute, 41 * minute)
