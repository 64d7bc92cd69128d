"""Whose request it is behind proxies: never what only the client itself says."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.access.proxies import ADDRESS_MAX, HOPS_MAX, Proxies, parse

NEAR, FAR = "127.0.0.1", "10.1.2.3"
CLIENT = "203.0.113.7"
PROXIES = Proxies([NEAR, "10.0.0.0/8", "fd00::/8"])


def told(*lines: str) -> list[tuple[bytes, bytes]]:
    """Headers with these lines of X-Forwarded-For among them."""
    forwarded = [(b"x-forwarded-for", line.encode("latin-1")) for line in lines]
    return [(b"host", b"klines.example"), *forwarded, (b"accept", b"*/*")]


@pytest.mark.parametrize(
    ("lines", "client"),
    [
        ([CLIENT], CLIENT),
        ([f"1.1.1.1, {CLIENT}"], CLIENT),  # it says to be somebody else
        ([f"{CLIENT}, {FAR}"], CLIENT),  # a proxy behind a proxy
        ([f"1.1.1.1,{FAR} , {CLIENT},{FAR}"], CLIENT),
        ([CLIENT, FAR], CLIENT),  # lines are one list
        ([FAR], FAR),  # it runs where the proxies are
        (["2001:db8::7"], "2001:db8::7"),
        (["2001:db8::7, fd00::1"], "2001:db8::7"),
        ([f"::ffff:{CLIENT}"], CLIENT),
        ([f"::ffff:{CLIENT}, ::ffff:{FAR}"], CLIENT),
        ([], NEAR),
        ([""], NEAR),
        (["unknown"], NEAR),
        ([f"{CLIENT}, unknown"], NEAR),
        ([f"{CLIENT}, unknown, {FAR}"], FAR),
        ([f"{CLIENT}:50000"], NEAR),
        (["\xb9.1.1.1"], NEAR),
    ],
)
def test_the_client_is_the_last_that_is_no_proxy_of_ours(lines: list[str], client: str) -> None:
    assert PROXIES.client(told(*lines), NEAR) == client
    assert PROXIES.client(told(*lines), f"::ffff:{NEAR}") in (client, f"::ffff:{NEAR}")


@pytest.mark.parametrize("address", [CLIENT, "11.0.0.1", "2001:db8::1", "", "somewhere"])
@given(line=st.text(st.characters(max_codepoint=255)))
def test_who_is_no_proxy_of_ours_is_not_believed(address: str, line: str) -> None:
    assert PROXIES.client(told(line), address) == address


@given(line=st.text(st.characters(max_codepoint=255)))
def test_without_proxies_the_address_is_the_connections(line: str) -> None:
    assert Proxies().client(told(line), NEAR) == NEAR


@given(line=st.text(st.characters(max_codepoint=255)))
def test_whatever_a_client_says_the_proxys_word_counts(line: str) -> None:
    assert PROXIES.client(told(line, CLIENT), NEAR) == CLIENT
    assert PROXIES.client(told(f"{line}, {CLIENT}"), NEAR) == CLIENT


def test_only_so_many_addresses_of_a_request_are_looked_at() -> None:
    hops = [f"10.0.0.{number}" for number in range(HOPS_MAX)]
    assert PROXIES.client(told(", ".join([CLIENT, *hops[1:]])), NEAR) == CLIENT
    assert PROXIES.client(told(", ".join([CLIENT, *hops])), NEAR) == hops[0]


def test_what_is_asked_twice_is_answered_alike() -> None:
    """The stream port asks before its gate does."""
    for line in (CLIENT, FAR, "unknown", f"{CLIENT}, {FAR}"):
        first = PROXIES.client(told(line), NEAR)
        assert PROXIES.client(told(line), first) == first


def test_what_is_too_long_for_an_address_is_neither_believed_nor_kept() -> None:
    before = parse.cache_info().currsize
    for text in ("x" * (ADDRESS_MAX + 1), f"2001:db8::7%{'z' * 10_000}"):
        assert PROXIES.client(told(text), NEAR) == NEAR
    assert parse.cache_info().currsize <= before + 1, "the connection's own"
