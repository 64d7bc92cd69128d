import numpy as np
from numpy.typing import NDArray

__all__ = ["latest", "logarithm", "places", "silences", "spaced"]

def latest(
    own_ms: NDArray[np.int64],
    own_offsets: NDArray[np.int64],
    other_ms: NDArray[np.int64],
    other_offsets: NDArray[np.int64],
) -> NDArray[np.int64]: ...
def logarithm(values: NDArray[np.float64]) -> NDArray[np.float64]: ...
def silences(
    values: NDArray[np.float64],
    fed: NDArray[np.uint8],
    starts: NDArray[np.int64],
    cold: NDArray[np.uint8],
    lookback: int,
    recursive: bool,
) -> NDArray[np.uint8]: ...
def spaced(
    rows: NDArray[np.int64], symbols: NDArray[np.int32], apart: int
) -> NDArray[np.bool_]: ...
def places(
    values: NDArray[np.float64], moments: NDArray[np.int64], unknown: NDArray[np.uint8]
) -> NDArray[np.float64]: ...
