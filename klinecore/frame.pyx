"""Tables of klines and results, and what has one: for pandas, polars, pyarrow and others."""

cimport cython

from klinecore.arrow cimport Column, Columns, array_capsule, schema_capsule, stream_capsule

import importlib

from klinecore.arrow import TIME
from klinecore.markup import frame_table

__all__ = ["Frame", "Framed"]


@cython.auto_pickle(False)      # it has nothing; a subclass keeps the pickling it would have
cdef class Framed:
    """What has rows: ``frame()`` gives them as a table, and other libraries read it as one.

    ``polars.DataFrame(x)``, ``pyarrow.table(x)``, ``duckdb`` and whatever else speaks Arrow's
    PyCapsule protocol take the object itself.
    """

    def frame(self):
        """The rows of this moment as a ``Frame``."""
        raise NotImplementedError(f"{type(self).__name__} has no rows")

    def to_arrow(self):
        """A ``pyarrow.Table`` over the memory of ``frame()``, which lives as long as it does.

        Raises ImportError: pyarrow is not installed.
        """
        return _library("pyarrow", "to_arrow").table(self.frame())

    def to_polars(self):
        """A ``polars.DataFrame`` over the memory of ``frame()``; polars copies texts alone.

        Raises ImportError: polars is not installed.
        """
        return _library("polars", "to_polars").DataFrame(self.frame())

    def to_pandas(self):
        """A ``pandas.DataFrame``, a copy to write to; unknown numbers are NaN, times NaT.

        Its index is the frame's ``index`` column. pyarrow is not needed.

        Raises ImportError: pandas is not installed.
        """
        pandas = _library("pandas", "to_pandas")
        cdef Frame frame = self.frame()
        columns = {}
        for name in frame.names:
            values = frame[name]
            if isinstance(values, tuple):
                values = list(values)
            elif values.dtype == TIME:
                values = pandas.DatetimeIndex(values.copy(), tz="UTC")
            columns[name] = values
        made = pandas.DataFrame(columns, copy=True)
        return made if frame.index is None else made.set_index(frame.index)

    def _title(self):
        return repr(self)

    def _repr_html_(self):
        return frame_table(self._title(), self.frame())

    def __arrow_c_schema__(self):
        """Columns and their types, as an ``arrow_schema`` capsule."""
        return schema_capsule((<Frame?>self.frame())._columns)

    def __arrow_c_array__(self, requested_schema=None):
        """The rows as one struct array: ``arrow_schema`` and ``arrow_array`` capsules.

        ``requested_schema`` changes nothing: the types are the frame's own.
        """
        cdef Columns columns = (<Frame?>self.frame())._columns
        return schema_capsule(columns), array_capsule(columns)

    def __arrow_c_stream__(self, requested_schema=None):
        """The rows as a stream of one batch: an ``arrow_array_stream`` capsule.

        ``requested_schema`` changes nothing: the types are the frame's own.
        """
        return stream_capsule((<Frame?>self.frame())._columns)


@cython.auto_pickle(False)
@cython.final
cdef class Frame(Framed):
    """A table that does not change: named columns of one length.

    ======================  ====================  ============================================
    column                  Arrow type            null
    ======================  ====================  ============================================
    float64 array           double                where it is NaN, which stays below the null
    int64 array             int64                 never
    datetime64[ms] array    timestamp[ms, UTC]    where it is NaT
    texts, list or tuple    utf8                  where it is None
    ======================  ====================  ============================================

    Contiguous arrays are not copied: whoever writes to them later changes the frame and all that
    was made from it. Libraries read the frame's memory in place. It is kept for as long as the
    frame, or anything made from it, lives; each of them may go first, on any thread.

    Parameters
    ----------
    columns : mapping of names to arrays or texts
    index : str, optional
        The column that is the index in pandas.

    Raises
    ------
    ValueError: columns of different lengths, another dtype, a name with a NUL.
    """

    cdef readonly tuple names
    cdef readonly object index
    cdef Columns _columns

    def __cinit__(self, columns, *, index=None):
        if index is not None and index not in columns:
            raise ValueError(f"index {index!r} is no column; there are {', '.join(columns)}")
        self.names = tuple(columns)
        self.index = index
        self._columns = Columns(columns)

    def __len__(self):
        return self._columns.length

    def __getitem__(self, name):
        """A column: a read-only array, texts as a tuple. Raises KeyError."""
        return (<Column>self._columns.by_name[name]).values

    def __repr__(self):
        return f"<Frame {len(self)} rows: {', '.join(self.names)}>"

    def frame(self):
        """Itself."""
        return self


cdef _library(name, method):
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        raise ImportError(
            f"{method} needs {name}: pip install 'klinecore[frames]'", name=name
        ) from error
