"""Each answer of PostgREST has one meaning for the rows that were sent."""

from __future__ import annotations

import pytest

from server.sync.answers import NO_ANSWER, Answer, Verdict, judge
from server.sync.rest import refusal


@pytest.mark.parametrize(
    ("status", "code", "verdict"),
    [
        (201, "", Verdict.DONE),
        (200, "", Verdict.DONE),
        (NO_ANSWER, "", Verdict.AGAIN),
        (302, "", Verdict.AGAIN),
        (408, "", Verdict.AGAIN),
        (429, "", Verdict.AGAIN),
        (500, "", Verdict.AGAIN),
        (503, "PGRST000", Verdict.AGAIN),
        (503, "PGRST001", Verdict.AGAIN),
        (503, "PGRST002", Verdict.AGAIN),
        (504, "PGRST003", Verdict.AGAIN),
        (500, "40001", Verdict.AGAIN),
        (500, "40P01", Verdict.AGAIN),
        (503, "53300", Verdict.AGAIN),
        (503, "57P01", Verdict.AGAIN),
        (503, "57P03", Verdict.AGAIN),
        (503, "08006", Verdict.AGAIN),
        (500, "57014", Verdict.HEAVY),
        (413, "", Verdict.HEAVY),
        (401, "", Verdict.REFUSED),
        (401, "PGRST301", Verdict.REFUSED),
        (403, "42501", Verdict.REFUSED),
        (404, "PGRST205", Verdict.REFUSED),
        (400, "PGRST204", Verdict.REFUSED),
        (400, "42P10", Verdict.REFUSED),
        (500, "XX000", Verdict.STRANGE),
        (400, "22P02", Verdict.POISON),
        (400, "23502", Verdict.POISON),
        (409, "23505", Verdict.POISON),
        (409, "23503", Verdict.POISON),
        (400, "23514", Verdict.POISON),
        (400, "21000", Verdict.POISON),
        (403, "PT403", Verdict.POISON),
        (400, "PGRST102", Verdict.POISON),
    ],
)
def test_an_answer_has_one_meaning(status: int, code: str, verdict: Verdict) -> None:
    assert judge(Answer(status=status, code=code)) is verdict


def test_what_came_too_late_may_have_been_too_much() -> None:
    assert judge(Answer(status=NO_ANSWER, late=True)) is Verdict.HEAVY


@pytest.mark.parametrize(
    ("body", "code", "detail"),
    [
        (b'{"code":"23502","message":"null","details":"row (1)","hint":null}', "23502",
         "null - row (1)"),
        (b'{"code":401,"message":"Invalid API key"}', "", "Invalid API key"),
        (b"<html>Bad Gateway</html>", "", "<html>Bad Gateway</html>"),
        (b"", "", ""),
        (b"[]", "", "[]"),
        (b"\xff\xfe", "", "\ufffd\ufffd"),
    ],
)  # fmt: skip
def test_the_body_of_a_refusal_is_read_whatever_it_is(body: bytes, code: str, detail: str) -> None:
    answer = refusal(400, body, "7")
    assert (answer.code, answer.detail, answer.retry_after_s) == (code, detail, 7.0)


def test_what_is_said_of_a_row_is_bounded() -> None:
    answer = refusal(400, b'{"code":"%s","message":"%s"}' % (b"c" * 999, b"m" * 9999), "9" * 9)
    assert len(answer.code) <= 20
    assert len(answer.detail) <= 400
    assert answer.retry_after_s <= 300
