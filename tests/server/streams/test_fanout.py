"""Whatever members do, each gets every message of its topics once, in order, as it is then."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test

from server.signals.hub import Hub
from server.streams.fanout import Fanout, Message, Queue
from server.streams.frames import Shape, shaped, text_frame

TOPICS = ("a", "b", "c")


def read_frames(data: bytes) -> list[bytes]:
    """Payloads of unmasked text frames, one behind the other."""
    payloads = []
    while data:
        assert data[0] == 0x81
        size, start = data[1], 2
        if size == 126:
            size, start = int.from_bytes(data[2:4]), 4
        elif size == 127:
            size, start = int.from_bytes(data[2:10]), 10
        payloads.append(data[start : start + size])
        assert len(payloads[-1]) == size
        data = data[start + size :]
    return payloads


@given(st.sampled_from([0, 1, 125, 126, 127, 65_535, 65_536, 70_000]))
def test_a_frame_is_read_back(size: int) -> None:
    assert read_frames(text_frame(b"x" * size) * 2) == [b"x" * size] * 2


@given(st.booleans(), st.booleans(), st.integers(0, 2**53))
def test_every_shape_of_an_object_is_json_that_holds_it(
    wrapped: bool, sequenced: bool, sequence: int
) -> None:
    shape = Shape(wrapped, sequenced)
    message = json.loads(shaped(b'{"e":"kline"}', "btcusdt@kline_1m", sequence, shape))
    assert message.pop("seq", None) == (sequence if sequenced else None)
    assert message == (
        {"stream": "btcusdt@kline_1m", "data": {"e": "kline"}} if wrapped else {"e": "kline"}
    )


@pytest.mark.parametrize("size", [10, 100_000])
def test_a_long_message_is_framed_once_for_all_who_get_it(size: int) -> None:
    """A short one is quicker sent without; of a long one each member would hold a copy."""

    async def story() -> None:
        hub = Hub()
        fanout = Fanout(hub, str, log_bytes_max=0, first=1)
        members = [Member(fanout) for _ in range(3)]
        for member in members:
            member.topics = frozenset({"a"})
            fanout.join(member)
        hub.publish("a", b"x" * size)
        await asyncio.sleep(0)
        assert [member.got for member in members] == [[b"x" * size]] * 3
        shared = [member.written for member in members]
        assert [one is shared[0] for one in shared] == [True, size > 4096, size > 4096]

    asyncio.run(story())


class Member:
    """A socket that takes what the test lets it take."""

    def __init__(self, fanout: Fanout) -> None:
        self._fanout = fanout
        self.topics: frozenset[str] = frozenset()
        self.shape = Shape()
        self.full = False
        self.refused = False  # it said that it takes nothing more
        self.got: list[bytes] = []
        self.written = b""  # the newest bytes
        self.expected: list[bytes] = []
        self.overflows: list[int] = []

    def send(self, payload: bytes) -> None:
        self.write(text_frame(payload))

    def write(self, frames: bytes) -> None:
        assert not self.refused, "written to, though it is full"
        self.refused = self.full
        self.written = frames
        if self.full:
            self._fanout.fill(self)
        self.got += read_frames(frames)

    def overflow(self, size: int) -> None:
        self.overflows.append(size)


class FanoutMachine(RuleBasedStateMachine):
    """Members come, go, change their topics and stall, while messages are published."""

    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.hub = Hub()
        self.fanout = Fanout(self.hub, str, log_bytes_max=1 << 20, first=0)
        self.members: list[Member] = []
        self.published = 0

    def teardown(self) -> None:
        self.loop.close()

    def run(self, work: Callable[[], object]) -> None:
        async def step() -> None:
            work()

        self.loop.run_until_complete(step())  # call_soon's flush runs in a later pass

    def pick(self, number: int) -> Member | None:
        return self.members[number % len(self.members)] if self.members else None

    @rule(topics=st.sets(st.sampled_from(TOPICS)), wrapped=st.booleans())
    def come(self, topics: set[str], wrapped: bool) -> None:
        member = Member(self.fanout)
        member.topics, member.shape = frozenset(topics), Shape(wrapped)
        self.members.append(member)
        self.run(lambda: self.fanout.join(member))

    @rule(number=st.integers(0, 9))
    def go(self, number: int) -> None:
        member = self.pick(number)
        if member is not None and not member.full:
            self.run(lambda: self.fanout.leave(member))
            self.members.remove(member)
            assert member.got == member.expected

    @rule(number=st.integers(0, 9), topics=st.sets(st.sampled_from(TOPICS)))
    def change(self, number: int, topics: set[str]) -> None:
        member = self.pick(number)
        if member is not None:
            self.run(lambda: self.fanout.change(member, frozenset(topics), member.shape))

    @rule(number=st.integers(0, 9))
    def tell(self, number: int) -> None:
        member = self.pick(number)
        if member is not None:
            self.published += 1
            text = b'{"own":%d}' % self.published
            self.run(lambda: self.fanout.tell(member, text))
            member.expected.append(text)

    @rule(number=st.integers(0, 9))
    def stall(self, number: int) -> None:
        member = self.pick(number)
        if member is not None:
            member.full = True

    @rule(number=st.integers(0, 9))
    def recover(self, number: int) -> None:
        member = self.pick(number)
        if member is not None and member.full:
            member.full = member.refused = False
            self.run(lambda: self.fanout.catch_up(member))

    @rule(topics=st.lists(st.sampled_from(TOPICS), min_size=1, max_size=5))
    def publish(self, topics: list[str]) -> None:
        def work() -> None:
            for topic in topics:
                self.published += 1
                payload = b'{"n":%d}' % self.published
                self.hub.publish(topic, payload)
                for member in self.members:
                    if topic in member.topics:
                        sequence = self.fanout.sequence
                        frame = shaped(payload, topic, sequence, member.shape)
                        member.expected.append(frame)

        self.run(work)

    @invariant()
    def each_has_what_was_for_it(self) -> None:
        self.run(self.fanout.flush)
        for member in self.members:
            if not member.full:
                assert member.got == member.expected
            else:  # the rest waits, nothing out of order
                assert member.got == member.expected[: len(member.got)]

    @invariant()
    def nothing_is_kept_for_nobody(self) -> None:
        lagging = sum(self.fanout.waiting(m) > 0 for m in self.members)
        assert lagging <= self.fanout.lagging <= len(self.members)


def test_members_get_their_messages_whatever_happens_around_them() -> None:
    run_state_machine_as_test(FanoutMachine)


@given(
    st.lists(
        st.tuples(st.sampled_from(["k", "l", None]), st.booleans(), st.binary(max_size=9)),
        max_size=30,
    )
)
def test_a_queue_keeps_the_newest_update_and_every_final_message_as_they_came(
    puts: list[tuple[str | None, bool, bytes]],
) -> None:
    queue = Queue()
    model: list[tuple[str | None, bytes]] = []
    for number, (key, final, payload) in enumerate(puts):
        queue.put(Message(number, "t", payload), key, final=final)
        waiting = next((i for i, (k, _) in enumerate(model) if key is not None and k == key), None)
        if waiting is not None:
            del model[waiting]
        model.append((None if final else key, payload))
        assert queue.size == sum(len(p) for _, p in model)
    assert [m.payload for m in queue.take_all()] == [p for _, p in model]
    assert queue.size == 0


def test_what_is_not_in_the_log_any_more_is_not_given_as_if_it_were_all() -> None:
    async def story() -> None:
        hub = Hub()
        fanout = Fanout(hub, str, log_bytes_max=30, first=1000)
        member = Member(fanout)
        member.topics = frozenset({"a"})
        fanout.join(member)
        for number in range(10):
            hub.publish("a", b"%010d" % number)
        assert fanout.since(1010, frozenset({"a"})) == []
        kept = fanout.since(1007, frozenset({"a"}))
        assert kept is not None
        assert [m.sequence for m in kept] == [1008, 1009, 1010]
        assert fanout.since(1006, frozenset({"a"})) is None
        assert fanout.since(1008, frozenset({"a", "b"})) is None  # nobody listened to b
        assert fanout.since(1011, frozenset({"a"})) is None  # of another life

    asyncio.run(story())


def test_a_topic_outlives_its_last_listener_for_a_while_and_then_goes() -> None:
    async def story() -> None:
        hub = Hub()
        fanout = Fanout(hub, str, log_bytes_max=1 << 20, first=0)
        member = Member(fanout)
        member.topics = frozenset({"a"})
        fanout.join(member)
        fanout.leave(member)
        assert hub.wanted("a")
        fanout.detach_deserted()
        assert hub.wanted("a")
        fanout.join(member)
        fanout.leave(member)
        fanout.detach_deserted()
        assert hub.wanted("a"), "it was listened to since the last look"
        fanout.detach_deserted()
        assert not hub.wanted("a")

    asyncio.run(story())


@pytest.mark.parametrize("lagging", [False, True])
def test_leaving_gives_everything_back(lagging: bool) -> None:
    async def story() -> None:
        hub = Hub()
        fanout = Fanout(hub, str, log_bytes_max=0, first=0)
        member = Member(fanout)
        member.topics = frozenset(TOPICS)
        fanout.join(member)
        member.full = lagging
        hub.publish("a", b"{}")
        fanout.flush()
        assert fanout.lagging == lagging
        fanout.leave(member)
        assert fanout.lagging == 0
        fanout.detach_deserted()
        fanout.detach_deserted()
        assert not any(map(hub.wanted, TOPICS))

    asyncio.run(story())


@pytest.mark.parametrize("lagging", [False, True])
def test_numbers_only_grow_though_updates_replace_each_other(lagging: bool) -> None:
    """Who comes back with the last number it has seen would else miss the close in between."""

    async def story() -> None:
        hub = Hub()
        fanout = Fanout(hub, str, log_bytes_max=1 << 20, first=0)
        member = Member(fanout)
        member.topics, member.shape = frozenset("ab"), Shape(sequenced=True)
        fanout.join(member)
        if lagging:
            fanout.fill(member)
        hub.publish("a", b'{"u":1}', conflate_key="a")
        hub.publish("b", b'{"close":1}')
        hub.publish("a", b'{"u":2}', conflate_key="a")
        fanout.flush()
        fanout.catch_up(member)
        assert [json.loads(m) for m in member.got] == [
            {"close": 1, "seq": 2},
            {"u": 2, "seq": 3},
        ]

    asyncio.run(story())
