from collections.abc import Mapping, Sequence
from typing import Any, final

from numpy.typing import NDArray

__all__ = ["Frame", "Framed"]

class Framed:
    """What has rows: ``frame()`` gives them as a table, and other libraries read it as one.

    ``polars.DataFrame(x)``, ``pyarrow.table(x)``, ``duckdb`` and whatever else speaks Arrow's
    PyCapsule protocol take the object itself.
    """

    def frame(self) -> Frame:
        """The rows of this moment as a ``Frame``."""
    def to_arrow(self) -> Any:
        """A ``pyarrow.Table`` over the memory of ``frame()``, which lives as long as it does.

        Raises ImportError: pyarrow is not installed.
        """
    def to_polars(self) -> Any:
        """A ``polars.DataFrame`` over the memory of ``frame()``; polars copies texts alone.

        Raises ImportError: polars is not installed.
        """
    def to_pandas(self) -> Any:
        """A ``pandas.DataFrame``, a copy to write to; unknown numbers are NaN, times NaT.

        Its index is the frame's ``index`` column. pyarrow is not needed.

        Raises ImportError: pandas is not installed.
        """
    def __arrow_c_schema__(self) -> object:
        """Columns and their types, as an ``arrow_schema`` capsule."""
    def __arrow_c_array__(self, requested_schema: object | None = None) -> tuple[object, object]:
        """The rows as one struct array: ``arrow_schema`` and ``arrow_array`` capsules.

        ``requested_schema`` changes nothing: the types are the frame's own.
        """
    def __arrow_c_stream__(self, requested_schema: object | None = None) -> object:
        """The rows as a stream of one batch: an ``arrow_array_stream`` capsule.

        ``requested_schema`` changes nothing: the types are the frame's own.
        """

@final
class Frame(Framed):
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

    def __new__(
        cls,
        columns: Mapping[str, NDArray[Any] | Sequence[str | None]],
        *,
        index: str | None = None,
    ) -> Frame: ...
    @property
    def names(self) -> tuple[str, ...]:
        """Of the columns, in their order."""
    @property
    def index(self) -> str | None:
        """The column that is the index in pandas."""
    def __len__(self) -> int: ...
    def __getitem__(self, name: str, /) -> Any:
        """A column: a read-only array, texts as a tuple. Raises KeyError."""
