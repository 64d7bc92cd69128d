from typing import Any, Final

import numpy as np

__all__ = ["TIME"]

TIME: Final[np.dtype[Any]]
