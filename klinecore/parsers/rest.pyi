from klinecore.kline import Kline
from klinecore.parsers.binance import _Buffer

__all__ = ["parse_klines"]

def parse_klines(body: _Buffer) -> list[Kline]:
    """Parse a REST klines answer (array of 12-tuples); ``closed`` is True in every row.

    Raises ParseError: not such an array, or a number that cannot be kept exactly.
    """
