"""A name that exists in one table exists in all, and does what is said of it."""

from __future__ import annotations

import re

import pytest

from klinecore.filters import (
    FIELDS,
    OPERATIONS,
    READY,
    TICKER_FIELDS,
    FilterError,
    parse_expression,
)
from klinecore.filters.drafting import prompt
from klinecore.filters.vocabulary import (
    CALLS,
    FIELD_MEANINGS,
    OTHERWISE,
    SIGNS,
    TICKER_MEANINGS,
    Word,
    names,
    words,
)
from klinecore.indicators import CATALOG

STAND_FOR = {"x": "close", "y": "open", "n": "5", "low": "low", "high": "high"}


def filled(signature: str, *series: str) -> str:
    """A signature with columns in place of the letters that stand for any series."""
    known = {**STAND_FOR, **dict.fromkeys(series, "close")}
    return re.sub(rf"\b(?:{'|'.join(known)})\b", lambda found: known[found[0]], signature)


def test_every_name_has_one_word_and_a_meaning() -> None:
    listed = [word.name for word in words()]
    assert len(listed) == len(set(listed))
    assert set(listed) == {*FIELDS, *CALLS, *CATALOG, *(f"ticker.{name}" for name in TICKER_FIELDS)}
    assert set(names()) == {*FIELDS, *CALLS, *CATALOG, "ticker"}
    assert set(FIELD_MEANINGS) == set(FIELDS)
    assert set(TICKER_MEANINGS) == set(TICKER_FIELDS)
    assert all(word.meaning for word in words())


def test_no_two_tables_give_a_name_two_meanings() -> None:
    assert len(names()) == len(set(names()))


@pytest.mark.parametrize("word", words(), ids=lambda word: word.name)
def test_a_word_is_written_as_it_says_and_gives_what_it_says(word: Word) -> None:
    series = [name for name in word.inputs if name not in FIELDS]
    assert parse_expression(filled(word.signature, *series)).root.kind == word.gives
    for output in word.outputs:
        call = filled(word.signature.rpartition(".")[0], *series)
        assert parse_expression(f"{call}.{output}").root.kind == "number"
    for parameter in word.parameters:
        for choice in parameter.choices:
            call, point, output = filled(word.signature, *series).partition(").")
            call = call.removesuffix(")") + ("" if "(" in call else "(")
            comma = "" if call.endswith("(") else ", "
            text = f'{call}{comma}{parameter.name}="{choice}"){point[1:]}{output}'
            assert parse_expression(text).root.op in ("indicator", "output")


@pytest.mark.parametrize("name", [name for name in OPERATIONS if name not in (*CALLS, "ticker")])
def test_an_operation_of_signs_is_no_name(name: str) -> None:
    assert name not in names()
    with pytest.raises(FilterError):
        parse_expression(f"{name}(close, open)")


@pytest.mark.parametrize("name", OTHERWISE)
def test_what_others_call_it_leads_to_what_is_written_here(name: str) -> None:
    assert name not in names()
    with pytest.raises(FilterError) as caught:
        parse_expression(f"{name} > 3")
    assert caught.value.hint == f"write {OTHERWISE[name]}"
    assert parse_expression(filled(OTHERWISE[name]))


def test_the_prompt_has_every_word_and_every_ready_filter() -> None:
    text = prompt()
    for word in words():
        assert f"- {word.signature}: " in text, word.name
    for sign in SIGNS:
        assert f"- {sign}: " in text
    for one in READY.values():
        assert one.text in text
    assert text.isascii()
    assert len(text) < 20_000
