"""Moves the steps of filters along the rows of every symbol, in the order in which they closed.

Rows of all intervals are taken boundary by boundary, and at one boundary stage by stage: first what
reads one interval, then what reads others as of the boundary. A stage that must wait for another
interval's row lets the others go on. If they have gone too far when it can go on, or a row behind
the newest one changes, the lane starts anew with the oldest row in memory: what is computed is
always what the rows in memory say, from one first row on.
"""

from libc.stdint cimport int32_t, int64_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free
from libc.string cimport memset

from klinecore.filters.cells cimport AWAITED, HELD, AsOf, Cell, Past, Rows, as_of, bit, put_bit
from klinecore.filters.memories cimport Since, make, relink
from klinecore.filters.stages cimport NEVER, Root, Stage
from klinecore.kline cimport CLOSE
from klinecore.market cimport Market
from klinecore.merge cimport ABSENT_BIT, SeriesHeader, SeriesMemory, series_close_time, series_find

from klinecore.filters.reasons import Reason

__all__ = ["Doubts", "Rewinder", "Runner"]

cdef extern from "words.h":
    int words_fire(
        uint64_t* fires, uint64_t* armed, const uint64_t* truth, const uint64_t* known,
        const uint64_t* mask, int edge, long words
    ) nogil

cdef enum:
    BEGINNINGS_MAX = 1000       # of lanes within one call: each has one reason, so few are right
    NOT_WARM = 1
    UNDEFINED = 2
    NO_TICKER = 3
    HOLE = 4
    MISSING_CLOSE = 5

assert [int(reason) for reason in (
    Reason.NOT_WARM, Reason.UNDEFINED, Reason.NO_TICKER, Reason.HOLE, Reason.MISSING_CLOSE
)] == [NOT_WARM, UNDEFINED, NO_TICKER, HOLE, MISSING_CLOSE]

cdef class Rewinder:
    """Where a lane goes back to that has to start anew: nowhere, but for ``Checkpoints``."""

    cdef begin(self):
        """A new call."""

    cdef bint rewind(self, Py_ssize_t lane) except -1:
        """Let the lane stand where it stood before; False if nothing is known of that."""
        return False


cdef class Doubts:
    """What rows taken again cannot tell, for others have left memory: nothing, but for ``Gone``."""

    cdef begin(self, Stage stage, Py_ssize_t lane, int64_t open_ms):
        """The first row of a lane that starts anew comes next."""

    cdef look_back(self, Stage stage):
        """Lanes have moved, some of them to rows they stood at before."""

    cdef look(self, Stage stage, Root root):
        """Likewise, and where the filter fires is known."""

    cdef forget(self, set lanes):
        """These lanes start anew once more."""


cdef class Runner:
    """All stages over one market."""

    def __cinit__(self, Market market not None, *, bint records):
        cdef Py_ssize_t count = len(market._names)
        self.market = market
        self.places = (count + 63) // 64 * 64
        self.interval_count = len(market.intervals)
        self.records = records
        self.cells = {}
        self.stages = {}
        self.ordered = []
        self.fired = []
        self.rerun = set()
        self.repeated = {}
        self.doubts = Doubts()
        self.rewound = {}
        self.rewinder = Rewinder()
        self.incomplete = [set() for _ in market.intervals]
        self.order = <int32_t*>calloc(self.places, sizeof(int32_t))
        self.touched = <int32_t*>calloc(self.places, sizeof(int32_t))
        self.broken = <uint8_t*>calloc(self.places, 1)
        if self.order == NULL or self.touched == NULL or self.broken == NULL:
            raise MemoryError("no memory for the lanes of filters")
        for i in range(16):
            self.barrier_ms[i] = self.deadline_ms[i] = -1
        self.number_lanes()

    def __dealloc__(self):
        free(self.order)
        free(self.touched)
        free(self.broken)

    cdef number_lanes(self):
        """Take over which symbols the market holds, and their order."""
        cdef Py_ssize_t i
        for i in range(self.places):
            self.order[i] = -1
        for i, place in enumerate(self.market._places.values()):
            self.order[<Py_ssize_t>place] = <int32_t>i
        self.live_count = len(self.market._places)

    @property
    def size(self):
        """Bytes of all steps and stages."""
        held = [*self.cells.values(), *self.ordered]
        held += [root for stage in self.ordered for root in (<Stage>stage).roots]
        times = {one for stage in self.ordered for one in (<Stage>stage).times()}
        return sum([one.size for one in [*held, *times]])

    # --- steps ---------------------------------------------------------------------------------

    cdef Stage stage_of(self, key):
        """The stage of that key, made if there is none, and those it reads."""
        cdef Stage stage = self.stages.get(key)
        if stage is None:
            for read in key.reads:
                self.stage_of(read)
            stage = Stage(key, self.places, self.market._interval(key.interval))
            self.stages[key] = stage
        return stage

    cdef Cell add(self, step):
        """The cell of a step, made if there is none; those of its arguments are there."""
        cdef Cell cell = self.cells.get(step.key)
        cdef int foreign = -1
        if cell is None:
            if step.op == "as_of":
                foreign = self.market._interval(step.args[0].stage.interval)
            args = [self.cells[arg.key] for arg in step.args]
            cell = make(step, args, self.places, foreign)
            self.cells[step.key] = cell
            (<Stage>self.stage_of(step.stage)).cells.append(cell)
            if step.op == "as_of":
                (<Past>cell).fed = (<Stage>self.stages[step.args[0].stage]).fed
        return cell

    cdef adopt(self, Cell cell, step):
        """Take over a cell of other stages; those of its arguments are there."""
        cdef Stage stage = self.stages[step.stage]
        cell.args = [self.cells[arg.key] for arg in step.args]
        self.cells[step.key] = cell
        stage.cells.append(cell)
        if step.op == "as_of":
            (<Past>cell).fed = (<Stage>self.stages[step.args[0].stage]).fed
        elif step.op == "output":
            relink(cell)

    cdef drop(self, set keys):
        """Give up steps, and the stages that are left without any."""
        cdef Stage stage
        for key in keys:
            del self.cells[key]
        for stage in self.ordered:
            stage.cells = [cell for cell in stage.cells if (<Cell>cell).key not in keys]
        needed = {key for key, stage in self.stages.items() if stage.cells}
        self.stages = {key: stage for key, stage in self.stages.items() if key in needed}
        self.arrange()

    cdef arrange(self):
        """Put the stages in order, after steps were added or taken away."""
        cdef Stage stage, other
        self.ordered = sorted(self.stages.values(), key=lambda one: one.key.depth)
        self.across = any([one.key.across for one in self.ordered])
        for stage in self.ordered:
            stage.readers = []
        for stage in self.ordered:
            stage.below = [other for other in self.ordered if stage.key.builds_on(other.key)]
            stage.reads = [self.stages[key] for key in stage.key.reads]
            stage.sinces = [cell for cell in stage.cells if isinstance(cell, Since)]
            stage.endless = any([(<Cell>cell).endless for cell in stage.cells])
            remembers = any([(<Cell>cell).remembers for cell in stage.cells])
            stage.repeatable = stage.across and not remembers
            for other in stage.reads:
                other.readers.append(stage)

    # --- moving --------------------------------------------------------------------------------

    cdef inline const SeriesMemory* series(self, Stage stage, Py_ssize_t lane) noexcept:
        return &self.market._memory[lane * self.interval_count + stage.interval]

    cdef Next next_row(self, Stage stage, Py_ssize_t lane, int64_t* boundary_ms) except *:
        """Whether a lane has a row to move to, its slot and the boundary at which it closed."""
        cdef const SeriesMemory* series = self.series(stage, lane)
        cdef const SeriesHeader* header = series.header
        cdef uint32_t end = header.start + header.count
        cdef uint32_t slot
        cdef int64_t fed_ms = stage.fed[lane]
        if header.count == 0 or self.order[lane] < 0:
            return NONE
        if fed_ms < 0:
            slot = header.start
        elif series.open_time_ms[end - 1] <= fed_ms:
            return NONE
        elif header.count > 1 and series.open_time_ms[end - 2] == fed_ms:
            slot = end - 1
        else:
            slot = stage.slots[lane]        # of that row or of the next one, unless rows have moved
            if header.start <= slot < end and series.open_time_ms[slot] == fed_ms:
                slot += 1
            elif not (header.start < slot < end and series.open_time_ms[slot - 1] == fed_ms):
                slot = series_find(series, fed_ms + 1)
            if slot == header.start or series.open_time_ms[slot - 1] != fed_ms:
                return BROKEN       # the row it stands at has left the memory
        if series.open_time_ms[slot] > stage.limit[lane]:
            return NONE
        if (
            bit(stage.blind, lane) and stage.endless
            and series.open_time_ms[header.start] >= stage.hole_ms[lane]
        ):
            return BROKEN           # the hole has left the memory: all that is left is known
        stage.slots[lane] = slot
        boundary_ms[0] = series_close_time(series, series.open_time_ms[slot]) + 1
        return READY

    cdef inline int64_t due(self, Stage stage, Py_ssize_t lane) except -2:
        """The boundary of the row a lane has to move to, found once per row; NEVER without one."""
        cdef int64_t boundary_ms = stage.due_ms[lane]
        cdef Next next
        if boundary_ms == 0:
            next = self.next_row(stage, lane, &boundary_ms)
            if next == BROKEN:
                self.broken[lane] = 1
                return NEVER
            if next == NONE:
                boundary_ms = NEVER
            stage.due_ms[lane] = boundary_ms
        if stage.across and boundary_ms <= stage.done_ms - stage.repeatable:
            self.broken[lane] = 1       # others were compared without it
            return NEVER
        return boundary_ms

    cdef Next can_move(self, Stage stage, Py_ssize_t lane, int64_t boundary_ms) except *:
        """Whether all that a lane's next row is read together with stands where it must."""
        cdef const SeriesMemory* series
        cdef const SeriesMemory* own = self.series(stage, lane)
        cdef int64_t open_ms = own.open_time_ms[stage.slots[lane]]
        cdef bint waits = open_ms > stage.seen[lane] and boundary_ms > self.deadline_ms[
            stage.interval
        ]
        cdef bint passed = False
        cdef uint32_t slot = 0
        cdef Stage other
        cdef AsOf held
        if stage.across and boundary_ms > max(
            self.barrier_ms[stage.interval], self.deadline_ms[stage.interval]
        ):
            return WAITS
        for other in stage.below:
            if other.fed[lane] < open_ms:
                return WAITS
            passed |= other.fed[lane] > open_ms
        for other in stage.reads:
            series = self.series(other, lane)
            if waits:
                held = as_of(series, boundary_ms, &slot)
                if held == AWAITED or held == HELD and other.fed[lane] < series.open_time_ms[slot]:
                    return WAITS
            passed |= other.fed[lane] >= 0 and series_close_time(
                series, other.fed[lane]
            ) >= boundary_ms
        for other in stage.readers:
            # It was read as of this boundary, and was not there.
            passed |= other.fed[lane] >= 0 and boundary_ms <= series_close_time(
                self.series(other, lane), other.fed[lane]
            ) + 1
        return BROKEN if passed else READY

    cdef int64_t next_boundary(self, Stage stage, int64_t before_ms) except -2:
        """The earliest boundary at which some lane can move, up to ``before_ms``; else NEVER."""
        cdef int64_t earliest = NEVER, waiting = NEVER, passed = NEVER, boundary_ms
        cdef bint plain = not (stage.across or stage.reads or stage.readers)
        cdef Py_ssize_t i, lane
        cdef Next next
        for i in range(self.touched_count):
            lane = self.touched[i]
            boundary_ms = self.due(stage, lane)
            if boundary_ms == NEVER or (boundary_ms > before_ms and not stage.across):
                continue
            next = READY if plain else self.can_move(stage, lane, boundary_ms)
            if next == READY:
                earliest = min(earliest, boundary_ms)
            elif next == WAITS:
                waiting = min(waiting, boundary_ms)
            elif stage.across:
                passed = min(passed, boundary_ms)
            else:
                self.broken[lane] = 1
        if not stage.across:
            return earliest
        # Symbols are compared when all of them can move. Till then, those that could are passed.
        if waiting <= min(earliest, passed):
            return NEVER
        if passed < NEVER:
            self.broken[self.touched[0]] = 1        # and with it all
        return earliest

    cdef bint gather(self, Stage stage, int64_t boundary_ms) except -1:
        """Collect the lanes that move to a row of that boundary; False if there are none."""
        cdef bint plain = not (stage.across or stage.reads or stage.readers)
        cdef int64_t own_ms
        cdef Py_ssize_t i, lane
        cdef Next next
        stage.count = 0
        memset(stage.mask, 0, self.places // 8)
        for i in range(self.touched_count):
            lane = self.touched[i]
            own_ms = self.due(stage, lane)
            if stage.across and (own_ms < boundary_ms or self.broken[lane]):
                return False            # it waits for an earlier one
            if own_ms != boundary_ms:
                continue
            next = READY if plain else self.can_move(stage, lane, boundary_ms)
            if stage.across and next >= WAITS:
                return False
            if next == BROKEN:
                self.broken[lane] = 1
            if next == READY:
                stage.lanes[stage.count] = <int32_t>lane
                stage.count += 1
                put_bit(stage.mask, lane, True)
        if stage.across and stage.count and boundary_ms == stage.done_ms:
            return self.gather_again(stage, boundary_ms)
        return stage.count > 0

    cdef bint gather_again(self, Stage stage, int64_t boundary_ms) except -1:
        """Collect the lanes that are at that boundary already, to compare them once more."""
        cdef const SeriesMemory* series
        cdef Py_ssize_t lane
        cdef uint32_t slot
        cdef bint passed = False
        cdef Stage other
        for lane in range(self.places):
            if self.order[lane] < 0 or stage.fed[lane] < 0:
                continue
            series = self.series(stage, lane)
            if series_close_time(series, stage.fed[lane]) + 1 != boundary_ms:
                continue
            slot = series_find(series, stage.fed[lane])
            passed |= slot == series.header.start + series.header.count or (
                series.open_time_ms[slot] != stage.fed[lane]
            )
            for other in stage.below:
                passed |= other.fed[lane] != stage.fed[lane]
            for other in stage.reads:
                passed |= other.fed[lane] >= 0 and series_close_time(
                    self.series(other, lane), other.fed[lane]
                ) >= boundary_ms
            for other in stage.readers:
                passed |= other.fed[lane] >= 0 and series_close_time(
                    self.series(other, lane), other.fed[lane]
                ) + 1 >= boundary_ms
            stage.slots[lane] = slot
            stage.due_ms[lane] = 0
            stage.lanes[stage.count] = <int32_t>lane
            stage.count += 1
            put_bit(stage.mask, lane, True)
            self.repeated.setdefault(lane, {})[stage] = stage.fed[lane]
        if passed:
            self.broken[stage.lanes[0]] = 1
            return False
        return True

    cdef void enter_row(self, Stage stage, Py_ssize_t lane):
        """Begin a stretch where the row stands behind a hole."""
        cdef const SeriesMemory* series = self.series(stage, lane)
        cdef uint32_t slot = stage.slots[lane]
        if (
            stage.fed[lane] >= 0
            and series.open_time_ms[slot] > series_close_time(series, stage.fed[lane]) + 1
            and not series.tags[slot] & ABSENT_BIT
        ):
            for cell in stage.cells:
                (<Cell>cell).reset(lane)
            stage.stretch[lane] = 0
            stage.hole_ms[lane] = series.open_time_ms[slot]
            put_bit(stage.blind, lane, True)
        elif bit(stage.blind, lane) and (
            series.open_time_ms[series.header.start] >= stage.hole_ms[lane]
        ):
            put_bit(stage.blind, lane, False)
        stage.stretch[lane] += 1

    cdef void describe(self, Stage stage, Rows* rows) noexcept:
        """The rows to which the gathered lanes of a stage move."""
        self.moves += 1
        rows.lanes = stage.lanes
        rows.count = stage.count
        rows.dense = stage.count == self.live_count
        rows.commit = True
        rows.mask = stage.mask
        rows.memory = self.market._memory
        rows.tickers = self.market._tickers
        rows.interval_count = self.interval_count
        rows.interval = stage.interval
        rows.slots = stage.slots
        rows.blind = stage.blind
        rows.missing = stage.missing
        rows.tickerless = stage.tickerless
        rows.order = self.order
        rows.number = self.moves

    cdef run(self, Stage stage, int64_t boundary_ms):
        """Move the gathered lanes of a stage to their rows."""
        cdef Rows rows
        cdef Py_ssize_t i, lane
        cdef int64_t open_ms
        cdef bint again = False
        memset(stage.missing, 0, self.places // 8)
        memset(stage.tickerless, 0, self.places // 8)
        memset(stage.told, 0, self.places // 8)
        memset(stage.fresh, 0, self.places // 8)
        for i in range(stage.count):
            lane = stage.lanes[i]
            open_ms = self.series(stage, lane).open_time_ms[stage.slots[lane]]
            again |= open_ms <= stage.seen[lane]
            if self.records and open_ms > stage.floor[lane]:
                put_bit(stage.told, lane, True)
                put_bit(stage.fresh, lane, open_ms > stage.seen[lane])
            if stage.fed[lane] != open_ms:
                self.enter_row(stage, lane)
            if again and stage.fed[lane] < 0:
                self.doubts.begin(stage, lane, open_ms)
        self.describe(stage, &rows)
        for cell in stage.cells:
            (<Cell>cell).run(&rows)
        if again:
            self.doubts.look_back(stage)
        for root in stage.roots:
            if stage.across:
                (<Root>root).begin_row(boundary_ms == stage.done_ms)
            self.fire(stage, <Root>root, boundary_ms)
            if again:
                self.doubts.look(stage, <Root>root)
        for i in range(stage.count):
            lane = stage.lanes[i]
            open_ms = self.series(stage, lane).open_time_ms[stage.slots[lane]]
            if stage.fed[lane] < 0:
                for root in stage.roots:
                    (<Root>root).anchor.at[lane] = open_ms
            stage.fed[lane] = open_ms
            stage.due_ms[lane] = 0
        if stage.across:
            stage.done_ms = boundary_ms

    cdef fire(self, Stage stage, Root root, int64_t boundary_ms):
        """Tell where a filter fires, and count where it is unknown."""
        cdef const SeriesMemory* series
        cdef Py_ssize_t word, lane
        cdef uint64_t mask, unknown, fires
        cdef int64_t open_ms
        cdef bint whole, again
        if not words_fire(
            stage.fires, root.armed, root.cell.truth, root.cell.known, stage.mask, root.edge,
            self.places // 64
        ) and root.quiet == NULL:
            return
        for word in range(self.places // 64):
            mask = stage.mask[word]
            if mask == 0:
                continue
            fires = stage.fires[word]
            unknown = ~root.cell.known[word] & stage.fresh[word]
            while unknown:
                lane = word * 64 + __builtin_ctzll(unknown)
                unknown &= unknown - 1
                self.count_unknown(stage, root, lane)
            if root.quiet != NULL:
                fires = root.cool(mask, fires, word)
            fires &= stage.told[word]
            while fires:
                lane = word * 64 + __builtin_ctzll(fires)
                fires &= fires - 1
                series = self.series(stage, lane)
                open_ms = series.open_time_ms[stage.slots[lane]]
                if open_ms <= root.since.at[lane]:
                    continue
                again = open_ms <= stage.seen[lane]
                whole = not bit(stage.missing, lane)
                if stage.across and boundary_ms in self.incomplete[stage.interval]:
                    whole = False
                self.fired.append((
                    root, lane, open_ms,
                    series.values[CLOSE * <Py_ssize_t>series.slots + stage.slots[lane]],
                    whole, again, root.part_values(lane) if root.part_cells else ()
                ))

    cdef count_unknown(self, Stage stage, Root root, Py_ssize_t lane):
        """Count one evaluation that gave neither true nor false, by its reason."""
        cdef int64_t open_ms = self.series(stage, lane).open_time_ms[stage.slots[lane]]
        cdef int reason
        if open_ms <= root.since.at[lane]:
            return
        if bit(stage.missing, lane):
            reason = MISSING_CLOSE
        else:
            reason = cold(stage, root, lane, root.rows)
            for key, rows in root.others.items() if root.others else ():
                reason = max(reason, cold(self.stages[key], root, lane, rows))
            if reason < HOLE and bit(stage.tickerless, lane):
                reason = NO_TICKER
            elif reason == 0:
                reason = UNDEFINED
        root.unknown[reason] += 1

    cdef start_anew(self):
        """Let broken lanes stand before their first row; all of them if symbols are compared."""
        cdef Py_ssize_t lane
        cdef Stage stage
        cdef bint any_broken = False
        cdef set anew = set()
        for lane in range(self.places):
            any_broken |= self.broken[lane]
        if any_broken and self.across:
            self.touch(NULL)
            for lane in range(self.places):
                self.broken[lane] = self.order[lane] >= 0
        for lane in range(self.places):
            if not self.broken[lane]:
                continue
            self.broken[lane] = 0
            anew.add(lane)
            self.rerun_count += 1
            self.rewound.pop(lane, None)
            if self.rewinder.rewind(lane):
                self.rewound[lane] = {stage: stage.fed[lane] for stage in self.ordered}
                continue
            for stage in self.ordered:
                stage.reset(lane)
        self.rerun |= anew
        if any_broken and self.fired:
            self.fired = [one for one in self.fired if one[1] not in anew]
        if any_broken:
            self.doubts.forget(anew)
        return any_broken

    cdef touch(self, const uint8_t* marked):
        """Look for rows of the marked lanes; of all, for NULL."""
        cdef Py_ssize_t lane, count = 0
        cdef Stage stage
        for stage in self.ordered:
            memset(stage.due_ms, 0, 8 * self.places)
        for lane in range(self.places):
            if (marked == NULL or marked[lane]) and self.order[lane] >= 0:
                self.touched[count] = <int32_t>lane
                count += 1
        self.touched_count = count

    cdef advance(self):
        """Take every row of the touched lanes, oldest boundary first."""
        cdef int64_t earliest
        cdef Py_ssize_t i, lane
        cdef Stage stage
        cdef int beginnings = 0
        cdef bint every = True          # what was passed is found before anything moves
        self.rewinder.begin()
        while True:
            earliest = NEVER
            for stage in self.ordered:
                earliest = min(earliest, self.next_boundary(stage, NEVER if every else earliest))
            every = self.start_anew()
            if every:
                beginnings += 1
                if beginnings > BEGINNINGS_MAX:
                    raise RuntimeError("filters start anew without end")
                continue
            if earliest == NEVER:
                break
            moved = False
            for stage in self.ordered:
                if self.gather(stage, earliest):
                    self.run(stage, earliest)
                    moved = True
            every = not moved and self.start_anew()
            if not (moved or every):
                break
        for i in range(self.touched_count):
            lane = self.touched[i]
            for stage in self.ordered:
                stage.seen[lane] = max(stage.seen[lane], stage.fed[lane])


cdef extern from *:
    int __builtin_ctzll(unsigned long long value) nogil


cdef int cold(Stage stage, Root root, Py_ssize_t lane, Py_ssize_t rows):
    """HOLE or NOT_WARM if the lane has not been fed what the filter needs; else 0."""
    if bit(stage.blind, lane) and (root.endless or stage.stretch[lane] < rows):
        return HOLE
    return NOT_WARM if stage.stretch[lane] < rows else 0
