"""Filters that advance together over all symbols of a market: from changed rows to firings.

Those that compare symbols are a group by themselves. One of their rows that comes late starts all
symbols anew; the steps of the others are not theirs, and need not go back with them.
"""

cimport cython
from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t
from libc.string cimport memcpy

from klinecore.filters.cells cimport Cell
from klinecore.filters.gone cimport Gone
from klinecore.filters.images cimport Checkpoints
from klinecore.filters.runner cimport Rewinder, Runner
from klinecore.filters.stages cimport NEVER, Root, Stage
from klinecore.filters.telling cimport Teller
from klinecore.market cimport Market
from klinecore.merge cimport SeriesMemory, series_close_time, series_last_open

from klinecore.errors import FiltersFullError

__all__ = ["Group"]

cdef enum:
    INCOMPLETE_MAX = 64         # boundaries remembered at which symbols were missing, per interval


@cython.final
cdef class Group:
    """Filters that share their steps, and what is known of the rows they stand at."""

    def __cinit__(self, Market market not None):
        self.market = market
        self.runner = Runner(market, records=True)
        self.roots = {}
        self.counts = {}
        self.steps = {}
        self.gone = self.runner.doubts = Gone(self.runner)
        self.teller = Teller(self.runner, self.gone)

    cdef Stage stage_of(self, Root root):
        return self.runner.stages[root.step.stage]

    # --- filters -------------------------------------------------------------------------------

    cdef settle_barrier(self, step):
        """Of comparisons begun now, let all but the newest row be history: no barrier tells it."""
        cdef const SeriesMemory* series
        cdef uint32_t index
        cdef Py_ssize_t lane
        for below in step.walk():
            if below.stage.across:
                index = self.market._interval(below.stage.interval)
                for place in self.market._places.values():
                    lane = place
                    series = &self.market._memory[lane * self.runner.interval_count + index]
                    self.runner.barrier_ms[index] = max(
                        self.runner.barrier_ms[index], series_last_open(series)
                    )

    cdef Runner warm(
        self, int number, step, bint edge, Py_ssize_t cooldown, int64_t taken, int64_t bytes_max
    ):
        """The steps of one filter, run alone over the rows in memory to where the others stand.

        Of ``bytes_max``, other groups have ``taken`` some. Raises FiltersFullError.
        """
        cdef Runner warm = Runner(self.market, records=False)
        cdef int64_t needed = taken + <int64_t>self.runner.size
        cdef Cell cell
        cdef Stage stage, there
        cdef Root root
        for below in step.walk():
            cell = warm.add(below)
            if below.key not in self.runner.cells:
                needed += cell.size
                if needed > bytes_max:
                    raise FiltersFullError("state_bytes_max", bytes_max, needed)
        root = Root(number, step, cell, edge=edge, cooldown=cooldown)
        warm.arrange()
        stage = warm.stages[step.stage]
        stage.roots.append(root)
        needed += root.size + root.since.size + root.anchor.size + sum([
            (<Stage>one).size for one in warm.ordered if one.key not in self.runner.stages
        ])
        if needed > bytes_max:
            raise FiltersFullError("state_bytes_max", bytes_max, needed)
        for stage in warm.ordered:
            there = self.runner.stages.get(stage.key)
            if there is not None:
                memcpy(stage.limit, there.fed, 8 * stage.places)
                memcpy(stage.seen, there.fed, 8 * stage.places)
        memcpy(warm.barrier_ms, self.runner.barrier_ms, sizeof(warm.barrier_ms))
        memcpy(warm.deadline_ms, self.runner.deadline_ms, sizeof(warm.deadline_ms))
        warm.touch(NULL)
        warm.advance()
        return warm

    cdef Root adopt(self, Runner warm, step):
        """Take over the steps that were not there, with all they remember, and the root."""
        cdef Runner runner = self.runner
        cdef Stage stage, warmed
        cdef Cell cell
        cdef Root root
        cdef Py_ssize_t lane
        root = (<Stage>warm.stages[step.stage]).roots[0]
        memcpy(root.since.at, (<Stage>warm.stages[step.stage]).fed, 8 * warm.places)
        for warmed in warm.ordered:
            if warmed.key not in runner.stages:
                stage = runner.stages[warmed.key] = warmed
                stage.cells = []
                stage.roots = []
                for lane in range(stage.places):
                    stage.limit[lane] = NEVER
        for below in step.walk():
            self.counts[below.key] = self.counts.get(below.key, 0) + 1
            self.steps[below.key] = below
            if below.key not in runner.cells:
                cell = warm.cells[below.key]
                runner.adopt(cell, below)
        root.cell = runner.cells[step.key]
        stage = runner.stages[step.stage]
        if stage.roots:
            held = {}
            (<Root>stage.roots[len(stage.roots) - 1]).share(held)       # begun just before, mostly
            root.share(held)
        stage.roots.append(root)
        runner.arrange()
        self.roots[root.number] = root
        return root

    cdef remove(self, Root root):
        """Evaluate a filter no longer, and free what only it needed."""
        del self.roots[root.number]
        self.stage_of(root).roots.remove(root)
        self.teller.forget_filter(root)
        gone = set()
        for step in root.step.walk():
            self.counts[step.key] -= 1
            if not self.counts[step.key]:
                del self.counts[step.key], self.steps[step.key]
                gone.add(step.key)
        self.runner.drop(gone)

    cdef replan(self, bint checkpoints):
        """Begin checkpoints anew, or make none: those there are say nothing of new filters."""
        if self.checkpoints is not None:
            self.left_out += self.checkpoints.left_out
        self.checkpoints = Checkpoints(self.runner) if checkpoints else None
        self.runner.rewinder = self.checkpoints if checkpoints else Rewinder()

    cdef uint64_t checkpoints_left_out(self):
        """Not made, for there was no room."""
        return self.left_out + (self.checkpoints.left_out if self.checkpoints is not None else 0)

    # --- evaluating ----------------------------------------------------------------------------

    cdef list advance(self, const uint8_t* marked, dict first_closed):
        """Take the rows of the marked lanes, of all for NULL; the firings."""
        cdef Runner runner = self.runner
        cdef Py_ssize_t i
        runner.touch(marked)
        for i in range(runner.touched_count):
            self.begin(runner.touched[i], first_closed)
        runner.advance()
        if self.checkpoints is not None:
            for i in range(runner.touched_count):
                self.checkpoints.keep(runner.touched[i])
        return self.teller.tell()

    cdef disturb(self, Py_ssize_t lane, uint32_t interval, int64_t open_time_ms):
        """A row at or behind the newest one changed: does anything that was computed know it?"""
        cdef Runner runner = self.runner
        cdef const SeriesMemory* series = &self.market._memory[
            lane * runner.interval_count + interval
        ]
        cdef int64_t boundary_ms = series_close_time(series, open_time_ms) + 1
        cdef Stage stage, read
        if self.checkpoints is not None:
            self.checkpoints.disturb(lane, interval, open_time_ms)
        for stage in runner.ordered:
            if stage.interval == interval and stage.fed[lane] >= open_time_ms:
                runner.broken[lane] = 1
            for read in stage.reads:
                if (
                    read.interval == interval and stage.fed[lane] >= 0
                    and series_close_time(
                        runner.series(stage, lane), stage.fed[lane]
                    ) + 1 >= boundary_ms
                ):
                    runner.broken[lane] = 1

    cdef begin(self, Py_ssize_t lane, dict first_closed):
        """Of a lane's first rows, those that were there before their events are history."""
        cdef Stage stage
        for stage in self.runner.ordered:
            if stage.seen[lane] >= 0 or stage.floor[lane] >= 0:
                continue
            closed_ms = first_closed.get(lane * self.runner.interval_count + stage.interval)
            if closed_ms is not None:
                stage.floor[lane] = <int64_t>closed_ms - 1
            else:
                stage.floor[lane] = series_last_open(self.runner.series(stage, lane))

    cdef barrier(self, uint32_t interval, int64_t open_time_ms):
        """All closes of a boundary are there, or not waited for any more."""
        cdef int64_t boundary_ms = series_close_time(
            &self.market._memory[interval], open_time_ms
        ) + 1
        self.note_barrier(interval, open_time_ms, boundary_ms)
        self.runner.barrier_ms[interval] = max(self.runner.barrier_ms[interval], boundary_ms)

    cdef note_barrier(self, uint32_t interval, int64_t open_time_ms, int64_t boundary_ms):
        """Remember that symbols were missing at a boundary; of the newest ones only."""
        cdef set incomplete = self.runner.incomplete[interval]
        if boundary_ms <= self.runner.barrier_ms[interval]:
            return
        if self.market.missing_closes(self.market.intervals[interval], open_time_ms):
            incomplete.add(boundary_ms)
            if len(incomplete) > INCOMPLETE_MAX:
                incomplete.remove(min(incomplete))

    cdef forget(self, Py_ssize_t lane):
        """Let a lane whose place changed hands be as new."""
        cdef Stage stage
        self.teller.forget_symbol(lane)
        if self.checkpoints is not None:
            self.checkpoints.forget(lane)
        for stage in self.runner.ordered:
            stage.forget(lane)
