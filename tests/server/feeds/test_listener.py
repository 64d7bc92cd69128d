"""The compiled listener against its Python twin, message by message."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from picows import WSMsgType
from picows.picows import _make_test_ws_frame

from klinecore import Market
from server.feeds import _listener_py, listener

MESSAGE_MAX = 400

KLINE = (
    b'{"e":"kline","E":1700000001000,"s":"BTCUSDT","k":{"t":1700000000000,"T":1700000039999,'
    b'"s":"BTCUSDT","i":"1m","f":1,"L":2,"o":"1.0","c":"2.0","h":"2.0","l":"1.0","v":"3.0","n":2,'
    b'"x":false,"q":"4.0","V":"1.0","Q":"1.0","B":"0"}}'
).replace(b"1700000000000", b"1699999980000")
MESSAGES = (
    KLINE,
    KLINE.replace(b'"n":2', b'"n":3').replace(b'"x":false', b'"x":true'),
    KLINE.replace(b"BTCUSDT", b"OTHERUSDT"),
    b'{"e":"24hrTicker","E":1700000001000,"s":"BTCUSDT","p":"1","P":"1.0","w":"1","x":"1","c":"2",'
    b'"Q":"1","b":"1","B":"1","a":"1","A":"1","o":"1","h":"2","l":"1","v":"3","q":"4","O":1,"C":2,'
    b'"F":1,"L":2,"n":2}',
    b'{"result":null,"id":1}',
    b'{"error":{"code":2,"msg":"Invalid request: x"},"id":2}',
    b'{"e":"serverShutdown","E":1700000001000}',
    b'{"e":"aggTrade","E":1}',
    b"{",
    b"",
    b"\xff\x00",
    b"x" * (MESSAGE_MAX + 1),
)

Frame = tuple[WSMsgType, bytes, bool] | tuple[WSMsgType, bytes, bool, bool]  # kind .. fin, rsv1

whole = st.sampled_from(MESSAGES).map(lambda message: [(WSMsgType.TEXT, message, True)])


@st.composite
def in_pieces(draw: st.DrawFn) -> list[Frame]:
    """One message over several frames; the first kind is sometimes binary."""
    message = draw(st.sampled_from(MESSAGES))
    cuts = sorted(draw(st.lists(st.integers(0, len(message)), min_size=1, max_size=4)))
    parts = [message[a:b] for a, b in zip([0, *cuts], [*cuts, len(message)], strict=True)]
    first = draw(st.sampled_from([WSMsgType.TEXT, WSMsgType.TEXT, WSMsgType.BINARY]))
    kinds = [first] + [WSMsgType.CONTINUATION] * (len(parts) - 1)
    return [
        (kind, part, index == len(parts) - 1)
        for index, (kind, part) in enumerate(zip(kinds, parts, strict=True))
    ]


odd = st.tuples(
    st.sampled_from([WSMsgType.BINARY, WSMsgType.CONTINUATION, WSMsgType.TEXT, WSMsgType.PONG]),
    st.binary(max_size=20),
    st.booleans(),
).map(lambda frame: [frame])

marked = st.tuples(
    st.sampled_from([WSMsgType.TEXT, WSMsgType.CONTINUATION, WSMsgType.PONG]),
    st.sampled_from(MESSAGES),
    st.booleans(),
    st.just(True),
).map(lambda frame: [frame])

scripts = st.lists(st.one_of(whole, in_pieces(), odd, marked), max_size=12).map(
    lambda parts: [frame for part in parts for frame in part]
)


def play(module: Any, frames: list[Frame]) -> dict[str, Any]:
    """What a listener and its market are after these frames."""

    async def scenario() -> dict[str, Any]:
        market = Market(["BTCUSDT"], ["1m"], 10)
        changes: list[int] = []
        controls: list[tuple[int, bytes]] = []
        subject = module.FeedListener(
            market,
            module.ChangeNotifier(lambda: changes.append(len(market.drain()))),
            lambda kind, message: controls.append((int(kind), message)),
            lambda: None,
            MESSAGE_MAX,
        )
        for kind, payload, fin, *rsv1 in frames:
            subject.on_ws_frame(None, _make_test_ws_frame(kind, payload, fin, bool(rsv1)))
        await asyncio.sleep(0)
        return {
            "controls": controls,
            "changes": changes,
            "counts": (subject.frames, subject.controls, subject.size, subject.dropped),
            "market": market.counters(),
            "klines": market.klines_json("BTCUSDT", "1m", 10, forming=True),
            "ticker": market.ticker("BTCUSDT"),
        }

    return asyncio.run(scenario())


def test_the_compiled_listener_is_in_use() -> None:
    assert listener.FeedListener.__module__ == "server.feeds._listener"


@given(scripts)
def test_both_listeners_do_the_same(frames: list[Frame]) -> None:
    assert play(listener, frames) == play(_listener_py, frames)


@pytest.fixture(params=[listener, _listener_py], ids=["compiled", "python"])
def played(request: pytest.FixtureRequest) -> Callable[[list[Frame]], dict[str, Any]]:
    return lambda frames: play(request.param, frames)


def test_a_message_in_pieces_counts_as_one(played: Any) -> None:
    seen = played(
        [
            (WSMsgType.TEXT, KLINE[:50], False),
            (WSMsgType.CONTINUATION, KLINE[50:51], False),
            (WSMsgType.CONTINUATION, KLINE[51:], True),
        ]
    )
    assert seen["counts"] == (1, 0, len(KLINE), 0)
    assert seen["market"]["frames_kline"] == 1


def test_a_message_too_long_in_pieces_is_dropped_and_the_next_is_fine(played: Any) -> None:
    endless = [(WSMsgType.CONTINUATION, b"x" * 100, False)] * 20
    seen = played(
        [
            (WSMsgType.TEXT, b"x", False),
            *endless,
            (WSMsgType.CONTINUATION, b"", True),
            (WSMsgType.TEXT, KLINE, True),
        ]
    )
    assert seen["counts"] == (1, 0, len(KLINE), 1)
    assert seen["market"]["frames_kline"] == 1


def test_binary_messages_are_dropped_with_all_their_pieces(played: Any) -> None:
    seen = played([(WSMsgType.BINARY, KLINE[:9], False), (WSMsgType.CONTINUATION, KLINE[9:], True)])
    assert seen["counts"] == (0, 0, 0, 1)


def test_a_frame_marked_as_compressed_is_dropped_with_all_its_pieces(played: Any) -> None:
    seen = played(
        [
            (WSMsgType.TEXT, KLINE, True, True),
            (WSMsgType.TEXT, KLINE[:9], False, True),
            (WSMsgType.CONTINUATION, KLINE[9:], True),
        ]
    )
    assert (seen["counts"], seen["market"]["frames_kline"]) == ((0, 0, 0, 2), 0)


def test_many_frames_of_one_pass_are_told_once(played: Any) -> None:
    seen = played([(WSMsgType.TEXT, message, True) for message in MESSAGES[:4] * 5])
    assert len(seen["changes"]) == 1


def test_replies_and_notices_are_handed_on_and_data_is_not(played: Any) -> None:
    seen = played([(WSMsgType.TEXT, message, True) for message in MESSAGES])
    assert [message for _, message in seen["controls"]] == list(MESSAGES[4:7])
    assert seen["counts"][1] == 3


@pytest.mark.parametrize("module", [listener, _listener_py])
def test_a_change_is_told_although_the_market_had_untold_events(module: Any) -> None:
    async def scenario() -> None:
        market = Market(["BTCUSDT"], ["1m"], 10)
        told: list[int] = []
        notifier = module.ChangeNotifier(lambda: told.append(len(market.drain())))
        subject = module.FeedListener(market, notifier, lambda k, m: None, lambda: None, 1000)
        market.apply(MESSAGES[3])
        assert market.pending
        subject.on_ws_frame(None, _make_test_ws_frame(WSMsgType.TEXT, KLINE, True, False))
        await asyncio.sleep(0)
        assert told == [2]

    asyncio.run(scenario())
