"""Hosts that stand in for each other: which one is next, and when it is changed."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.feeds.hosts import Hosts, host_of

URLS = ["wss://a:9443/ws", "wss://a:443/ws", "wss://b/ws"]


@given(st.lists(st.sampled_from(URLS), max_size=20))
def test_only_a_failure_of_the_host_in_use_moves_on(failed: list[str]) -> None:
    hosts = Hosts(URLS)
    for url in failed:
        before, changes = hosts.url, hosts.changes
        hosts.leave(url)
        moved = url == before
        assert hosts.changes == changes + moved
        assert hosts.url == (URLS[(URLS.index(before) + 1) % len(URLS)] if moved else before)


def test_requests_that_fail_together_leave_their_host_once() -> None:
    hosts = Hosts(URLS)
    for _ in range(4):
        hosts.leave(URLS[0])
    assert (hosts.url, hosts.changes) == (URLS[1], 1)


def test_a_single_host_is_kept_whatever_happens() -> None:
    hosts = Hosts(URLS[:1])
    hosts.leave(URLS[0])
    assert (hosts.url, hosts.changes) == (URLS[0], 0)


def test_no_host_is_an_error() -> None:
    with pytest.raises(ValueError, match="at least one URL"):
        Hosts([])


def test_a_host_is_named_with_its_port_and_without_what_is_secret() -> None:
    assert [host_of(url) for url in URLS] == ["a:9443", "a:443", "b"]
    assert host_of("https://user:word@c:1/x") == "c:1"
