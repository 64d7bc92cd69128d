"""The body cache: never an outdated answer, never more bytes than allowed."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from server.api.cache import ENTRY_BYTES, BodyCache
from server.api.types import Response


def test_a_version_is_found_until_another_takes_its_place() -> None:
    cache = BodyCache(10_000)
    first, second = Response(b"1"), Response(b"2")
    cache.put("k", 1, first)
    assert cache.get("k", 1) is first
    assert cache.get("k", 2) is None
    cache.put("k", 2, second)
    assert cache.get("k", 1) is None
    assert cache.get("k", 2) is second
    assert (cache.hits, cache.misses, len(cache)) == (2, 2, 1)


def test_the_least_recently_used_goes_first() -> None:
    cache = BodyCache(2 * (ENTRY_BYTES + 10))
    for key in "ab":
        cache.put(key, 1, Response(b"x" * 10))
    cache.get("a", 1)
    cache.put("c", 1, Response(b"x" * 10))
    assert [cache.get(key, 1) is not None for key in "abc"] == [True, False, True]
    assert cache.evictions == 1


def test_an_answer_larger_than_the_cache_is_not_kept() -> None:
    cache = BodyCache(5000)
    cache.put("small", 1, Response(b"x"))
    cache.put("large", 1, Response(b"x" * 5000))
    assert cache.get("large", 1) is None
    assert cache.get("small", 1) is not None


def test_a_cache_of_no_bytes_keeps_nothing() -> None:
    cache = BodyCache(0)
    cache.put("k", 1, Response(b""))
    assert (len(cache), cache.bytes) == (0, 0)


@given(
    st.lists(st.tuples(st.integers(0, 8), st.integers(0, 3), st.integers(0, 3000)), max_size=100)
)
def test_bytes_are_counted_and_bounded(puts: list[tuple[int, int, int]]) -> None:
    cache = BodyCache(10_000)
    newest: dict[int, tuple[int, Response]] = {}
    for key, version, size in puts:
        response = Response(b"x" * size)
        cache.put(key, version, response)
        newest[key] = (version, response)
        assert cache.bytes <= 10_000
        kept = [newest[k][1] for k in newest if cache.get(k, newest[k][0]) is newest[k][1]]
        assert len(kept) == len(cache)
        assert cache.bytes == sum(len(r.body) + ENTRY_BYTES for r in kept)
