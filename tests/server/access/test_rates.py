"""How often one may ask: against a model that counts, and against whoever comes by many ways."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.access import rates
from server.access.rates import PER_MINUTE, RateLimiter, address_bucket
from server.identity import OPERATOR, Principal, Scope, Tier


class HandClock:
    def __init__(self) -> None:
        self.now_s = 1000.0

    def monotonic(self) -> float:
        return self.now_s


def somebody(
    tier: Tier = Tier.FREE, bucket: str = "user:u", scope: Scope = Scope.TRADE
) -> Principal:
    return Principal(owner="u", tier=tier, scope=scope, bucket=bucket)


def limiter() -> tuple[RateLimiter, HandClock]:
    clock = HandClock()
    return RateLimiter(clock), clock  # type: ignore[arg-type]


@pytest.mark.parametrize(("tier", "limit"), [*PER_MINUTE.items()])
def test_each_tier_has_its_requests_a_minute_for_each_route(tier: Tier, limit: int) -> None:
    """ORIGIN: anonymous 10, free 100, pro 500, elite 1000 for each endpoint."""
    counted, clock = limiter()
    for route in ("/a", "/b"):
        for left in range(limit - 1, -1, -1):
            allowance = counted.take(somebody(tier), route)
            assert allowance is not None
            assert (allowance.passed, allowance.remaining, allowance.limit) == (True, left, limit)
        refused = counted.take(somebody(tier), route)
        assert refused is not None
        assert (refused.passed, refused.remaining, refused.reset_s) == (False, 0, 60)
        assert 1 <= refused.wait_s <= 1 + 60 // limit
        clock.now_s += refused.wait_s
        again = counted.take(somebody(tier), route)
        assert again is not None
        assert again.passed


def test_the_operator_is_not_counted() -> None:
    counted, _ = limiter()
    operator = Principal(owner=OPERATOR, tier=Tier.ELITE, scope=Scope.ADMIN)
    assert [counted.take(operator, "/a") for _ in range(3000)] == [None] * 3000
    assert len(counted) == 0


def test_buckets_do_not_know_each_other() -> None:
    """E10: all the world was one anonymous visitor."""
    counted, _ = limiter()
    for bucket in ("address:1.1.1.1", "address:1.1.1.2", "key:a", "user:a"):
        taken = [counted.take(somebody(Tier.ANONYMOUS, bucket), "/a") for _ in range(11)]
        assert [one.passed for one in taken if one] == [True] * 10 + [False]


@given(
    asks=st.lists(st.tuples(st.floats(0, 30), st.integers(1, 12)), max_size=200),
    tier=st.sampled_from(Tier),
)
def test_no_more_passes_than_a_bucket_that_is_refilled_holds(
    asks: list[tuple[float, int]], tier: Tier
) -> None:
    counted, clock = limiter()
    limit = PER_MINUTE[tier]
    level = float(limit)
    for pause_s, weight in asks:
        clock.now_s += pause_s
        level = min(limit, level + pause_s * limit / 60)
        cost = min(weight, limit)
        allowance = counted.take(somebody(tier), "/a", weight)
        assert allowance is not None
        if abs(level - cost) > 1e-6:
            assert allowance.passed == (level > cost)
        if allowance.passed:
            level -= cost
        assert abs(allowance.remaining - level) <= 1 + 1e-6
        assert (allowance.wait_s > 0) == (not allowance.passed)
        assert 0 <= allowance.remaining <= limit


def test_waiting_as_told_is_enough() -> None:
    counted, clock = limiter()
    who = somebody(Tier.ANONYMOUS)
    for _ in range(100):
        allowance = counted.take(who, "/a", 3)
        assert allowance is not None
        if not allowance.passed:
            clock.now_s += allowance.wait_s
            again = counted.take(who, "/a", 3)
            assert again is not None
            assert again.passed


def test_buckets_are_bounded_and_the_busy_ones_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rates, "BUCKETS_MAX", 10)
    counted, _ = limiter()
    for index in range(100):
        counted.take(somebody(bucket="key:busy"), "/a")
        counted.take(somebody(bucket=f"address:{index}"), "/a")
    assert (len(counted), counted.forgotten) == (10, 91)
    busy = counted.take(somebody(bucket="key:busy"), "/a")
    assert busy is not None
    assert not busy.passed


@pytest.mark.parametrize(
    ("address", "bucket"),
    [
        ("10.0.0.1", "address:10.0.0.1"),
        ("::ffff:10.0.0.1", "address:10.0.0.1"),
        ("2001:db8:1:2:3:4:5:6", "address:2001:db8:1:2::/64"),
        ("2001:db8:1:2::1", "address:2001:db8:1:2::/64"),
        ("fe80::1%eth0", "address:fe80::/64"),
        ("unix", "address:unix"),
        ("", "address:"),
    ],
)
def test_a_network_is_one_address(address: str, bucket: str) -> None:
    assert address_bucket(address) == bucket
