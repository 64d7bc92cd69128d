"""What filters would say if the forming row closed as it is; nothing is kept of it."""

cimport cython
from libc.stdint cimport int32_t, uint32_t
from libc.stdlib cimport calloc, free
from libc.string cimport memset

from klinecore.filters.cells cimport KEPT, Cell, Rows, bit, put_bit
from klinecore.filters.runner cimport Runner
from klinecore.filters.stages cimport Root, Stage
from klinecore.merge cimport ABSENT_BIT, SeriesMemory, series_close_time

__all__ = ["Forming"]


@cython.final
cdef class Forming:
    """What some filters of one interval would say if the forming row closed as it is."""

    def __cinit__(self, Runner runner, roots):
        cdef Stage stage
        self.roots = list(roots)
        self.stages = []
        interval = self.roots[0].step.stage.interval
        needed = {step.key for root in self.roots for step in root.step.walk()}
        for stage in runner.ordered:
            if stage.key.interval == interval and not stage.across:
                cells = [cell for cell in stage.cells if (<Cell>cell).key in needed]
                self.stages.append((stage, cells))
                self.cell_count += len(cells)
        self.kept = <double*>calloc(self.cell_count * KEPT, sizeof(double))
        if self.kept == NULL:
            raise MemoryError("no memory for filters of forming rows")

    def __dealloc__(self):
        free(self.kept)

    cdef list values(self, Runner runner, Py_ssize_t lane):
        """Of each root: true, false, or None while unknown; None in place of all without a row."""
        cdef Stage stage = self.stages[0][0]
        cdef const SeriesMemory* series = runner.series(stage, lane)
        cdef uint32_t end = series.header.start + series.header.count
        cdef double* kept = self.kept
        cdef Rows rows
        cdef Root root
        if not series.header.has_forming:
            return None
        for stage, _ in self.stages:
            # It must follow the row the steps stand at, or they do not know what is between.
            if (
                stage.fed[lane] < 0 or series.header.count == 0
                or stage.fed[lane] != series.open_time_ms[end - 1]
                or (
                    series.open_time_ms[end] > series_close_time(series, stage.fed[lane]) + 1
                    and not series.tags[end] & ABSENT_BIT
                )
            ):
                return [None] * len(self.roots)
        for stage, cells in self.stages:
            stage.lanes[0] = <int32_t>lane
            stage.count = 1
            stage.slots[lane] = end
            memset(stage.mask, 0, runner.places // 8)
            put_bit(stage.mask, lane, True)
            runner.describe(stage, &rows)
            rows.dense = False
            rows.commit = False
            for cell in cells:
                (<Cell>cell).keep(lane, kept)
                (<Cell>cell).run(&rows)
                kept += KEPT
        found = [
            bool(bit((<Root>root).cell.truth, lane)) if bit((<Root>root).cell.known, lane) else None
            for root in self.roots
        ]
        self.seen = [
            (<Root>root).part_values(lane) if value and (<Root>root).part_cells else ()
            for root, value in zip(self.roots, found, strict=True)
        ]
        kept = self.kept
        for _, cells in self.stages:
            for cell in cells:
                (<Cell>cell).put_back(lane, kept)
                kept += KEPT
        return found

    cdef list fires(self, Runner runner, Py_ssize_t lane):
        """The roots that would fire, each with the values of its parts."""
        cdef Root root
        cdef list found = []
        for i, value in enumerate(self.values(runner, lane) or ()):
            root = self.roots[i]
            if (
                value and (not root.edge or bit(root.armed, lane))
                and (root.quiet == NULL or root.quiet[lane] == 0)
            ):
                found.append((root, self.seen[i]))
        return found
