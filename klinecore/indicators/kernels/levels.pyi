from klinecore.indicators.kernel import Kernel

__all__ = ["KERNELS"]

KERNELS: dict[str, Kernel]
