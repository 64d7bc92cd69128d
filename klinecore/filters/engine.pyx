"""Runs filters live: tells at which closes of which symbols each fires."""

cimport cython
from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free
from libc.string cimport memcpy, memset

from klinecore.events cimport EventKind
from klinecore.filters.cells cimport Cell
from klinecore.filters.forming cimport Forming
from klinecore.filters.images cimport Checkpoints, read_image, write_image
from klinecore.filters.runner cimport Runner
from klinecore.filters.stages cimport NEVER, Root, Stage
from klinecore.filters.telling cimport Teller
from klinecore.market cimport Market
from klinecore.merge cimport SeriesHeader, SeriesMemory, series_close_time, series_last_open

from klinecore.errors import FiltersFullError
from klinecore.filters.plan import parts_of, resolve
from klinecore.filters.reasons import Reason

__all__ = ["Engine"]

cdef enum:
    INCOMPLETE_MAX = 64         # boundaries remembered at which symbols were missing, per interval
    COOLDOWN_MAX = 100000       # klines


@cython.final
cdef class Engine:
    """Filters over one market, evaluated close by close."""

    def __cinit__(
        self, Market market not None, *, int64_t state_bytes_max=256 << 20, int filters_max=10_000
    ):
        if state_bytes_max < 1 or filters_max < 1:
            raise ValueError(
                f"limits must be at least 1: state_bytes_max {state_bytes_max}, filters_max "
                f"{filters_max}"
            )
        self.market = market
        self.state_bytes_max = state_bytes_max
        self.filters_max = filters_max
        self._runner = Runner(market, records=True)
        self._roots = {}
        self._counts = {}
        self._steps = {}
        self._gone = self._runner.doubts = Gone(self._runner)
        self._teller = Teller(self._runner, self._gone)
        self._next_id = 1
        self._known = <Known*>calloc(
            self._runner.places * self._runner.interval_count, sizeof(Known)
        )
        self._marked = <uint8_t*>calloc(self._runner.places, 1)
        if self._known == NULL or self._marked == NULL:
            raise MemoryError("no memory for the filters of a market")
        self._generations = [None] * len(market._names)
        self._lost = market._events.lost
        for i, interval in enumerate(market.intervals):
            barrier = market.barrier(interval)
            if barrier is not None and barrier.ended:
                self._barrier(i, barrier.open_time_ms)
        self._replan()
        self._follow_symbols()

    def __dealloc__(self):
        free(self._known)
        free(self._marked)

    def __len__(self):
        """Filters held."""
        return len(self._roots)

    # --- filters -------------------------------------------------------------------------------

    def add(
        self, filter, interval, *, mode="edge", cooldown=0, when="closed", bint with_parts=False
    ):
        """Evaluate a filter at every close of an interval from now on; its number."""
        cdef Root root
        if mode not in ("edge", "level"):
            raise ValueError(f"mode must be 'edge' or 'level', not {mode!r}")
        if when not in ("closed", "forming"):
            raise ValueError(f"when must be 'closed' or 'forming', not {when!r}")
        if not 0 <= cooldown <= COOLDOWN_MAX:
            raise ValueError(f"cooldown must be 0..{COOLDOWN_MAX} klines, not {cooldown}")
        if len(self._roots) >= self.filters_max:
            self._refused += 1
            raise FiltersFullError("filters_max", self.filters_max, self.filters_max + 1)
        self.market._interval(interval)
        step = resolve(getattr(filter, "root", filter), interval, self._steps)
        if when == "forming" and step.stage.across:
            raise ValueError("symbols are compared at their closes, not while klines form")
        for below in step.walk():
            self.market._interval(below.stage.interval)
        if step.stage.across:
            self._settle_barrier(step)
        warm = self._warm(step, mode == "edge", cooldown)
        root = self._adopt(warm, step)
        root.forming = when == "forming"
        if with_parts:
            found = parts_of(getattr(filter, "root", filter), interval)
            root.part_names = tuple(found)
            root.part_cells = tuple([self._runner.cells[key] for key in found.values()])
        self._roots[root.number] = root
        self._next_id += 1
        self._replan()
        return root.number

    cdef _settle_barrier(self, step):
        """Of comparisons begun now, let all but the newest row be history: no barrier tells it."""
        cdef const SeriesMemory* series
        cdef uint32_t index
        cdef Py_ssize_t lane
        for below in step.walk():
            if below.stage.across:
                index = self.market._interval(below.stage.interval)
                for place in self.market._places.values():
                    lane = place
                    series = &self.market._memory[lane * self._runner.interval_count + index]
                    self._runner.barrier_ms[index] = max(
                        self._runner.barrier_ms[index], series_last_open(series)
                    )

    cdef Runner _warm(self, step, bint edge, Py_ssize_t cooldown):
        """The steps of one filter, run alone over the rows in memory to where the others stand."""
        cdef Runner warm = Runner(self.market, records=False)
        cdef int64_t needed = self._runner.size
        cdef Cell cell
        cdef Stage stage, there
        cdef Root root
        for below in step.walk():
            cell = warm.add(below)
            if below.key not in self._runner.cells:
                needed += cell.size
                if needed > self.state_bytes_max:
                    self._refused += 1
                    raise FiltersFullError("state_bytes_max", self.state_bytes_max, needed)
        root = Root(self._next_id, step, cell, edge=edge, cooldown=cooldown)
        warm.arrange()
        stage = warm.stages[step.stage]
        stage.roots.append(root)
        needed += root.size + root.since.size + root.anchor.size + sum([
            (<Stage>one).size for one in warm.ordered if one.key not in self._runner.stages
        ])
        if needed > self.state_bytes_max:
            self._refused += 1
            raise FiltersFullError("state_bytes_max", self.state_bytes_max, needed)
        for stage in warm.ordered:
            there = self._runner.stages.get(stage.key)
            if there is not None:
                memcpy(stage.limit, there.fed, 8 * stage.places)
                memcpy(stage.seen, there.fed, 8 * stage.places)
        memcpy(warm.barrier_ms, self._runner.barrier_ms, sizeof(warm.barrier_ms))
        memcpy(warm.deadline_ms, self._runner.deadline_ms, sizeof(warm.deadline_ms))
        warm.touch(NULL)
        warm.advance()
        return warm

    cdef Root _adopt(self, Runner warm, step):
        """Take over the steps that were not there, with all they remember, and the root."""
        cdef Runner runner = self._runner
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
            self._counts[below.key] = self._counts.get(below.key, 0) + 1
            self._steps[below.key] = below
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
        return root

    def remove(self, int filter_id):
        """Evaluate a filter no longer, and free what only it needed."""
        cdef Root root = self._root(filter_id)
        del self._roots[filter_id]
        stage = self._runner.stages[root.step.stage]
        stage.roots.remove(root)
        self._teller.forget_filter(root)
        gone = set()
        for step in root.step.walk():
            self._counts[step.key] -= 1
            if not self._counts[step.key]:
                del self._counts[step.key], self._steps[step.key]
                gone.add(step.key)
        self._runner.drop(gone)
        self._replan()

    cdef _replan(self):
        """Begin checkpoints anew: those there are say nothing of new filters."""
        self._forming = None
        if self._checkpoints is not None:
            self._checkpoints_left_out += self._checkpoints.left_out
        self._checkpoints = Checkpoints(self._runner)
        self._runner.rewinder = self._checkpoints

    cdef _list_forming(self):
        """Find out anew what is to be computed at forming rows."""
        wanted = {}
        for root in self._roots.values():
            if root.forming:
                wanted.setdefault(root.step.stage.interval, []).append(root)
        self._forming = {
            interval: Forming(self._runner, roots) for interval, roots in wanted.items()
        }

    cdef Root _root(self, int filter_id):
        root = self._roots.get(filter_id)
        if root is None:
            raise ValueError(f"there is no filter {filter_id}")
        return root

    # --- evaluating ----------------------------------------------------------------------------

    def pump(self, events):
        """Evaluate what the events tell of; the firings."""
        cdef dict first_closed = {}
        cdef dict told_changes = {}
        cdef dict places = self.market._places
        cdef dict intervals = self.market._interval_index
        cdef int kind
        cdef Py_ssize_t lane, index
        cdef bint everyone = False
        cdef bint anyone = False
        cdef list forming = []
        memset(self._marked, 0, self._runner.places)
        if self.market.symbols is not self._symbols:
            self._follow_symbols()
        for event in events:
            kind = event[0]
            if kind == EventKind.TICKER:
                continue
            if kind == EventKind.FORMING:
                if self._forming is None:
                    self._list_forming()
                if event[2] in self._forming:
                    forming.append((event[1], event[2]))
                continue
            if kind >= EventKind.BARRIER:
                if kind == EventKind.BARRIER:
                    self._barrier(intervals[event[2]], event[3])
                    everyone |= self._runner.across
                continue
            place = places.get(event[1])
            if place is None:
                continue            # removed since
            lane = place
            index = lane * self._runner.interval_count + <Py_ssize_t>intervals[event[2]]
            self._marked[lane] = anyone = True
            if kind == EventKind.CLOSED:
                if index not in first_closed:
                    first_closed[index] = event[3]
            else:
                if kind != EventKind.ABSENT:
                    told_changes[index] = told_changes.get(index, 0) + 1
                self._disturb(lane, intervals[event[2]], event[3])
        if self.market._events.lost != self._lost:
            everyone = True
        if everyone:
            memset(self._marked, 1, self._runner.places)
        # Most of the time there are forming rows and tickers only, and nothing moves.
        out = self._advance(first_closed, told_changes) if anyone or everyone else []
        for symbol, interval in forming:
            place = places.get(symbol)
            if place is not None:
                self._teller.tell_forming(self._forming[interval], place, out)
        return out

    def deadline(self, interval, int64_t open_time_ms):
        """Wait no longer for what rows of that time are read together with; the firings."""
        cdef Runner runner = self._runner
        cdef uint32_t index = self.market._interval(interval)
        cdef int64_t boundary_ms = series_close_time(
            &self.market._memory[index], open_time_ms
        ) + 1
        runner.deadline_ms[index] = max(runner.deadline_ms[index], boundary_ms)
        self._note_barrier(index, open_time_ms, boundary_ms)
        if self.market.symbols is not self._symbols:
            self._follow_symbols()
        memset(self._marked, 1, runner.places)
        return self._advance({}, {})

    def catch_up(self):
        """Evaluate the rows in memory of which no event told; the firings."""
        if self.market.symbols is not self._symbols:
            self._follow_symbols()
        memset(self._marked, 1, self._runner.places)
        return self._advance({}, {})

    cdef _advance(self, dict first_closed, dict told_changes):
        """Take the rows of the marked lanes."""
        cdef Runner runner = self._runner
        cdef Py_ssize_t i
        self._checkpoints.settle(self.state_bytes_max)
        if runner.across:
            # A lane that starts anew takes all others with it, and with what was merged into them.
            memset(self._marked, 1, runner.places)
        runner.touch(self._marked)
        for i in range(runner.touched_count):
            self._look(runner.touched[i], told_changes)
            self._begin(runner.touched[i], first_closed)
        self._lost = self.market._events.lost
        runner.advance()
        for i in range(runner.touched_count):
            self._checkpoints.keep(runner.touched[i])
        return self._teller.tell()

    cdef _disturb(self, Py_ssize_t lane, uint32_t interval, int64_t open_time_ms):
        """A row at or behind the newest one changed: does anything that was computed know it?"""
        cdef Runner runner = self._runner
        cdef const SeriesMemory* series = &self.market._memory[
            lane * runner.interval_count + interval
        ]
        cdef int64_t boundary_ms = series_close_time(series, open_time_ms) + 1
        cdef Stage stage, read
        self._checkpoints.disturb(lane, interval, open_time_ms)
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

    cdef _look(self, Py_ssize_t lane, dict told_changes):
        """Find changes that no event told of: history that was merged, or events that were lost."""
        cdef Runner runner = self._runner
        cdef const SeriesHeader* header
        cdef Known* known
        cdef Py_ssize_t index
        cdef uint32_t i
        cdef uint64_t appended, changed, told
        cdef bint lost = self.market._events.lost != self._lost
        for i in range(runner.interval_count):
            index = lane * runner.interval_count + i
            header = self.market._memory[index].header
            known = &self._known[index]
            changed = header.inserted + header.revisions
            appended = (header.closed_count - header.inserted) - (
                known.closed_count - known.inserted
            )
            told = told_changes.get(index, 0) if told_changes else 0
            if changed - known.changed > told or (
                lost and header.revision - known.revision != appended
            ):
                self._disturb(lane, i, 0)
            known.revision = header.revision
            known.closed_count = header.closed_count
            known.inserted = header.inserted
            known.changed = changed

    cdef _begin(self, Py_ssize_t lane, dict first_closed):
        """Of a lane's first rows, those that were there before their events are history."""
        cdef Stage stage
        for stage in self._runner.ordered:
            if stage.seen[lane] >= 0 or stage.floor[lane] >= 0:
                continue
            closed_ms = first_closed.get(lane * self._runner.interval_count + stage.interval)
            if closed_ms is not None:
                stage.floor[lane] = <int64_t>closed_ms - 1
            else:
                stage.floor[lane] = series_last_open(self._runner.series(stage, lane))

    cdef _barrier(self, uint32_t interval, int64_t open_time_ms):
        cdef int64_t boundary_ms = series_close_time(
            &self.market._memory[interval], open_time_ms
        ) + 1
        self._note_barrier(interval, open_time_ms, boundary_ms)
        self._runner.barrier_ms[interval] = max(self._runner.barrier_ms[interval], boundary_ms)

    cdef _note_barrier(self, uint32_t interval, int64_t open_time_ms, int64_t boundary_ms):
        """Remember that symbols were missing at a boundary; of the newest ones only."""
        cdef set incomplete = self._runner.incomplete[interval]
        if boundary_ms <= self._runner.barrier_ms[interval]:
            return
        if self.market.missing_closes(self.market.intervals[interval], open_time_ms):
            incomplete.add(boundary_ms)
            if len(incomplete) > INCOMPLETE_MAX:
                incomplete.remove(min(incomplete))

    cdef _follow_symbols(self):
        """Let lanes whose place changed hands be as new."""
        cdef Runner runner = self._runner
        cdef Stage stage
        cdef Py_ssize_t lane
        cdef Known* known
        cdef const SeriesHeader* header
        self._symbols = self.market.symbols
        runner.number_lanes()
        for lane in range(len(self._generations)):
            place = self.market._arena.place_at(lane)
            generation = place.generation if place.live else None
            if generation == self._generations[lane]:
                continue
            self._generations[lane] = generation
            self._teller.forget_symbol(lane)
            self._checkpoints.forget(lane)
            for stage in runner.ordered:
                stage.forget(lane)
            for i in range(runner.interval_count):
                known = &self._known[lane * runner.interval_count + i]
                header = self.market._memory[lane * runner.interval_count + i].header
                known.revision = header.revision
                known.closed_count = header.closed_count
                known.inserted = header.inserted
                known.changed = header.inserted + header.revisions

    def save(self):
        """What all filters remember, as bytes for ``load``."""
        return write_image(self._runner, self._gone.told)

    def load(self, bytes image not None):
        """Go on from what ``save`` gave; the symbols that did not, for their rows are others."""
        self._replan()
        return read_image(self._runner, image, self._gone.told)

    # --- reading -------------------------------------------------------------------------------

    def value(self, int filter_id, symbol):
        """Whether a filter is true at a symbol's newest evaluated close; None while unknown."""
        return self._root(filter_id).cell.at(self.market._symbol(symbol))

    def parts(self, int filter_id):
        """Normal forms of the parts whose values its firings are told with."""
        return self._root(filter_id).part_names

    def part_values(self, int filter_id, symbol):
        """What those are at a symbol's newest evaluated close; NaN unknown."""
        return self._root(filter_id).part_values(self.market._symbol(symbol))

    @property
    def places(self):
        """Which bit of ``tally`` stands for which symbol."""
        return dict(self.market._places)

    def tally(self, int filter_id, open_time_ms=None):
        """Symbols evaluated at a row, those where the filter is true, and where it is known."""
        cdef Root root = self._root(filter_id)
        cdef Stage stage = self._runner.stages[root.step.stage]
        cdef int64_t open_ms = -1 if open_time_ms is None else open_time_ms
        cdef Py_ssize_t lane, size = self._runner.places // 8
        cdef bytearray there = bytearray(size)
        cdef unsigned char* bits = there
        for lane in range(self._runner.places):
            if self._runner.order[lane] >= 0 and stage.fed[lane] >= 0 and (
                open_ms < 0 or stage.fed[lane] == open_ms
            ):
                bits[lane >> 3] |= 1 << (lane & 7)
        evaluated = int.from_bytes(there, "little")
        known = int.from_bytes((<const char*>root.cell.known)[:size], "little") & evaluated
        true = int.from_bytes((<const char*>root.cell.truth)[:size], "little") & known
        return evaluated, true, known

    def evaluated_ms(self, int filter_id, symbol):
        """Open time of the newest row a filter was evaluated at; None before the first."""
        cdef Root root = self._root(filter_id)
        cdef Stage stage = self._runner.stages[root.step.stage]
        cdef Py_ssize_t lane = self.market._symbol(symbol)
        return stage.fed[lane] if stage.fed[lane] >= 0 else None

    def preview(self, int filter_id, symbol):
        """What a filter would be if the forming row closed as it is."""
        cdef Root root = self._root(filter_id)
        cdef Py_ssize_t lane = self.market._symbol(symbol)
        if root.step.stage.across:
            return None
        found = Forming(self._runner, [root]).values(self._runner, lane)
        return found[0] if found else None

    def anchor(self, int filter_id, symbol):
        """Open time of the first row a filter was fed for a symbol; None before the first."""
        cdef Root root = self._root(filter_id)
        cdef Py_ssize_t lane = self.market._symbol(symbol)
        return root.anchor.at[lane] if root.anchor.at[lane] >= 0 else None

    def history(self, int filter_id, symbol):
        """Open time of the newest row whose firings are not told, for it was there before; None
        if there was none."""
        cdef Root root = self._root(filter_id)
        cdef Stage stage = self._runner.stages[root.step.stage]
        cdef Py_ssize_t lane = self.market._symbol(symbol)
        cdef int64_t newest = max(root.since.at[lane], stage.floor[lane])
        return newest if newest >= 0 else None

    def unknown(self, filter_id=None):
        """Evaluations that were neither true nor false, by reason: of one filter, or of all."""
        cdef Root root
        cdef int i
        counts = {reason: 0 for reason in Reason if reason not in (Reason.KNOWN, Reason.NO_ROWS)}
        for root in self._roots.values() if filter_id is None else [self._root(filter_id)]:
            for reason in counts:
                i = reason
                counts[reason] += root.unknown[i]
        return counts

    @property
    def state_bytes(self):
        """Bytes that all filters take together."""
        return self._runner.size + self._checkpoints.size

    @property
    def step_count(self):
        """Steps computed, each for all filters that need it."""
        return len(self._runner.cells)

    def counters(self):
        """What happened since the start, by name."""
        return {
            **self._teller.counters(),
            "refused": self._refused,
            "started_anew": self._runner.rerun_count,
            "checkpoints_left_out": self._checkpoints_left_out + self._checkpoints.left_out,
        }
