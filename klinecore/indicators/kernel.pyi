from collections.abc import Callable
from typing import Any, Generic, TypeVar, final

import numpy as np
from numpy.typing import NDArray
from typing_extensions import disjoint_base

__all__ = ["Kernel", "Stream", "Stream1", "Stream2", "Stream3", "Stream4", "Stream5"]

_Output = TypeVar("_Output", covariant=True)

@final
class Kernel:
    def __init__(self, *args: Any, **kwargs: Any) -> None: ...
    def bind(self, entry: Any, result: Callable[..., Any] | None = None) -> Kernel: ...
    def batch(
        self, columns: tuple[Any, ...], parameters: tuple[Any, ...], out: Any = None
    ) -> Any: ...
    def stretches(
        self,
        columns: tuple[NDArray[np.float64], ...],
        starts: NDArray[np.int64],
        parameters: tuple[Any, ...],
    ) -> tuple[NDArray[np.float64], ...]: ...
    @property
    def name(self) -> str: ...
    @property
    def entry(self) -> Any: ...

@disjoint_base
class Stream(Generic[_Output]):
    def __init__(self, kernel: Kernel, parameters: tuple[Any, ...]) -> None: ...
    def __class_getitem__(cls, item: Any) -> Any: ...
    @property
    def kernel(self) -> Kernel: ...
    @property
    def parameters(self) -> tuple[Any, ...]: ...
    @property
    def lookback(self) -> int: ...
    @property
    def count(self) -> int: ...
    @property
    def value(self) -> _Output: ...
    @property
    def warm(self) -> bool: ...

class Stream1(Stream[_Output]):
    def update(self, value: float, /) -> _Output: ...
    def preview(self, value: float, /) -> _Output: ...

class Stream2(Stream[_Output]):
    def update(self, first: float, second: float, /) -> _Output: ...
    def preview(self, first: float, second: float, /) -> _Output: ...

class Stream3(Stream[_Output]):
    def update(self, first: float, second: float, third: float, /) -> _Output: ...
    def preview(self, first: float, second: float, third: float, /) -> _Output: ...

class Stream4(Stream[_Output]):
    def update(self, first: float, second: float, third: float, fourth: float, /) -> _Output: ...
    def preview(self, first: float, second: float, third: float, fourth: float, /) -> _Output: ...

class Stream5(Stream[_Output]):
    def update(
        self,
        first: float,
        second: float,
        third: float,
        fourth: float,
        open_time_ms: float = 0.0,
        /,
    ) -> _Output: ...
    def preview(
        self,
        first: float,
        second: float,
        third: float,
        fourth: float,
        open_time_ms: float = 0.0,
        /,
    ) -> _Output: ...
