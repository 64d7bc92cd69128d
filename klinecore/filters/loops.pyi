import numpy as np
from numpy.typing import NDArray

__all__ = ["logarithm", "spaced"]

def logarithm(values: NDArray[np.float64]) -> NDArray[np.float64]: ...
def spaced(
    rows: NDArray[np.int64], symbols: NDArray[np.int32], apart: int
) -> NDArray[np.bool_]: ...
