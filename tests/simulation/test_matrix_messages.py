"""Fault matrix, what happens to messages: rows 4 and 5."""

from __future__ import annotations

import pytest
from picows import WSMsgType
from simulation.records import MINUTE_MS, Record, kline_frame, next_minute_ms
from simulation.scenario import scenario, simulated

from server.exchange.sockets import Connection


def write_raw(connection: Connection, data: bytes) -> None:
    """Bytes as they are, below the exchange's WebSocket."""
    assert connection._transport is not None
    connection._transport.underlying_transport.write(data)


# --- 4: messages that are none ---------------------------------------------------------------

GOOD = (
    b'{"e":"kline","E":1768430467001,"s":"BTCUSDT","k":{"t":1768430460000,"T":1768430519999,'
    b'"s":"BTCUSDT","i":"1m","f":1,"L":9,"o":"1.0","c":"1.0","h":"1.0","l":"1.0","v":"1.0",'
    b'"n":9,"x":true,"q":"1.0","V":"1.0","Q":"1.0","B":"0"}}'
)

#: Text messages of which nothing may be stored, and the counter that must move.
MALFORMED = {
    "cut": GOOD[:150],
    "cut at the last byte": GOOD[:-1],
    "more behind it": GOOD + b"}",
    "number as text": GOOD.replace(b'"t":1768430460000', b'"t":"1768430460000"'),
    "text as number": GOOD.replace(b'"o":"1.0"', b'"o":1.0'),
    "missing field": GOOD.replace(b'"o":"1.0",', b""),
    "NaN": GOOD.replace(b'"o":"1.0"', b'"o":"NaN"'),
    "inf": GOOD.replace(b'"h":"1.0"', b'"h":"inf"'),
    "1e999": GOOD.replace(b'"c":"1.0"', b'"c":"1e999"'),
    "negative zero": GOOD.replace(b'"o":"1.0"', b'"o":"-0"'),
    "empty price": GOOD.replace(b'"o":"1.0"', b'"o":""'),
    "null kline": b'{"e":"kline","E":1,"s":"BTCUSDT","k":null}',
    "bad UTF-8": GOOD.replace(b'"s":"BTCUSDT","k"', b'"s":"BTC\xff\xfeUSDT","k"'),
    "nothing": b"",
    "nested": b"[" * 5000,
    "10 kB of x": b"x" * 10_000,
}


@pytest.mark.parametrize("name", MALFORMED)
@simulated
async def test_fault_04_a_message_that_is_none_is_dropped_counted_and_changes_nothing(
    name: str,
) -> None:
    """Fault 4: cut, wrong types, odd prices, bad UTF-8: counted, same rows, same connection."""
    async with scenario(symbols=2, settings={"symbols": "BTCUSDT"}) as world:
        market = world.market
        before = market.counters()
        sequences = [series.sequence for series in market]
        world.exchange.streams.send_to_all(MALFORMED[name])
        await world.sleep(0.5)
        moved = {key for key, count in market.counters().items() if count != before[key]}
        assert moved == {"frames_malformed"}
        assert market.counters()["frames_malformed"] == before["frames_malformed"] + 1
        assert [series.sequence for series in market] == sequences
        assert world.connects[0] == 1


@simulated
async def test_fault_04_unknown_fields_are_no_fault() -> None:
    """Fault 4: extra fields are skipped; a test of the test above: its good frame is stored."""
    async with scenario(symbols=2, settings={"symbols": "BTCUSDT"}, judged=False) as world:
        market = world.market
        revision = market["BTCUSDT", "1m"].revision
        world.exchange.streams.send_to_all(
            GOOD.replace(b'"k":{', b'"new":[1,{"a":null}],"k":{"also":"new",')
        )
        await world.sleep(0.5)
        assert market["BTCUSDT", "1m"].revision == revision + 1
        assert market["BTCUSDT", "1m"].close[-1] == 1.0


def frame_bytes(opcode: int, payload: bytes, *, final: bool = True, rsv1: bool = False) -> bytes:
    """A frame as a server sends it: without a mask."""
    first = (0x80 if final else 0) | (0x40 if rsv1 else 0) | opcode
    size = len(payload)
    if size < 126:
        return bytes((first, size)) + payload
    if size < 1 << 16:
        return bytes((first, 126)) + size.to_bytes(2, "big") + payload
    return bytes((first, 127)) + size.to_bytes(8, "big") + payload


@simulated
async def test_fault_04_binary_and_compressed_are_dropped_and_fragments_are_one_message() -> None:
    """Fault 4: a binary frame and one marked as compressed are counted; a good message in three
    pieces, a ping between, counts as one; nothing costs the connection."""
    async with scenario(symbols=2) as world:
        market = world.market
        (connection,) = world.exchange.streams.connections
        opened_ms = world.now_ms // MINUTE_MS * MINUTE_MS
        good = kline_frame(world, "BTCUSDT", "1m", opened_ms, event_ms=world.now_ms)
        before = market.counters()
        write_raw(connection, frame_bytes(2, GOOD))
        write_raw(connection, frame_bytes(1, GOOD, rsv1=True))
        write_raw(connection, frame_bytes(1, good[:50], final=False))
        write_raw(connection, frame_bytes(0, good[50:100], final=False))
        write_raw(connection, frame_bytes(9, b"ping"))
        write_raw(connection, frame_bytes(0, good[100:]))
        await world.sleep(0.5)
        moved = {k: n - before[k] for k, n in market.counters().items() if n != before[k]}
        assert moved == {"frames_kline": 1}
        assert next(iter(world.feed._connections)).received.dropped == 2
        assert world.connects[0] == 1


@pytest.mark.parametrize(
    "data",
    [
        frame_bytes(3, b"reserved"),
        b"\x81\x7f" + (10 << 20).to_bytes(8, "big") + b"x" * (1 << 16),  # 10 MB
    ],
    ids=["reserved opcode", "10 MB"],
)
@simulated
async def test_fault_04_what_breaks_the_protocol_costs_the_connection_and_no_row(
    data: bytes,
) -> None:
    """Fault 4: a reserved opcode, or 10 MB: a new connection within 2 s, rows unchanged."""
    async with scenario(symbols=2) as world:
        market = world.market
        sequences = [series.sequence for series in market]
        (connection,) = world.exchange.streams.connections
        world.troubled(0.0)
        write_raw(connection, data)
        await world.until(lambda: not world.exchange.streams.connections, 1.0)
        assert [series.sequence for series in market] == sequences
        await world.until(lambda: world.connects[0] == 2, 2.0)


# --- 5: order and repetition -----------------------------------------------------------------


@pytest.mark.parametrize("times", [1, 7])
@simulated
async def test_fault_05_repeated_and_reordered_frames_leave_one_row_and_one_close_each(
    times: int,
) -> None:
    """Fault 5: every frame 2 or 8 times, closes in reverse: 5 minutes are 5 rows and 5 closes."""
    async with scenario(symbols=3) as world:
        record = Record(world)
        series = world.market["BTCUSDT", "1m"]
        await world.sleep_until(next_minute_ms(world) - 1000)
        count, revision = series.closed_count, series.revision
        faults = world.exchange.faults
        with world.held(faults, "duplicates", times), world.held(faults, "reorder", True):
            await world.sleep(300.0)
        assert (series.closed_count - count, series.revision - revision) == (5, 5)
        assert len(record.told("BTCUSDT", "1m")) == 5
        assert record.asked("/klines") == []
        await world.check_all(final=True)


@simulated
async def test_fault_05_a_stale_frame_after_the_close_reopens_nothing() -> None:
    """Fault 5: the kline's last forming frame comes after its close: closed stays closed."""
    async with scenario(symbols=2) as world:
        series = world.market["BTCUSDT", "1m"]
        opened_ms = world.now_ms // MINUTE_MS * MINUTE_MS
        await world.sleep_until(opened_ms + 55_000)
        stale = kline_frame(world, "BTCUSDT", "1m", opened_ms, event_ms=world.now_ms)
        await world.sleep_until(opened_ms + MINUTE_MS + 1000)
        assert series.last_close_ms == opened_ms + MINUTE_MS - 1
        revision, stales = series.revision, series.counters["stale"]
        world.exchange.streams.send_to_all(stale)
        await world.sleep(0.5)
        assert (series.revision, series.counters["stale"]) == (revision, stales + 1)
        await world.check("BTCUSDT", "1m", final=True)


@simulated
async def test_fault_05_a_second_close_with_more_trades_is_one_revision_and_no_second_close() -> (
    None
):
    """Fault 5: x=true with a part of the trades, then with all of them: one close, one revision."""
    async with scenario(symbols=2, judged=False) as world:
        record = Record(world)
        series = world.market["BTCUSDT", "1m"]
        opened_ms = next_minute_ms(world)
        await world.sleep_until(opened_ms + MINUTE_MS - 300)
        world.exchange.faults.mute_streams.add("btcusdt@kline_1m")
        await world.sleep_until(opened_ms + MINUTE_MS + 100)
        row = world.exchange.book.row_at("BTCUSDT", "1m", opened_ms, world.now_ms)
        assert row is not None
        early = {"trades": row.trades - 1, "close": row.open, "closed": True}
        for event_ms, changes in ((100, early), (200, {}), (100, early), (200, {})):
            frame = kline_frame(
                world, "BTCUSDT", "1m", opened_ms,
                event_ms=opened_ms + MINUTE_MS + event_ms, **changes,
            )  # fmt: skip
            world.exchange.streams.send_to_all(frame)
            await world.sleep(0.2)
        assert [told.revised for told in record.told("BTCUSDT", "1m", opened_ms)] == [False, True]
        assert series.counters["revisions"] == 1
        await world.check("BTCUSDT", "1m")
        assert world.judge.found["lost"] == 0


def test_a_text_frame_made_here_is_one() -> None:
    assert frame_bytes(WSMsgType.TEXT.value, b"ab") == b"\x81\x02ab"
