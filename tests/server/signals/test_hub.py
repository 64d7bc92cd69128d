"""The hub: order, conflation and bounds, also against a plain model."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.signals.hub import Hub, Subscriber


def drain(subscriber: Subscriber) -> list[bytes]:
    taken = []
    while (payload := subscriber.take()) is not None:
        taken.append(payload)
    return taken


def test_publish_reaches_every_subscriber_of_the_topic_and_no_other() -> None:
    hub = Hub()
    first, second, other = hub.subscribe("a"), hub.subscribe("a", "b"), hub.subscribe("b")
    assert hub.publish("a", b"1") == 2
    assert [drain(s) for s in (first, second, other)] == [[b"1"], [b"1"], []]


def test_publish_shares_one_payload_between_subscribers() -> None:
    hub = Hub()
    subscribers = [hub.subscribe("a") for _ in range(3)]
    payload = bytes(bytearray(1000))
    hub.publish("a", payload)
    assert all(s.take() is payload for s in subscribers)


def test_nobody_wants_a_topic_after_its_last_subscriber_left() -> None:
    hub = Hub()
    subscriber = hub.subscribe("a")
    assert hub.wanted("a")
    subscriber.discard("a")
    assert not hub.wanted("a")
    assert hub.publish("a", b"1") == 0
    assert hub.published == 0


def test_a_newer_update_replaces_the_waiting_one_in_its_place() -> None:
    hub = Hub()
    subscriber = hub.subscribe("a")
    hub.publish("a", b"x1", conflate_key="x")
    hub.publish("a", b"y1", conflate_key="y")
    hub.publish("a", b"x2", conflate_key="x")
    assert drain(subscriber) == [b"x2", b"y1"]
    assert hub.conflated == 1


def test_a_close_removes_the_update_it_outdates_and_keeps_its_order() -> None:
    hub = Hub()
    subscriber = hub.subscribe("k")
    hub.publish("k", b"forming 1", conflate_key="k")
    hub.publish("k", b"closed 1", conflate_key="k", final=True)
    hub.publish("k", b"forming 2", conflate_key="k")
    hub.publish("k", b"forming 2b", conflate_key="k")
    hub.publish("k", b"closed 2", conflate_key="k", final=True)
    assert drain(subscriber) == [b"closed 1", b"closed 2"]


def test_conflated_messages_never_end_a_subscriber() -> None:
    hub = Hub(queue_max=1)
    subscriber = hub.subscribe("a")
    for i in range(10_000):
        hub.publish("a", b"%d" % i, conflate_key="a")
    assert subscriber.ended is None
    assert drain(subscriber) == [b"9999"]


def test_undelivered_closes_beyond_the_bound_end_the_subscriber_with_a_reason() -> None:
    hub = Hub(queue_max=5)
    slow, quick = hub.subscribe("a"), hub.subscribe("a")
    received = []
    for i in range(10):
        hub.publish("a", b"%d" % i)
        received += drain(quick)
    assert slow.ended is not None
    assert "too slow" in slow.ended
    assert slow.take() is None
    assert hub.overflowed == 1
    assert received == [b"%d" % i for i in range(10)]
    assert len(hub) == 1


def test_one_close_of_each_topic_fits_on_top_of_the_bound() -> None:
    hub = Hub(queue_max=1)
    topics = [f"t{i}" for i in range(500)]
    subscriber = hub.subscribe(*topics)
    for topic in topics:
        hub.publish(topic, topic.encode(), conflate_key=topic, final=True)
    assert subscriber.ended is None
    assert len(drain(subscriber)) == 500


def test_an_ended_subscriber_holds_nothing_and_receives_nothing() -> None:
    hub = Hub()
    subscriber = hub.subscribe("a", "b")
    hub.publish("a", b"1")
    subscriber.end("gone")
    subscriber.end("another reason")
    subscriber.add("c")
    hub.publish("c", b"2")
    assert (subscriber.ended, len(subscriber), hub.subscriptions, len(hub)) == ("gone", 0, 0, 0)


def test_wait_returns_when_something_is_published_and_when_ended() -> None:
    async def scenario() -> None:
        hub = Hub()
        subscriber = hub.subscribe("a")
        waiting = asyncio.ensure_future(subscriber.wait())
        await asyncio.sleep(0)
        assert not waiting.done()
        hub.publish("a", b"1")
        await waiting
        await subscriber.wait()  # something waits: returns at once
        assert subscriber.take() == b"1"
        waiting = asyncio.ensure_future(subscriber.wait())
        await asyncio.sleep(0)
        subscriber.end("gone")
        await waiting
        await subscriber.wait()

    asyncio.run(asyncio.wait_for(scenario(), 30))


OPERATIONS = st.lists(
    st.one_of(
        st.tuples(st.just("forming"), st.integers(0, 3)),
        st.tuples(st.just("closed"), st.integers(0, 3)),
        st.tuples(st.just("take"), st.just(0)),
    ),
    max_size=200,
)


@given(OPERATIONS)
def test_every_close_arrives_once_in_order_and_updates_never_go_back(
    operations: list[tuple[str, int]],
) -> None:
    hub = Hub(queue_max=1000)
    topics = [f"k{i}" for i in range(4)]
    subscriber = hub.subscribe(*topics)
    step = [0] * 4  # twice the kline's number, plus one once it closed
    sent: list[list[int]] = [[] for _ in range(4)]
    received: list[tuple[int, int, bytes]] = []

    def take() -> bool:
        payload = subscriber.take()
        if payload is not None:
            topic, number, kind = payload.split(b" ")
            received.append((int(topic), int(number), kind))
        return payload is not None

    for operation, i in operations:
        if operation == "take":
            take()
        elif operation == "forming":
            hub.publish(topics[i], b"%d %d forming" % (i, step[i]), conflate_key=topics[i])
        else:
            sent[i].append(step[i])
            message = b"%d %d closed" % (i, step[i])
            hub.publish(topics[i], message, conflate_key=topics[i], final=True)
            step[i] += 1
    while take():
        pass
    for i in range(4):
        mine = [(number, kind) for topic, number, kind in received if topic == i]
        assert [number for number, kind in mine if kind == b"closed"] == sent[i]
        numbers = [number for number, _ in mine]
        assert numbers == sorted(numbers)
        for (number, kind), (later, _) in zip(mine, mine[1:], strict=False):
            assert kind == b"forming" or later > number, "an update after its close"


@pytest.mark.parametrize("queue_max", [1, 7])
def test_what_waits_never_exceeds_the_bound(queue_max: int) -> None:
    hub = Hub(queue_max=queue_max)
    subscriber = hub.subscribe("a", "b")
    for i in range(100):
        hub.publish("ab"[i % 2], b"x")
        assert len(subscriber) <= queue_max + 2
    assert subscriber.ended is not None
