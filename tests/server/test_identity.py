"""Tiers and scopes include the ones below them, and no text's alphabet decides that."""

from __future__ import annotations

from itertools import combinations

import pytest

from server.identity import Scope, Tier


@pytest.mark.parametrize("ladder", [Tier, Scope])
def test_each_includes_itself_and_what_comes_before(ladder: type[Tier] | type[Scope]) -> None:
    for lower, higher in combinations(ladder, 2):
        assert higher.includes(lower)  # type: ignore[arg-type]
        assert not lower.includes(higher)  # type: ignore[arg-type]
        assert lower.includes(lower)  # type: ignore[arg-type]
