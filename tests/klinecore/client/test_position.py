"""klinecore.client.position: whatever is cut, no message is taken twice and none is passed over."""

from __future__ import annotations

from collections import Counter
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from klinecore.client.position import Position

STREAMS = "abc"


class Wire:
    """What a server puts on one connection, in order, as streams are joined one by one."""

    def __init__(self, log: list[str], since: int | None) -> None:
        self.log = log  # stream of every message; its number is its place, from 1
        self.since = since
        self.sent: list[tuple[str, str, int]] = []
        self._joined: set[str] = set()
        self._afresh = True

    def publish(self, stream: str) -> None:
        self.log.append(stream)
        if stream in self._joined:
            self.sent.append(("message", stream, len(self.log)))

    def join(self, stream: str, *, forgotten: bool) -> None:
        self._joined.add(stream)
        last = len(self._joined) == len(STREAMS)
        if self.since is None or forgotten:
            self.sent.append(("snapshot", stream, len(self.log)))
        else:
            self._afresh = False
            if last:  # the reply comes before what was missed
                self.sent.append(("joined", "", 0))
            self.sent += [
                ("message", stream, number)
                for number, of in enumerate(self.log, 1)
                if number > self.since and of == stream
            ]
            return
        if last:
            self.sent.append(("joined", "afresh" if self._afresh else "", 0))


def connection(draw: Any, wire: Wire) -> None:
    """Join every stream, in any order, while messages are published."""
    for stream in draw(st.permutations(STREAMS)):
        for published in draw(st.text(STREAMS, max_size=4)):
            wire.publish(published)
        wire.join(stream, forgotten=draw(st.sampled_from([False, False, True])))
    for published in draw(st.text(STREAMS, max_size=6)):
        wire.publish(published)


@given(st.data())
def test_each_message_is_taken_once_or_is_in_a_snapshot(data: st.DataObject) -> None:
    position, log = Position(), list[str]()
    taken: Counter[int] = Counter()
    known: dict[str, int] = {}  # stream -> number of its newest snapshot
    cuts = data.draw(st.integers(1, 5))
    for number in range(cuts + 1):
        position.begin()
        wire = Wire(log, position.since)
        connection(data.draw, wire)
        last = number == cuts
        arrived = len(wire.sent) if last else data.draw(st.integers(0, len(wire.sent)))
        for kind, stream, sequence in wire.sent[:arrived]:
            if kind == "joined":
                position.join(afresh=stream == "afresh")
            elif kind == "snapshot":
                position.start(stream, sequence)
                known[stream] = sequence
            elif position.take(stream, sequence):
                taken[sequence] += 1
                assert sequence > known[stream]
    assert set(taken.values()) <= {1}
    missed = {n for n, stream in enumerate(log, 1) if not taken[n] and n > known[stream]}
    assert missed == set()


def test_a_connection_on_which_all_is_in_step_is_gone_on_from_its_newest_message() -> None:
    position = Position()
    position.begin()
    assert position.since is None
    position.start("a", 7)
    position.start("b", 8)
    position.join(afresh=True)
    assert position.since == 8
    assert position.take("a", 9)
    assert position.since == 9
    position.begin()
    position.join(afresh=False)
    assert not position.take("a", 9)
    assert position.take("b", 11)
    assert position.since == 11


def test_a_stream_that_is_not_joined_yet_is_not_passed_over() -> None:
    position = Position()
    position.begin()
    position.start("a", 7)
    position.start("b", 8)
    position.join(afresh=True)
    position.begin()
    assert position.take("a", 12)  # while b, which may have missed 9 to 11, is still to be joined
    assert position.since == 8
    position.join(afresh=False)
    assert position.take("b", 10)
    assert position.since == 8
    assert position.take("b", 13)
    assert position.since == 13


def test_another_servers_numbers_may_be_lower() -> None:
    position = Position()
    position.begin()
    position.start("a", 100)
    position.join(afresh=True)
    position.begin()
    position.start("a", 5)
    position.join(afresh=True)
    assert position.since == 5
    assert position.take("a", 6)
    assert position.since == 6
