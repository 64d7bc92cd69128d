"""Runs filters live: tells at which closes of which symbols each fires."""

cimport cython
from libc.stdint cimport int32_t, int64_t, uint8_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free
from libc.string cimport memset

from klinecore.events cimport EventKind
from klinecore.filters.forming cimport Forming
from klinecore.filters.group cimport Group
from klinecore.filters.images cimport read_image
from klinecore.filters.runner cimport Runner
from klinecore.filters.stages cimport Root, Stage
from klinecore.market cimport Market
from klinecore.merge cimport SeriesHeader, series_close_time

from klinecore.errors import FiltersFullError, TornReadError
from klinecore.filters.gone import COMPARISONS
from klinecore.filters.images import image_parts
from klinecore.filters.plan import parts_of, resolve
from klinecore.filters.reasons import Reason

__all__ = ["Engine"]

cdef enum:
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
        self._within = Group(market)
        self._across = Group(market)
        self._groups = (self._within, self._across)
        self._next_id = 1
        self._places = self._within.runner.places
        self._interval_count = len(market.intervals)
        self._known = <Known*>calloc(self._places * self._interval_count, sizeof(Known))
        self._marked = <uint8_t*>calloc(self._places, 1)
        if self._known == NULL or self._marked == NULL:
            raise MemoryError("no memory for the filters of a market")
        self._generations = [None] * len(market._names)
        self._lost = market._events.lost
        for i, interval in enumerate(market.intervals):
            barrier = market.barrier(interval)
            if barrier is not None and barrier.ended:
                self._across.barrier(i, barrier.open_time_ms)
        self._replan()
        self._follow_symbols()

    def __dealloc__(self):
        free(self._known)
        free(self._marked)

    def __len__(self):
        """Filters held."""
        return len(self._within.roots) + len(self._across.roots)

    # --- filters -------------------------------------------------------------------------------

    def add(
        self, filter, interval, *, mode="edge", cooldown=0, when="closed", bint with_parts=False
    ):
        """Evaluate a filter at every close of an interval from now on; its number."""
        cdef Group group
        cdef Root root
        if mode not in ("edge", "level"):
            raise ValueError(f"mode must be 'edge' or 'level', not {mode!r}")
        if when not in ("closed", "forming"):
            raise ValueError(f"when must be 'closed' or 'forming', not {when!r}")
        if not 0 <= cooldown <= COOLDOWN_MAX:
            raise ValueError(f"cooldown must be 0..{COOLDOWN_MAX} klines, not {cooldown}")
        if len(self) >= self.filters_max:
            self._refused += 1
            raise FiltersFullError("filters_max", self.filters_max, self.filters_max + 1)
        self.market._interval(interval)
        node = getattr(filter, "root", filter)
        compares = any(one.op in COMPARISONS for one in node.walk())
        group, other = reversed(self._groups) if compares else self._groups
        step = resolve(node, interval, group.steps)
        if when == "forming" and step.stage.across:
            raise ValueError("symbols are compared at their closes, not while klines form")
        for below in step.walk():
            self.market._interval(below.stage.interval)
        if step.stage.across:
            group.settle_barrier(step)
        try:
            warm = group.warm(
                self._next_id, step, mode == "edge", cooldown, (<Group>other).runner.size,
                self.state_bytes_max
            )
        except FiltersFullError:
            self._refused += 1
            raise
        root = group.adopt(warm, step)
        root.forming = when == "forming"
        if with_parts:
            found = parts_of(node, interval)
            root.part_names = tuple(found)
            root.part_cells = tuple([group.runner.cells[key] for key in found.values()])
        self._next_id += 1
        self._replan()
        return root.number

    def remove(self, int filter_id):
        """Evaluate a filter no longer, and free what only it needed."""
        cdef Group group = self._group(filter_id)
        group.remove(group.roots[filter_id])
        self._replan()

    cdef _replan(self):
        """Begin checkpoints anew: those there are say nothing of new filters.

        While symbols are compared there are none. All go back to their oldest rows then, and two
        images of each symbol are twice what all steps take.
        """
        self._forming = None
        self._moves += 1
        self._within.replan(not self._across.roots)
        self._across.replan(False)

    cdef _list_forming(self):
        """Find out anew what is to be computed at forming rows."""
        cdef Group group
        self._forming = {}
        for group in self._groups:
            wanted = {}
            for root in group.roots.values():
                if root.forming:
                    wanted.setdefault(root.step.stage.interval, []).append(root)
            for interval, roots in wanted.items():
                self._forming.setdefault(interval, []).append(
                    (group, Forming(group.runner, roots))
                )

    cdef Group _group(self, int filter_id):
        for group in self._groups:
            if filter_id in (<Group>group).roots:
                return group
        raise ValueError(f"there is no filter {filter_id}")

    cdef Root _root(self, int filter_id):
        return self._group(filter_id).roots[filter_id]

    cdef Stage _stage(self, int filter_id):
        return self._group(filter_id).stage_of(self._root(filter_id))

    # --- evaluating ----------------------------------------------------------------------------

    def pump(self, events):
        """Evaluate what the events tell of; the firings."""
        cdef dict first_closed = {}
        cdef dict told_changes = {}
        cdef dict places = self.market._places
        cdef dict intervals = self.market._interval_index
        cdef int kind
        cdef Py_ssize_t lane, index
        cdef bint told = False
        cdef bint anyone = False
        cdef list forming = []
        cdef Group group
        memset(self._marked, 0, self._places)
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
                    self._moves += 1
                    self._across.barrier(intervals[event[2]], event[3])
                    told = len(self._across.roots) > 0
                continue
            place = places.get(event[1])
            if place is None:
                continue            # removed since
            lane = place
            index = lane * self._interval_count + <Py_ssize_t>intervals[event[2]]
            self._marked[lane] = anyone = True
            if kind == EventKind.CLOSED:
                if index not in first_closed:
                    first_closed[index] = event[3]
            else:
                if kind != EventKind.ABSENT:
                    told_changes[index] = told_changes.get(index, 0) + 1
                self._disturb(lane, intervals[event[2]], event[3])
        # Most of the time there are forming rows and tickers only, and nothing moves.
        if anyone or told or self.market._events.lost != self._lost:
            out = self._advance(first_closed, told_changes)
        else:
            out = []
        for symbol, interval in forming:
            place = places.get(symbol)
            if place is not None:
                for group, one in self._forming[interval]:
                    group.teller.tell_forming(one, place, out)
        return out

    def deadline(self, interval, int64_t open_time_ms):
        """Wait no longer for what rows of that time are read together with; the firings."""
        cdef uint32_t index = self.market._interval(interval)
        cdef int64_t boundary_ms = series_close_time(
            &self.market._memory[index], open_time_ms
        ) + 1
        cdef Runner runner
        for group in self._groups:
            runner = (<Group>group).runner
            runner.deadline_ms[index] = max(runner.deadline_ms[index], boundary_ms)
        self._across.note_barrier(index, open_time_ms, boundary_ms)
        return self.catch_up()

    def catch_up(self):
        """Evaluate the rows in memory of which no event told; the firings."""
        if self.market.symbols is not self._symbols:
            self._follow_symbols()
        memset(self._marked, 1, self._places)
        return self._advance({}, {})

    cdef list _advance(self, dict first_closed, dict told_changes):
        """Take the rows of the marked lanes, and of all where symbols are compared."""
        cdef bint lost = self.market._events.lost != self._lost
        cdef bint compares = len(self._across.roots) > 0
        cdef Py_ssize_t lane
        cdef list out, more
        self._moves += 1
        if lost:
            memset(self._marked, 1, self._places)
        for lane in range(self._places):
            # What was merged into others matters as well: a lane that starts anew takes them along.
            if (self._marked[lane] or compares) and self._within.runner.order[lane] >= 0:
                self._look(lane, lost, told_changes)
        self._lost = self.market._events.lost
        if self._within.checkpoints is not None:
            self._within.checkpoints.settle(self.state_bytes_max)
        out = self._within.advance(self._marked, first_closed)
        if not compares:
            return out
        more = self._across.advance(NULL, first_closed)
        if not (out and more):
            return out or more
        both = out + more
        return [one for one in both if one.revision] + [one for one in both if not one.revision]

    cdef _disturb(self, Py_ssize_t lane, uint32_t interval, int64_t open_time_ms):
        """A row at or behind the newest one changed."""
        self._within.disturb(lane, interval, open_time_ms)
        self._across.disturb(lane, interval, open_time_ms)

    cdef _look(self, Py_ssize_t lane, bint lost, dict told_changes):
        """Find changes that no event told of: history that was merged, or events that were lost."""
        cdef const SeriesHeader* header
        cdef Known* known
        cdef Py_ssize_t index
        cdef uint32_t i
        cdef uint64_t appended, changed, told
        for i in range(self._interval_count):
            index = lane * self._interval_count + i
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
                self._marked[lane] = True
            known.revision = header.revision
            known.closed_count = header.closed_count
            known.inserted = header.inserted
            known.changed = changed

    cdef _follow_symbols(self):
        """Let lanes whose place changed hands be as new."""
        cdef Py_ssize_t lane
        cdef Known* known
        cdef const SeriesHeader* header
        self._symbols = self.market.symbols
        self._moves += 1
        for group in self._groups:
            (<Group>group).runner.number_lanes()
        for lane in range(len(self._generations)):
            place = self.market._arena.place_at(lane)
            generation = place.generation if place.live else None
            if generation == self._generations[lane]:
                continue
            self._generations[lane] = generation
            self._within.forget(lane)
            self._across.forget(lane)
            for i in range(self._interval_count):
                known = &self._known[lane * self._interval_count + i]
                header = self.market._memory[lane * self._interval_count + i].header
                known.revision = header.revision
                known.closed_count = header.closed_count
                known.inserted = header.inserted
                known.changed = header.inserted + header.revisions

    cdef list _parts(self):
        """Of each group what an image is made of."""
        return [((<Group>group).runner, (<Group>group).gone.told) for group in self._groups]

    def save(self):
        """What all filters remember, as bytes for ``load``."""
        return b"".join(self.save_parts())

    def save_parts(self):
        """The same in parts, each made when it is asked for."""
        cdef uint64_t moves = self._moves
        for part in image_parts(self._parts()):
            yield part
            if self._moves != moves or self.market.symbols is not self._symbols:
                raise TornReadError("the filters", 1, writing=False)

    def load(self, bytes image not None):
        """Go on from what ``save`` gave; the symbols that did not, for their rows are others."""
        self._replan()
        return read_image(self._parts(), image)

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
        cdef Stage stage = self._stage(filter_id)
        cdef int64_t open_ms = -1 if open_time_ms is None else open_time_ms
        cdef const int32_t* order = self._within.runner.order
        cdef Py_ssize_t lane, size = self._places // 8
        cdef bytearray there = bytearray(size)
        cdef unsigned char* bits = there
        for lane in range(self._places):
            if order[lane] >= 0 and stage.fed[lane] >= 0 and (
                open_ms < 0 or stage.fed[lane] == open_ms
            ):
                bits[lane >> 3] |= 1 << (lane & 7)
        evaluated = int.from_bytes(there, "little")
        known = int.from_bytes((<const char*>root.cell.known)[:size], "little") & evaluated
        true = int.from_bytes((<const char*>root.cell.truth)[:size], "little") & known
        return evaluated, true, known

    def evaluated_ms(self, int filter_id, symbol):
        """Open time of the newest row a filter was evaluated at; None before the first."""
        cdef Stage stage = self._stage(filter_id)
        cdef Py_ssize_t lane = self.market._symbol(symbol)
        return stage.fed[lane] if stage.fed[lane] >= 0 else None

    def preview(self, int filter_id, symbol):
        """What a filter would be if the forming row closed as it is."""
        cdef Root root = self._root(filter_id)
        cdef Py_ssize_t lane = self.market._symbol(symbol)
        if root.step.stage.across:
            return None
        runner = self._group(filter_id).runner
        found = Forming(runner, [root]).values(runner, lane)
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
        cdef Stage stage = self._stage(filter_id)
        cdef Py_ssize_t lane = self.market._symbol(symbol)
        cdef int64_t newest = max(root.since.at[lane], stage.floor[lane])
        return newest if newest >= 0 else None

    def unknown(self, filter_id=None):
        """Evaluations that were neither true nor false, by reason: of one filter, or of all."""
        cdef Root root
        cdef int i
        counts = {reason: 0 for reason in Reason if reason not in (Reason.KNOWN, Reason.NO_ROWS)}
        roots = [self._root(filter_id)] if filter_id is not None else [
            *self._within.roots.values(), *self._across.roots.values()
        ]
        for root in roots:
            for reason in counts:
                i = reason
                counts[reason] += root.unknown[i]
        return counts

    @property
    def state_bytes(self):
        """Bytes that all filters take together."""
        cdef Group within = self._within
        return within.runner.size + self._across.runner.size + (
            within.checkpoints.size if within.checkpoints is not None else 0
        )

    @property
    def step_count(self):
        """Steps computed, each for all filters that need it."""
        return len(self._within.runner.cells) + len(self._across.runner.cells)

    def counters(self):
        """What happened since the start, by name."""
        cdef Group within = self._within
        across = self._across.teller.counters()
        return {
            **{name: count + across[name] for name, count in within.teller.counters().items()},
            "refused": self._refused,
            "started_anew": within.runner.rerun_count,
            "compared_anew": self._across.runner.rerun_count,
            "checkpoints_left_out": within.checkpoints_left_out(),
        }
