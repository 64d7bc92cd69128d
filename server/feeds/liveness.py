"""Which streams are alive, stream by stream: judged by event times, healed in steps, blind time.

A socket that answers says nothing of a stream. A stream is up at its first event of a connection;
it is stale when the exchange is known to have said more than it brought: another stream of its
symbol, or REST, shows a later trade. A quiet symbol shows none, so its silence is no fault.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from klinecore.interval import INTERVAL_MS, open_time_ms
from klinecore.market import Market
from server.clock import Clock

__all__ = ["Base", "Blindness", "Healing", "Liveness", "Times", "update_periods_s"]

log = logging.getLogger(__name__)

#: Seconds between two updates of a stream: ticker, 1s klines, other klines; by market.
_PERIODS_S = {"spot": (1.0, 1.0, 2.0), "um": (2.0, 0.25, 0.25)}

#: A stream may stay behind what is known to have happened for so many update periods, and never
#: for less than this, s: it is looked at once a second.
PERIODS_BEHIND = 3
BEHIND_MIN_S = 2.0

#: A symbol none of whose streams has told of a close this long after it, s, fell silent.
SILENT_AFTER_S = 10.0

#: A connection with more than this share of its streams stale is replaced without more ado.
RECONNECT_SHARE = 0.5

#: Waits before a stream that nothing could heal is tried again, s; doubled up to the bound.
_REST_WAITS_S = (60.0, 3600.0)

#: Steps of the ladder.
_RESUBSCRIBE, _RECONNECT, _REST = 1, 2, 3

_NO_OWNER = -1

_LONG_MS = 1 << 40  # for a month, whose length differs

Place = tuple[int, int]  # row: symbol; column: 0 the ticker, then the intervals
Mark = tuple[int, int]  # a kline's opening time and trades; or 0 and a ticker's newest trade id
Times = NDArray[np.int64]


def update_periods_s(
    market_name: str, intervals: Sequence[str], *, kline_s: float = 0.0, ticker_s: float = 0.0
) -> list[float]:
    """Seconds between two updates of each stream of a symbol: its ticker, then its klines.

    ``kline_s`` and ``ticker_s`` are for exchanges with other periods than Binance's; 0: its own.
    """
    ticker, second, other = _PERIODS_S[market_name]
    klines = [second if interval == "1s" else other for interval in intervals]
    return [ticker_s or ticker, *(kline_s or kline for kline in klines)]


class Base(NamedTuple):
    """Newest event time of every stream at some moment, and whose they were."""

    symbols: tuple[str, ...]
    event_ms: Times


class Blindness(NamedTuple):
    """How long a stream has not been heard, in the exchange's time."""

    total_ms: int  # stretches that are over
    current_ms: int  # of the one that is not; 0 without


class Healing(NamedTuple):
    """What is to be done for streams found stale."""

    resubscribe: dict[int, list[str]]  # by connection
    reconnect: list[int]
    left: list[str]  # nothing helped: REST brings their closes until the next attempt
    silent: list[str]  # symbols that fell silent altogether: halted, perhaps


class _Growth(NamedTuple):
    """Trades that were not known before."""

    column: int
    open_ms: int  # of the kline they are in; 0 for a ticker
    told_ms: int | None  # event time of the frame before the one that told; None: REST did


class _Doubt:
    """A symbol with streams that lag behind: what is known of its trades since."""

    __slots__ = ("events", "fingerprint", "marks", "streams")

    def __init__(self) -> None:
        self.fingerprint = -1
        self.marks: dict[int, Mark] = {}  # by column
        self.events: dict[int, int] = {}
        #: Column -> its event time when the doubt began, and since when it is proven wrong, s.
        self.streams: dict[int, tuple[int, float | None]] = {}


class Liveness:
    """Of all streams of one market. ``look`` once a second; connections report what they do."""

    def __init__(
        self,
        market: Market,
        periods_s: Sequence[float],
        *,
        clock: Clock,
        now_ms: Callable[[], int],
    ) -> None:
        """``periods_s``: see ``update_periods_s``; ``now_ms`` is the exchange's time."""
        self.stale_found = 0  # times a stream became stale
        self._market = market
        self._clock = clock
        self._now_ms = now_ms
        self._intervals = market.intervals
        self._periods_ms = np.array([int(s * 1000) for s in periods_s], np.int64)
        lengths_ms = [0, *(INTERVAL_MS[i] or _LONG_MS for i in self._intervals)]
        self._talking = np.array(lengths_ms) <= INTERVAL_MS["1m"]  # columns; the ticker's as well
        self._behind_s = [max(BEHIND_MIN_S, PERIODS_BEHIND * s) for s in periods_s]
        self._doubts: dict[str, _Doubt] = {}
        self._silent: dict[str, None] = {}
        self._symbols: tuple[str, ...] = ()
        self._places: dict[str, Place] = {}
        self._make_room(())
        self.refresh()

    # --- which streams there are ---------------------------------------------------------------

    def _make_room(self, symbols: tuple[str, ...]) -> None:
        shape = (len(symbols), 1 + len(self._intervals))
        self._symbols = symbols
        self._event = np.zeros(shape, np.int64)  # newest event time, as of the last look
        self._base = np.zeros(shape, np.int64)  # the same when the stream was last subscribed
        self._since_s = np.zeros(shape, np.float64)  # and when that was
        self._since = np.zeros(shape, np.int64)  # the same in exchange time, as of the last look
        self._owner = np.full(shape, _NO_OWNER, np.int32)
        self._connected = np.zeros(shape, np.bool_)
        self._stale = np.zeros(shape, np.bool_)
        self._lost = np.zeros(shape, np.bool_)
        self._lost_at = np.zeros(shape, np.int64)
        self._blind = np.zeros(shape, np.int64)
        self._step = np.zeros(shape, np.int8)
        self._rest_until_s = np.zeros(shape, np.float64)
        self._rest_wait_s = np.full(shape, _REST_WAITS_S[0], np.float64)
        self._expected = np.ones(shape[0], np.bool_)
        kinds = ["ticker", *(f"kline_{interval}" for interval in self._intervals)]
        self._names = [[f"{symbol.lower()}@{kind}" for kind in kinds] for symbol in symbols]
        self._places = {
            name: (row, column)
            for row, names in enumerate(self._names)
            for column, name in enumerate(names)
        }

    def refresh(self) -> None:
        """Follow the market's symbols after some were added or removed."""
        symbols = self._market.symbols
        if symbols == self._symbols:
            return
        old_rows = {symbol: row for row, symbol in enumerate(self._symbols)}
        kept = [(row, old_rows[symbol]) for row, symbol in enumerate(symbols) if symbol in old_rows]
        before = {
            name: array for name, array in vars(self).items() if isinstance(array, np.ndarray)
        }
        self._make_room(symbols)
        new, old = (
            np.array(rows, np.intp) for rows in (zip(*kept, strict=True) if kept else ((), ()))
        )
        for name, array in before.items():
            if name not in ("_periods_ms", "_talking"):  # these are of columns
                getattr(self, name)[new] = array[old]
        for symbol in old_rows.keys() - set(symbols):
            self._doubts.pop(symbol, None)
            self._silent.pop(symbol, None)

    def assign(self, streams: Iterable[str], owner: int) -> None:
        """These streams are the connection's whose number is ``owner``, from now on."""
        for name in streams:
            self._owner[self._places[name]] = owner

    def release(self, stream: str) -> None:
        """This stream is no connection's any more; unknown ones do not matter."""
        place = self._places.get(stream)
        if place is not None:
            self._owner[place] = _NO_OWNER
            self._connected[place] = self._stale[place] = self._lost[place] = False
            self._step[place] = 0

    def expect(self, symbol: str, expected: bool) -> None:
        """Whether a symbol is traded: the silence of one that is not is no fault."""
        row = self._symbols.index(symbol)
        if bool(self._expected[row]) == expected:
            return
        self._expected[row] = expected
        self._doubts.pop(symbol, None)
        self._stale[row] = self._lost[row] = False
        self._step[row] = 0
        self._since_s[row] = self._clock.monotonic()
        if expected:
            down = ~self._connected[row]
            self._lost[row] = down
            self._lost_at[row] = np.where(down, self._now_ms(), 0)

    # --- what connections do -------------------------------------------------------------------

    def base(self) -> Base:
        """As of now: what a connection that begins has to surpass."""
        return Base(self._symbols, self.event_times())

    def opened(self, owner: int, since_s: float, base: Base) -> None:
        """A connection is subscribed to all its streams: it began at ``since_s`` by the monotonic
        clock, when the newest events were those of ``base``."""
        self._open(self._owner == owner, since_s, base)

    def succeeded(self, owner: int, since_s: float, base: Base) -> None:
        """A connection was replaced without a break: only stale streams begin anew."""
        self._open((self._owner == owner) & self._stale, since_s, base)

    def subscribed(self, streams: Iterable[str]) -> None:
        """An open connection has subscribed, anew, to these of its streams."""
        self._open(self._mask(streams), self._clock.monotonic(), self.base())

    def _open(self, streams: NDArray[np.bool_], since_s: float, base: Base) -> None:
        event_ms = base.event_ms
        if base.symbols is not self._symbols:  # they have changed meanwhile
            rows = {symbol: row for row, symbol in enumerate(base.symbols)}
            event_ms = self._base.copy()
            for row, symbol in enumerate(self._symbols):
                if symbol in rows:
                    event_ms[row] = base.event_ms[rows[symbol]]
        self._base[streams] = event_ms[streams]
        self._since_s[streams] = since_s
        self._connected[streams] = True
        # Their first frames may have come before the last of them was acknowledged.
        self._revive(streams & (self.event_times() > self._base), self.event_times())

    def closed(self, owner: int) -> None:
        """A connection ended: its streams are blind since their last event."""
        self._take()
        mine = (self._owner == owner) & self._connected
        self._connected[mine] = False
        self._lose(mine & self._expected[:, None])

    def note_rest_tickers(self) -> None:
        """REST has brought tickers: these are no frames of their streams."""
        times = self._market.ticker_times()
        waiting = self._event[:, 0] <= self._base[:, 0]
        self._event[:, 0] = times
        self._base[waiting, 0] = times[waiting]

    def _mask(self, streams: Iterable[str]) -> NDArray[np.bool_]:
        mask = np.zeros(self._owner.shape, np.bool_)
        for name in streams:
            if name in self._places:  # else its symbol was dropped meanwhile
                mask[self._places[name]] = True
        return mask

    # --- what it knows -------------------------------------------------------------------------

    def newest_ms(self, owner: int) -> int:
        """Newest event time any stream of a connection has brought, ms; 0 before the first."""
        return int(np.max(self.event_times(), where=self._owner == owner, initial=0))

    def lag_ms(self, owner: int) -> int:
        """Since the newest event any stream of a connection has brought; 0 before the first."""
        newest_ms = self.newest_ms(owner)
        return max(self._now_ms() - newest_ms, 0) if newest_ms else 0

    def talks(self, owner: int) -> bool:
        """True if a connection's silence would be odd: it carries something of a traded symbol that
        speaks at least once a minute."""
        mine = (self._owner == owner) & self._expected[:, None]
        return bool(mine[:, self._talking].any())

    def delivering(self, owner: int) -> int:
        """Streams of a connection that have brought something on it and are not stale."""
        return int(np.count_nonzero(self._up() & (self._owner == owner)))

    def stale(self, owner: int | None = None) -> int:
        """Streams that are stale: of one connection, or of all."""
        mine = self._stale if owner is None else self._stale & (self._owner == owner)
        return int(np.count_nonzero(mine))

    def is_stale(self, symbol: str, interval: str) -> bool:
        """True while the stream of this series is known to lack something, or is not connected."""
        return bool(self._lost[self._series(symbol, interval)])

    def blindness(self, symbol: str, interval: str) -> Blindness:
        """Of one series."""
        place = self._series(symbol, interval)
        current = self._now_ms() - int(self._lost_at[place]) if self._lost[place] else 0
        return Blindness(int(self._blind[place]), max(current, 0))

    @property
    def blind_s(self) -> float:
        """Blind time summed over all series, tickers left out."""
        now_ms = self._now_ms()
        lost = self._lost[:, 1:]
        current = np.maximum(now_ms - self._lost_at[:, 1:][lost], 0)
        return float(self._blind[:, 1:].sum() + current.sum()) / 1000

    def _series(self, symbol: str, interval: str) -> Place:
        row, _ = self._places[f"{symbol.lower()}@ticker"]
        return row, 1 + self._intervals.index(interval)

    def _up(self) -> NDArray[np.bool_]:
        return (self.event_times() > self._base) & self._connected & ~self._stale

    # --- the look ------------------------------------------------------------------------------

    def look(self) -> Healing:
        """Take what came, judge every stream, and say what is to be done."""
        now_ms, now_s = self._now_ms(), self._clock.monotonic()
        self._take()
        overdue = self._overdue(now_ms)
        told = np.maximum(self._event, self._since)
        behind = self._event.max(axis=1, initial=0)[:, None] - told >= self._periods_ms
        suspects = self._connected & self._expected[:, None] & (behind | overdue)
        guilty = self._judge(suspects, now_s)
        healing = self._heal(guilty, now_s)
        healing.silent.extend(self._fell_silent(now_ms))
        return healing

    def event_times(self) -> Times:
        """Newest event time of every stream, ms; a new array, shape (symbols, 1 + intervals)."""
        event = np.empty_like(self._event)
        event[:, 0] = self._market.ticker_times()
        event[:, 1:] = self._market.event_times()
        return event

    def _take(self) -> None:
        """Streams that have brought something new are alive, whatever was thought of them."""
        # From the monotonic clock each time: the exchange's may be known later, or better.
        ago_s = self._clock.monotonic() - self._since_s
        self._since = self._now_ms() - (ago_s * 1000).astype(np.int64)
        event = self.event_times()
        back = (event > self._event) & self._connected & (self._lost | (self._step > 0))
        self._event = event
        if back.any():
            self._revive(back, event)

    def _revive(self, back: NDArray[np.bool_], event: Times) -> None:
        ended = back & self._lost
        self._blind[ended] += np.maximum(event[ended] - self._lost_at[ended], 0)
        self._lost[back] = self._stale[back] = False
        self._step[back] = 0
        self._rest_until_s[back] = 0.0
        self._rest_wait_s[back] = _REST_WAITS_S[0]

    def _lose(self, streams: NDArray[np.bool_]) -> None:
        """These are not heard any more: since their last event, or since they were subscribed."""
        new = streams & ~self._lost
        last = np.where(self._event > 0, self._event, self._since)
        self._lost_at[new] = last[new]
        self._lost[new] = True

    def _overdue(self, now_ms: int) -> NDArray[np.bool_]:
        """Streams whose last close is due for longer than an update period and was not told."""
        result = np.zeros(self._event.shape, np.bool_)
        for column, interval in enumerate(self._intervals, 1):
            closed_ms = open_time_ms(interval, now_ms)
            if now_ms - closed_ms >= self._periods_ms[column]:
                result[:, column] = (self._event[:, column] < closed_ms) & (
                    self._since[:, column] < closed_ms
                )
        return result

    def _fell_silent(self, now_ms: int) -> list[str]:
        """Symbols whose every stream has missed the last close of their shortest interval."""
        shortest = 1 + int(
            np.argmax([open_time_ms(interval, now_ms) for interval in self._intervals])
        )
        closed_ms = open_time_ms(self._intervals[shortest - 1], now_ms)
        if now_ms - closed_ms < SILENT_AFTER_S * 1000:
            return []
        quiet = (
            self._connected[:, shortest]
            & self._expected
            & (self._since[:, shortest] < closed_ms)
            & (self._event.max(axis=1, initial=0) < closed_ms)
        )
        silent = dict.fromkeys(self._symbols[row] for row in np.flatnonzero(quiet).tolist())
        new = [symbol for symbol in silent if symbol not in self._silent]
        self._silent = silent
        return new

    # --- judgement -----------------------------------------------------------------------------

    def _judge(self, suspects: NDArray[np.bool_], now_s: float) -> list[Place]:
        """Which of the suspects lack a trade for too long. Python sees suspicious symbols only."""
        rows = np.flatnonzero(suspects.any(axis=1)).tolist()
        doubts: dict[str, _Doubt] = {}
        guilty: list[Place] = []
        if rows:
            opens = self._market.last_open_times()
            prints = (self._event.sum(axis=1) + opens.sum(axis=1)).tolist()
            for row in rows:
                symbol = self._symbols[row]
                doubt = doubts[symbol] = self._doubts.get(symbol) or _Doubt()
                columns = np.flatnonzero(suspects[row]).tolist()
                # Marks are read again only when something came for this symbol.
                grown = self._grown(row, doubt) if doubt.fingerprint != prints[row] else []
                doubt.fingerprint = prints[row]
                self._weigh(row, columns, doubt, grown, now_s)
                guilty += [
                    (row, column)
                    for column, (_, proven_s) in doubt.streams.items()
                    if proven_s is not None and now_s - proven_s >= self._behind_s[column]
                ]
        self._doubts = doubts
        return guilty

    def _grown(self, row: int, doubt: _Doubt) -> list[_Growth]:
        """What of a symbol shows more trades than when it was read last."""
        symbol = self._symbols[row]
        grown: list[_Growth] = []
        for column in range(1 + len(self._intervals)):
            mark = self._mark(symbol, column)
            earlier, doubt.marks[column] = doubt.marks.get(column), mark
            event_ms = int(self._event[row, column])
            before_ms = doubt.events.get(column, event_ms)
            doubt.events[column] = event_ms
            if earlier is None or earlier == (0, 0):
                continue
            if (mark[0] > earlier[0] and mark[1] > 0) or (
                mark[0] == earlier[0] and mark[1] > earlier[1]
            ):
                told_ms = before_ms if before_ms < event_ms else None
                grown.append(_Growth(column, mark[0], told_ms))
        return grown

    def _mark(self, symbol: str, column: int) -> Mark:
        if column == 0:
            ticker = self._market.ticker(symbol)
            return (0, int(ticker.get("L", 0))) if ticker is not None else (0, 0)
        series = self._market[symbol, self._intervals[column - 1]]
        row = series.forming or series.last
        return (row.open_time_ms, row.trades) if row is not None else (0, 0)

    def _weigh(
        self,
        row: int,
        columns: Sequence[int],
        doubt: _Doubt,
        grown: Sequence[_Growth],
        now_s: float,
    ) -> None:
        """Note which suspects of a symbol must have missed one of its trades."""
        streams: dict[int, tuple[int, float | None]] = {}
        for column in columns:
            event_ms, since_ms = int(self._event[row, column]), int(self._since[row, column])
            from_ms = max(event_ms, since_ms)
            begun_ms, proven_s = doubt.streams.get(column, (-1, None))
            if begun_ms != event_ms:  # the doubt begins: nothing that came before counts
                streams[column] = (event_ms, None)
                continue
            if proven_s is None and any(
                # Trades are surely later than what this stream told if their kline is, or the
                # frame before; or if REST found them in the very kline it had told of.
                growth.open_ms >= from_ms
                or (growth.told_ms is not None and growth.told_ms >= from_ms)
                or (growth.told_ms is None and growth.column == column and event_ms > since_ms)
                for growth in grown
            ):
                proven_s = now_s
            streams[column] = (event_ms, proven_s)
        doubt.streams = streams

    # --- healing -------------------------------------------------------------------------------

    def _heal(self, guilty: Sequence[Place], now_s: float) -> Healing:
        """The next step for each: subscribe anew, connect anew, leave it to REST for a while."""
        healing = Healing({}, [], [], [])
        reconnect: dict[int, None] = {}
        found: list[str] = []
        for place in guilty:
            row, column = place
            del self._doubts[self._symbols[row]].streams[column]  # each step is judged anew
            self._since_s[place] = now_s
            name, owner = self._names[row][column], int(self._owner[place])
            if not self._stale[place]:
                self.stale_found += 1
                self._stale[place] = True
                found.append(name)
            step = int(self._step[place]) + 1
            if step > _REST:
                if now_s < self._rest_until_s[place]:
                    continue
                step = _RESUBSCRIBE
            self._step[place] = step
            if step == _RESUBSCRIBE:
                healing.resubscribe.setdefault(owner, []).append(name)
            elif step == _RECONNECT:
                reconnect[owner] = None
            else:
                healing.left.append(name)
                wait_s = float(self._rest_wait_s[place])
                self._rest_until_s[place] = now_s + wait_s
                self._rest_wait_s[place] = min(2 * wait_s, _REST_WAITS_S[1])
        if found:
            log.warning("%d streams became stale, first %s", len(found), found[0])
        self._lose(self._stale)
        for owner in list(healing.resubscribe):
            if self.stale(owner) > RECONNECT_SHARE * np.count_nonzero(self._owner == owner):
                mine = self._stale & (self._owner == owner)
                self._step[mine] = np.maximum(self._step[mine], _RECONNECT)
                del healing.resubscribe[owner]
                reconnect[owner] = None
        healing.reconnect.extend(reconnect)
        return healing
