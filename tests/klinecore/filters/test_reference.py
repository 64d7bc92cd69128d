"""docs/filters.md says what the language's tables say."""

from __future__ import annotations

import re

import pytest

from klinecore.filters import LIMITS, Limits, Reason, compile
from klinecore.filters.limits import LIMIT_MEANINGS
from klinecore.filters.vocabulary import words
from klinecore.filters.writing import EXAMPLES, REASON_MEANINGS, SAME, reference, written


@pytest.mark.parametrize("path", written(), ids=lambda path: path.name)
def test_what_is_written_from_the_tables_is_up_to_date(path: object) -> None:
    if not path.parent.is_dir():  # type: ignore[attr-defined]
        pytest.skip("not a checkout")
    expected = written()[path]  # type: ignore[index]
    assert path.read_text(encoding="utf-8") == expected, (  # type: ignore[attr-defined]
        "run python -m klinecore.filters.writing"
    )


@pytest.mark.parametrize("text", [*EXAMPLES.values(), *SAME])
def test_every_example_is_a_filter(text: str) -> None:
    compile(text)


def test_every_name_limit_and_reason_is_on_the_page() -> None:
    text = reference()
    for word in words():
        assert f"| `{word.signature}` |" in text, word.name
    assert set(LIMIT_MEANINGS) == set(Limits.__dataclass_fields__)
    for name in LIMIT_MEANINGS:
        assert f"| `{name}` | {getattr(LIMITS, name):,} |" in text
    assert set(REASON_MEANINGS) == set(Reason) - {Reason.KNOWN}


def test_what_the_page_calls_code_in_its_prose_is_read() -> None:
    prose = reference().split("## Values")[1].split("## Columns")[0]
    prose += reference().split("## Calls")[1].split("## Operations")[0]
    prose += reference().split("## Other intervals")[1].split("Intervals:")[0]
    found = [code for code in re.findall(r"`([^`]+)`", prose) if re.search(r"[a-z]\w*[.(]", code)]
    assert len(found) >= 12
    for code in found:
        text = re.sub(r"\bx\b", "close", code)
        compile(text if re.search(r"[<>]|crosses|top\(", text) else f"{text} > 0")
