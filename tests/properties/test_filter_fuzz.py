"""Whatever text is given: it is a filter, or it is refused; nothing else happens, and soon."""

from __future__ import annotations

import pytest
from filter_fuzz import try_texts

PARTS = 10
TEXTS = 100_000  # in each part: a million in all


def test_random_texts_are_read_or_refused() -> None:
    read, refused = try_texts(seed=1, count=4_000)
    # Both happen often enough to mean something.
    assert read > 200
    assert refused > 1_000


@pytest.mark.slow
@pytest.mark.parametrize("part", range(PARTS))
def test_a_million_random_texts_are_read_or_refused(part: int) -> None:
    read, refused = try_texts(seed=1_000 + part, count=TEXTS)
    assert read + refused == TEXTS
