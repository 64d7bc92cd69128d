"""Everything that goes wrong on purpose: one function a class of fault, and a schedule of them.

A fault is ``async def name(world, draw)``: it begins at once, says by ``world.troubled`` how long
it keeps the server from being whole, and returns when it is over. Its dice are ``draw`` alone.
"""

from __future__ import annotations

import asyncio
import errno
import random as random_module
import socket
import ssl
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, NamedTuple

from picows import WSCloseCode

from simulation.network import End
from simulation.rest import IN_A_MINUTE, Mishap

if TYPE_CHECKING:
    from simulation.world import World

__all__ = ["FAULTS", "Planned", "draw_schedule"]

Fault = Callable[["World", random_module.Random], Awaitable[None]]

#: Name -> the fault and how often it is drawn beside the others.
FAULTS: dict[str, tuple[Fault, int]] = {}

#: Faults of one simulated hour at least and at most.
AN_HOUR = (10, 14)

#: Messages that no exchange should send.
_MALFORMED = (
    b"",
    b"{",
    b"null",
    b"[]",
    b"\xff\xfe",
    b'{"e":"kline"}',
    b'{"e":"kline","E":"x","s":1,"k":[]}',
    b'{"e":"kline","E":1,"s":"BTCUSDT","k":{"t":"1","T":2}}',
    b'{"e":7}',
    b'{"e":"24hrTicker"}',
    b'{"stream":"x","data":{"e":"kline","k":null}}',
    b'{"result":{},"id":[]}',
    b"[" * 5000,
    b'{"e":"kline","E":1e999,"s":"BTCUSDT","k":{}}',
    b"x" * 10_000,
)


class Planned(NamedTuple):
    """A fault and when it begins, s of virtual time."""

    at_s: float
    name: str
    dice: int  # seed of its own, so that a fault is the same whatever the others drew


def draw_schedule(
    random: random_module.Random,
    from_s: float,
    until_s: float,
    names: tuple[str, ...] | None = None,
) -> list[Planned]:
    """At least ten faults for every hour, oldest first; ``names`` leaves the others out."""
    chosen = [(name, weight) for name, (_, weight) in FAULTS.items() if not names or name in names]
    planned = []
    begun_s = from_s
    while begun_s < until_s:
        ended_s = min(begun_s + 3600.0, until_s)
        share = (ended_s - begun_s) / 3600.0
        for _ in range(round(random.randint(*AN_HOUR) * share + 0.49)):
            name = random.choices([n for n, _ in chosen], [w for _, w in chosen])[0]
            planned.append(Planned(random.uniform(begun_s, ended_s), name, random.getrandbits(32)))
        begun_s = ended_s
    return sorted(planned)


def _fault(weight: int = 1) -> Callable[[Fault], Fault]:
    def register(function: Fault) -> Fault:
        FAULTS[function.__name__] = (function, weight)
        return function

    return register


def _some(ends: list[End], draw: random_module.Random) -> list[End]:
    """One of them or all of them."""
    return [draw.choice(ends)] if ends and draw.random() < 0.5 else ends


# --- connections -----------------------------------------------------------------------------


@_fault(3)
async def cut(world: World, draw: random_module.Random) -> None:
    """FIN or RST after a random byte: within a frame, within a character."""
    for end in _some(world.network.clients, draw):
        end.peer.cut_resets = draw.random() < 0.5
        end.peer.cut_after = draw.randrange(1, 6000)
    world.troubled(0.0)


@_fault(2)
async def cut_all(world: World, draw: random_module.Random) -> None:
    """Every connection at once, at once."""
    for end in world.network.clients:
        end.sever(reset=draw.random() < 0.5)
    world.troubled(0.0)


@_fault(1)
async def life_over(world: World, draw: random_module.Random) -> None:
    """What the exchange does after 24 hours: a polite end."""
    for connection in list(world.exchange.streams.connections):
        connection.cut(WSCloseCode.POLICY_VIOLATION)
    world.troubled(0.0)


@_fault(1)
async def server_shutdown(world: World, draw: random_module.Random) -> None:
    """Announced, and some time later done."""
    wait_s = draw.uniform(1.0, 120.0)
    world.troubled(wait_s)
    world.exchange.streams.announce_shutdown()
    leaving = list(world.exchange.streams.connections)
    await asyncio.sleep(wait_s)
    for connection in leaving:
        connection.cut(WSCloseCode.GOING_AWAY)


@_fault(2)
async def half_open(world: World, draw: random_module.Random) -> None:
    """Bytes vanish on open connections, and nobody is told of an end."""
    ends = _some(world.network.clients, draw)
    for end in ends:
        end.deaf = end.peer.deaf = True
    world.troubled(0.0)
    await asyncio.sleep(600.0)
    for end in ends:
        end.peer.abort()  # what is left at the exchange


@_fault(1)
async def refuse_connects(world: World, draw: random_module.Random) -> None:
    """Connections end, and for a while none can be made."""
    seconds = draw.uniform(5.0, 60.0)
    world.troubled(seconds)
    conditions = world.network.conditions
    ways: list[tuple[object, str, object]] = [
        (world.exchange.faults, "refuse_connects", True),
        (conditions, "refuse", True),
        (conditions, "blackhole", True),
        (conditions, "failure", socket.gaierror(-3, "Temporary failure in name resolution")),
        (conditions, "failure", ssl.SSLCertVerificationError(1, "certificate has expired")),
    ]
    owner, name, value = draw.choice(ways)
    with world.held(owner, name, value):
        for end in _some(world.network.clients, draw):
            end.sever(reset=True)
        await asyncio.sleep(seconds)


@_fault(1)
async def slow(world: World, draw: random_module.Random) -> None:
    """Two seconds of latency, or little bandwidth."""
    seconds = draw.uniform(30.0, 180.0)
    world.troubled(seconds)
    conditions = world.network.conditions
    name, value = draw.choice([("latency_s", 2.0), ("jitter_s", 4.0), ("bytes_per_s", 20_000.0)])
    with world.held(conditions, name, value):
        await asyncio.sleep(seconds)


# --- streams ---------------------------------------------------------------------------------


@_fault(2)
async def mute_streams(world: World, draw: random_module.Random) -> None:
    """Some streams deliver nothing; pings go on, and so do the others."""
    seconds = draw.uniform(30.0, 600.0)
    world.troubled(0.0)  # REST brings what is missed meanwhile
    names = list(world.exchange.streams.subscribers)
    chosen = draw.sample(names, min(len(names), draw.choice([1, 1, 3, 20])))
    muted = world.exchange.faults.mute_streams
    muted.update(chosen)
    await asyncio.sleep(seconds)
    muted.difference_update(chosen)


@_fault(1)
async def mute_all(world: World, draw: random_module.Random) -> None:
    """Pings and ACKs go on; no data."""
    world.troubled(0.0)
    with world.held(world.exchange.faults, "mute_all", True):
        await asyncio.sleep(draw.uniform(30.0, 240.0))


@_fault(1)
async def ack_only(world: World, draw: random_module.Random) -> None:
    """New subscriptions are acknowledged and bring nothing."""
    world.troubled(0.0)
    with world.held(world.exchange.faults, "ack_only", True):
        for end in _some(world.network.clients, draw):
            end.sever(reset=True)
        await asyncio.sleep(draw.uniform(10.0, 120.0))


@_fault(1)
async def no_ack(world: World, draw: random_module.Random) -> None:
    """Control messages are not answered."""
    world.troubled(0.0)
    with world.held(world.exchange.faults, "no_ack", True):
        for end in _some(world.network.clients, draw):
            end.sever(reset=False)
        await asyncio.sleep(draw.uniform(5.0, 60.0))


@_fault(3)
async def drop_closes(world: World, draw: random_module.Random) -> None:
    """Some of the next closes never come."""
    world.exchange.faults.drop_closes += draw.choice([1, 2, 5, 40])
    world.troubled(0.0)
    await world.sleep_until((world.now_ms // 60_000 + 1) * 60_000)
    world.troubled(0.0)  # they are dropped now


@_fault(2)
async def late_closes(world: World, draw: random_module.Random) -> None:
    """Closes come after the next kline has begun."""
    seconds = draw.uniform(60.0, 240.0)
    world.troubled(seconds)
    with world.held(world.exchange.faults, "late_close_ms", draw.randrange(1, 20_000)):
        await asyncio.sleep(seconds)


@_fault(1)
async def duplicates(world: World, draw: random_module.Random) -> None:
    """Every frame several times."""
    world.troubled(0.0)
    with world.held(world.exchange.faults, "duplicates", draw.randrange(1, 4)):
        await asyncio.sleep(draw.uniform(60.0, 240.0))


@_fault(1)
async def reorder(world: World, draw: random_module.Random) -> None:
    """Closes of one moment in reverse."""
    world.troubled(0.0)
    with world.held(world.exchange.faults, "reorder", True):
        await asyncio.sleep(draw.uniform(60.0, 600.0))


@_fault(2)
async def malformed(world: World, draw: random_module.Random) -> None:
    """Messages that are none, and frames cut in the middle of their JSON."""
    faults = world.exchange.faults
    faults.malformed.extend(draw.sample(_MALFORMED, draw.randrange(1, 6)))
    faults.truncate += draw.choice([0, 1, 3])
    world.troubled(0.0)
    await world.sleep_until((world.now_ms // 60_000 + 1) * 60_000)
    world.troubled(0.0)


@_fault(1)
async def stale_frames(world: World, draw: random_module.Random) -> None:
    """Old klines once more, closed or not; forming ones with an event time of the future."""
    world.troubled(0.0)
    book, now_ms = world.exchange.book, world.now_ms
    for _ in range(draw.randrange(1, 40)):
        symbol, interval = draw.choice(list(book.source.symbols)), draw.choice(world.intervals)
        kind = draw.choice(["again", "unclosed", "future"])
        rows = book.rows(symbol, interval, now_ms, limit=5)
        closed = [row for row in rows if row.closed]
        if kind == "future" and rows and not rows[-1].closed:
            frame = book.kline_frame(symbol, interval, rows[-1], now_ms + 3_600_000)
        elif kind == "again" and closed:
            row = draw.choice(closed)
            frame = book.kline_frame(symbol, interval, row, row.close_ms + 1)
        elif kind == "unclosed" and closed:
            row = draw.choice(closed)
            earlier = row._replace(closed=False, close=row.open, volume=row.volume // 2)
            frame = book.kline_frame(symbol, interval, earlier, row.close_ms - 1000)
        else:
            continue
        world.exchange.streams.publish(f"{symbol.lower()}@kline_{interval}", frame)


@_fault(1)
async def halts(world: World, draw: random_module.Random) -> None:
    """Some symbols are not traded for a while: their klines of that time do not exist."""
    world.troubled(0.0)
    exchange = world.exchange
    trading = [name for name in exchange.source.symbols if name not in exchange.source.statuses]
    chosen = draw.sample(trading, min(len(trading), draw.choice([1, 1, 1, 5])))
    for name in chosen:
        exchange.set_status(name, draw.choice(["HALT", "BREAK"]))
    await asyncio.sleep(draw.uniform(20.0, 1800.0))
    for name in chosen:
        exchange.set_status(name, "TRADING")


@_fault(1)
async def listings(world: World, draw: random_module.Random) -> None:
    """A symbol comes, goes, or gets another name."""
    world.troubled(0.0)
    exchange = world.exchange
    old = [name for name in exchange.source.symbols if not name.startswith("NEW")]
    kind = draw.choice(["list", "list", "delist", "rename"])
    if kind == "list" and world.unlisted:
        exchange.list_symbol(world.unlisted.pop())
    elif kind == "delist" and len(old) > world.symbols_least:
        exchange.delist(draw.choice(old))
    elif kind == "rename" and len(old) > world.symbols_least:
        name = draw.choice(old)
        exchange.rename(name, f"NEW{world.injected['listings']}{name[-7:]}")


# --- REST ------------------------------------------------------------------------------------

_SLOW_DOWN = b'{"code":-1003,"msg":"Too many requests."}'


def _refusal(status: int, retry_after: str | None, seconds: float) -> Mishap:
    """``seconds``: how long the server has to stay away from REST."""
    headers = () if retry_after is None else (("retry-after", retry_after),)
    return Mishap(status, headers, _SLOW_DOWN, trouble_s=seconds)


#: Answers that forbid to ask again for a while.
REFUSALS = (
    _refusal(429, "0", 1.0),
    _refusal(429, "1", 1.0),
    _refusal(429, "60", 60.0),
    _refusal(429, None, 60.0),
    _refusal(429, "soon", 60.0),
    _refusal(429, IN_A_MINUTE, 61.0),
    _refusal(418, "120", 120.0),
    _refusal(418, None, 120.0),
    _refusal(403, None, 300.0),
    _refusal(451, None, 600.0),
)

#: Answers that are of no use, and do not forbid to ask again.
USELESS = (
    Mishap(500, body=b'{"code":-1000,"msg":"An unknown error occurred."}'),
    Mishap(502, body=b"<html><body>Bad Gateway</body></html>"),
    Mishap(503, body=b""),
    Mishap(504, body=b'{"code":-1007,"msg":"Timeout waiting for response."}'),
    Mishap(503, body=b'{"code":-1008,"msg":"Server is currently overloaded."}'),
    Mishap(200, body=b"<html><body>Please wait</body></html>"),
    Mishap(200, body=b""),
    Mishap(200, body=b"{}"),
    Mishap(200, body=b"[]"),
    Mishap(200, kept=0.5),
    Mishap(200, kept=0.97),
    Mishap(0),
    Mishap(0, delay_s=10.0),
    Mishap(200, delay_s=4.0),
)


@_fault(2)
async def rest_refuses(world: World, draw: random_module.Random) -> None:
    """429, 418, 403, 451, with every kind of Retry-After."""
    world.mishaps.extend([draw.choice(REFUSALS)] * draw.choice([1, 1, 2]))


@_fault(3)
async def rest_fails(world: World, draw: random_module.Random) -> None:
    """Errors, HTML, nothing, half of it, silence, just when a close is asked for."""
    await drop_closes(world, draw)
    world.mishaps.extend(draw.choices(USELESS, k=draw.randrange(1, 6)))


@_fault(2)
async def rest_lags(world: World, draw: random_module.Random) -> None:
    """The database behind REST is late: the last row is missing, or not what it became."""
    seconds = draw.uniform(60.0, 300.0)
    world.troubled(seconds)
    world.exchange.faults.drop_closes += draw.choice([1, 5, 40])
    name, value = draw.choice([("klines_lack_last", True), ("klines_lag_ms", 1500)])
    with world.held(world.exchange.faults, name, value):
        await asyncio.sleep(seconds)


# --- this machine ----------------------------------------------------------------------------


@_fault(1)
async def clock_slews(world: World, draw: random_module.Random) -> None:
    """The wall clock runs up to 500 ppm wrong for a while, and is up to ten seconds off."""
    world.troubled(0.0)
    world.clock.slew(draw.uniform(-0.5, 0.5))
    await asyncio.sleep(draw.uniform(300.0, 1200.0))
    world.clock.slew(0.0)


@_fault(1)
async def clock_steps(world: World, draw: random_module.Random) -> None:
    """The wall clock is set: by seconds, or by an hour, and back again later."""
    world.troubled(0.0)
    world.clock.step(draw.choice([-3_600_000, 3_600_000, -10_000, 10_000, -700, 700]))
    await asyncio.sleep(draw.uniform(30.0, 900.0))
    world.clock.mend()


@_fault(1)
async def restarts(world: World, draw: random_module.Random) -> None:
    """The server ends, politely or not, or its machine loses power; later it starts again."""
    await world.restart(
        draw.uniform(0.0, 900.0), how=draw.choice(["stop", "kill", "kill", "power"])
    )


@_fault(1)
async def disk_fails(world: World, draw: random_module.Random) -> None:
    """Full, broken, read-only: some of the next steps of the disk fail."""
    disk = world.disk
    kind = draw.choice([errno.ENOSPC, errno.EIO, errno.EROFS, errno.EMFILE])
    begun = len(disk.steps)
    for step in range(begun, begun + draw.choice([1, 3, 200])):
        disk.fail_at[step + draw.randrange(3)] = OSError(kind, "simulated")
