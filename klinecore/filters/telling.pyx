"""Tells where filters fired, each once, and what of that was told and is not so after all."""

from libc.math cimport NAN
from libc.stdint cimport int64_t, uint32_t

from klinecore.filters.forming cimport Forming
from klinecore.filters.gone cimport Gone
from klinecore.filters.runner cimport Runner
from klinecore.filters.stages cimport Root, Stage
from klinecore.kline cimport CLOSE
from klinecore.merge cimport SeriesMemory

from typing import NamedTuple

__all__ = ["Firing", "Teller"]

cdef enum:
    TOLD_MAX = 64               # firings remembered per filter and symbol, to revise them


class Firing(NamedTuple):
    """A filter fired for a symbol at a close, or one that was told did not after all."""

    filter_id: int
    symbol: str
    interval: str
    open_time_ms: int
    price: float
    revision: bool
    complete: bool
    retracted: bool = False
    provisional: bool = False
    values: tuple[float, ...] = ()


cdef class Teller:
    """What was told of the filters of a market."""

    def __cinit__(self, Runner runner not None, Gone gone not None):
        self.runner = runner
        self.gone = gone
        self.told = gone.told
        self.provisional = {}

    cdef forget_filter(self, Root root):
        """The filter is removed."""
        for told in self.told.values():
            told.pop(root, None)
        self.provisional = {
            key: open_ms for key, open_ms in self.provisional.items() if key[0] is not root
        }

    cdef forget_symbol(self, Py_ssize_t lane):
        """The lane is another symbol's."""
        self.told.pop(lane, None)
        self.provisional = {
            key: open_ms for key, open_ms in self.provisional.items() if key[1] != lane
        }

    cdef tell_forming(self, Forming forming, Py_ssize_t lane, list out):
        """Tell which filters would fire if the forming row closed as it is; once per row."""
        cdef const SeriesMemory* series
        cdef Root root
        cdef uint32_t slot
        for root, values in forming.fires(self.runner, lane):
            series = self.runner.series(self.runner.stages[root.step.stage], lane)
            slot = series.header.start + series.header.count
            open_ms = series.open_time_ms[slot]
            if self.provisional.get((root, lane)) != open_ms:
                self.provisional[root, lane] = open_ms
                price = series.values[CLOSE * <Py_ssize_t>series.slots + slot]
                out.append(Firing(
                    root.number, self.runner.market._names[lane], root.step.stage.interval, open_ms,
                    price, False, True, False, True, values
                ))

    cdef list tell(self):
        """What is to be told of the firings of the rows just taken."""
        cdef Runner runner = self.runner
        cdef list fired = runner.fired
        cdef list out = []
        cdef dict again = {}
        runner.fired = []
        for root, lane, open_ms, price, whole, repeated, values in fired:
            if repeated:
                again.setdefault(lane, {}).setdefault(root, {})[open_ms] = (price, whole, values)
        for lane in sorted(runner.rerun):
            self.revise(lane, again.get(lane, {}), None, 0, out)
            runner.rewound.pop(lane, None)
        for lane, stages in runner.repeated.items():
            for stage, open_ms in stages.items() if lane not in runner.rerun else ():
                self.revise(lane, again.get(lane, {}), (<Stage>stage).roots, open_ms, out)
        runner.rerun.clear()
        runner.repeated.clear()
        self.gone.clear()
        for root, lane, open_ms, price, whole, repeated, values in fired:
            if not repeated:
                self.remember(lane, root, open_ms, price)
                out.append(self.firing(root, lane, open_ms, price, False, whole, False, values))
                if self.provisional.get((root, lane)) == open_ms:
                    del self.provisional[root, lane]
        if self.provisional:
            self.take_back(out)
        return out

    cdef take_back(self, list out):
        """Tell which firings at forming rows did not hold till the close."""
        cdef Stage stage
        cdef Py_ssize_t lane
        for (root, place), open_ms in list(self.provisional.items()):
            stage = self.runner.stages[root.step.stage]
            lane = place
            if stage.seen[lane] >= open_ms:
                del self.provisional[root, place]
                out.append(self.firing(root, place, open_ms, NAN, False, True, True, ())._replace(
                    provisional=True
                ))

    cdef firing(
        self, Root root, lane, open_ms, price, bint revision, bint whole, bint retracted,
        tuple values
    ):
        self.fired += not retracted
        self.revised += revision and not retracted
        self.retracted += retracted
        self.incomplete += not whole
        return Firing(
            root.number, self.runner.market._names[lane], root.step.stage.interval, open_ms, price,
            revision, whole, retracted, False, values
        )

    cdef remember(self, lane, root, open_ms, price):
        told = self.told.setdefault(lane, {}).setdefault(root, {})
        told[open_ms] = price
        if len(told) > TOLD_MAX:
            del told[min(told)]
            self.forgotten += 1

    cdef revise(self, Py_ssize_t lane, dict again, list roots, int64_t from_ms, list out):
        """Tell how the firings of a lane that started anew differ from those that were told; or of
        some filters, from one row on."""
        cdef const SeriesMemory* series
        cdef Root root
        before = self.told.get(lane, {})
        for root in sorted({*before, *again}, key=lambda one: one.number):
            if roots is not None and root not in roots:
                continue
            told = before.get(root, {})
            now = again.get(root, {})
            series = self.runner.series(self.runner.stages[root.step.stage], lane)
            oldest = max(from_ms, series.open_time_ms[series.header.start])
            if lane in self.runner.rewound:
                stage = self.runner.stages[root.step.stage]
                oldest = max(oldest, <int64_t>self.runner.rewound[lane][stage] + 1)
            known_from = min(told) if len(told) >= TOLD_MAX else oldest
            for open_ms in sorted({*told, *now}):
                if (root, lane, open_ms) in self.gone.undecided:
                    continue
                if open_ms in now and open_ms not in told and open_ms >= known_from:
                    price, whole, values = now[open_ms]
                    out.append(
                        self.firing(root, lane, open_ms, price, True, whole, False, values)
                    )
                    self.remember(lane, root, open_ms, price)
                elif open_ms in told and open_ms not in now and open_ms >= oldest:
                    price = told.pop(open_ms)
                    out.append(self.firing(root, lane, open_ms, price, True, True, True, ()))

    cdef dict counters(self):
        """What happened since the start, by name."""
        return {
            "fired": self.fired,
            "revised": self.revised,
            "retracted": self.retracted,
            "incomplete": self.incomplete,
            "forgotten": self.forgotten,
        }
