"""Kernels by family; each is imported when it is first asked for."""

from __future__ import annotations

from importlib import import_module

from klinecore.indicators.catalog import CATALOG
from klinecore.indicators.kernel import Kernel

__all__ = ["kernel_of"]


def kernel_of(name: str) -> Kernel:
    """The kernel of an indicator.

    Raises ValueError: there is none of that name.
    """
    entry = CATALOG.get(name)
    if entry is None:
        raise ValueError(f"there is no indicator {name!r}; see klinecore.CATALOG")
    kernel: Kernel = import_module(f"{__name__}.{entry.family}").KERNELS[name]
    return kernel
