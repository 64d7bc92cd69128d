"""What a market's traders remember, as checksummed bytes on disk beside the market's snapshot.

Written aside, synced, renamed into place, the one before kept; a start takes the newest that is
whole, or none: the filters then go on from the klines in memory.
"""

from __future__ import annotations

import errno
import logging
from collections.abc import Callable, Iterator
from hashlib import blake2b
from itertools import chain
from struct import Struct
from typing import Literal, NamedTuple

import msgspec

from klinecore.errors import (
    FilterError,
    FiltersFullError,
    SnapshotError,
    TornReadError,
    UnknownSeriesError,
)
from klinecore.filters import Limits, compile
from server.disk import Disk, LastTwo
from server.metrics import Registry
from server.signals.model import Signal
from server.traders.engine import TraderEngine
from server.traders.model import Trader

__all__ = ["Image", "ImageFile", "begin", "go_on", "image_parts", "read_image"]

log = logging.getLogger(__name__)

_MAGIC = b"KLTRADER"
_VERSION = 3
_HEAD = Struct("<8sII")  # magic, version, size of the header
_DIGEST_SIZE = 16  # at the end, of all before it
#: An image that is made while filters move is begun anew so often, then made at once.
_TRIES = 3


class _Followed(msgspec.Struct, frozen=True):
    """One filter of the engine, in the order they were added."""

    trader_id: str
    text: str
    hash: str
    interval: str
    mode: Literal["edge", "level"]
    cooldown_bars: int
    evaluate_on: Literal["closed", "forming"]
    matched: list[str]


class _Header(msgspec.Struct, frozen=True):
    label: str
    time_ms: int
    filters: list[_Followed]
    settled_ms: dict[str, int]
    history_ms: dict[str, int]
    revisions: list[tuple[str, int]]
    provisional: list[Signal]


class Image(NamedTuple):
    """An image that is whole."""

    header: _Header
    state: bytes  # as of ``Engine.save``

    @property
    def time_ms(self) -> int:
        """When it was taken."""
        return self.header.time_ms


def image_parts(engine: TraderEngine, *, label: str, time_ms: int) -> Iterator[bytes]:
    """All that an engine remembers, in parts to be joined, each made when it is asked for.

    ``label`` says of which market. Raises TornReadError if filters moved between two parts.
    """
    header = _Header(
        label=label,
        time_ms=time_ms,
        filters=[
            _Followed(
                watch.trader.id,
                watch.filter.normal,
                watch.filter.hash,
                watch.trader.interval,
                watch.trader.mode,
                watch.trader.cooldown_bars,
                watch.trader.evaluate_on,
                list(engine.names(watch.matched)),
            )
            for watch in sorted(engine.watches.values(), key=lambda one: one.filter_id)
        ],
        settled_ms=engine.settled_ms,
        history_ms=engine.history_ms,
        revisions=engine.memory.revisions(),
        provisional=engine.memory.provisional(),
    )
    head = msgspec.json.encode(header)
    digest = blake2b(digest_size=_DIGEST_SIZE)
    for part in chain(
        (_HEAD.pack(_MAGIC, _VERSION, len(head)) + head,), engine.engine.save_parts()
    ):
        digest.update(part)
        yield part
    yield digest.digest()


def read_image(data: bytes, *, label: str) -> Image:
    """What ``image_parts`` gave, joined.

    Raises SnapshotError: damaged, cut, of another version or market.
    """
    if len(data) < _HEAD.size or data[:8] != _MAGIC:
        raise SnapshotError("not an image of traders")
    _, version, size = _HEAD.unpack_from(data)
    if version != _VERSION:
        raise SnapshotError(f"an image of traders of version {version}; this is {_VERSION}")
    end = len(data) - _DIGEST_SIZE
    if blake2b(memoryview(data)[:end], digest_size=_DIGEST_SIZE).digest() != data[end:]:
        raise SnapshotError("an image of traders that is damaged or cut short")
    try:
        header = msgspec.json.decode(data[_HEAD.size : _HEAD.size + size], type=_Header)
    except msgspec.DecodeError as error:
        raise SnapshotError(f"an image of traders in another form: {error}") from None
    if header.label != label:
        raise SnapshotError(f"an image of the traders of {header.label!r}, not of {label!r}")
    return Image(header, data[_HEAD.size + size : end])


def begin(engine: TraderEngine, image: Image, limits: Limits) -> bool:
    """Give an engine without filters those of an image: cheap before the market holds rows.

    False if they cannot run here as they did; the engine has none then.
    """
    try:
        for one in image.header.filters:
            filter = compile(one.text, limits=limits)
            if filter.hash != one.hash:
                raise SnapshotError(f"a filter that means something else today: {one.text[:80]}")
            engine.follow(_stand_in(engine, one), filter)
    except (FilterError, FiltersFullError, UnknownSeriesError, ValueError, SnapshotError) as error:
        for trader_id in list(engine.watches):
            engine.drop(trader_id)
        log.warning("what the traders of %s remembered is of no use: %s", engine.name, error)
        return False
    return True


def _stand_in(engine: TraderEngine, one: _Followed) -> Trader:
    """For a trader of an image, until the desk says which there are."""
    return Trader(
        id=one.trader_id,
        owner=None,
        name="",
        filter=one.text,
        interval=one.interval,
        market=engine.name,
        mode=one.mode,
        cooldown_bars=one.cooldown_bars,
        evaluate_on=one.evaluate_on,
        created_ms=0,
        updated_ms=0,
    )


def go_on(engine: TraderEngine, image: Image | None, now_ms: int) -> bool:
    """Let an engine that has an image's filters go on from it, once the market's rows are back.

    False without one, or if it is refused: the filters go on from the rows in memory, and what
    closed until ``now_ms`` is no news. So do symbols whose rows are others, with what closed since
    the image as news.
    """
    if image is None:
        engine.leave_past(engine.market.symbols, now_ms)
        return False
    header = image.header
    try:
        left = engine.engine.load(image.state)
    except SnapshotError as error:
        log.warning("what the traders of %s remembered is refused: %s", engine.name, error)
        engine.leave_past(engine.market.symbols, now_ms)
        return False
    engine.memory.restore(header.revisions, header.provisional)
    engine.settled_ms.update(header.settled_ms)
    engine.history_ms.update(header.history_ms)
    engine.leave_past(left, header.time_ms)
    for one in header.filters:
        engine.watches[one.trader_id].matched = engine.bits(one.matched)
    log.info("%d traders of %s go on, %d symbols anew", len(engine), engine.name, len(left))
    return True


class ImageFile:
    """The images of one market's traders, each written with a snapshot of the market.

    Whatever the disk does, the server goes on.
    """

    def __init__(
        self, name: str, *, directory: str, source: str, disk: Disk, metrics: Registry
    ) -> None:
        """``source`` as of the market's snapshots."""
        self.label = f"{name} {source}"
        #: Whose images are taken: set when the traders of the market run.
        self.current: Callable[[], TraderEngine | None] = lambda: None
        self._name = name
        self._files = LastTwo(disk, directory, f"{name}.traders")
        self._disk = disk
        self._fault: str | None = None
        self._errors = metrics.counter(
            "trader_image_errors_total",
            "Images of traders that could not be written or read, by reason.",
            ("market", "reason"),
        )
        self._size = metrics.gauge(
            "trader_image_bytes", "Size of the last image of traders.", ("market",)
        )

    async def load(self) -> Image | None:
        """The newest whole image; None if there is none."""
        for path in self._files.paths:
            try:
                return await self._disk.call(self._read, path)
            except FileNotFoundError:
                continue
            except (OSError, SnapshotError) as error:
                self._files.is_whole = False
                self.failed(f"cannot use {path}", error)
        return None

    def _read(self, path: str) -> Image:
        return read_image(bytes(self._disk.read(path)), label=self.label)

    async def prepare(self, time_ms: int) -> bool:
        """Write an image aside; False without filters, which would have nothing to remember.

        While filters stand still it is written as it is made, and never held as a whole.
        """
        for tries_left in reversed(range(_TRIES + 1)):
            engine = self.current()
            if engine is None or not len(engine):
                return False
            parts = image_parts(engine, label=self.label, time_ms=time_ms)
            try:
                size = await self._files.prepare(parts if tries_left else tuple(parts))
            except TornReadError:
                continue
            except OSError as error:
                self._cannot_write(error)
                return False
            self._size.set(size, self._name)
            return True
        raise AssertionError("an image that is made at once is never torn")

    async def commit(self) -> bool:
        """Let what was prepared be the newest one; True once it is durable."""
        try:
            await self._files.commit()
        except OSError as error:
            self._cannot_write(error)
            return False
        self._fault = None
        return True

    async def leave(self) -> None:
        """Drop what was prepared."""
        await self._files.leave()

    def _cannot_write(self, error: OSError) -> None:
        self.failed(f"cannot write {self._files.path}", error)

    def failed(self, what: str, error: Exception) -> None:
        """Count it; tell of it when it is another fault than the last one."""
        reason = "refused"
        if isinstance(error, OSError):
            reason = errno.errorcode.get(error.errno or 0, "EIO")
        self._errors.inc(self._name, reason)
        fault = f"{what}: {error}"
        if fault != self._fault:
            log.warning("%s; filters go on from the klines in memory", fault)
            self._fault = fault
