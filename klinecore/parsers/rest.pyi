from klinecore.kline import Kline
from klinecore.parsers.binance import Buffer

def parse_klines(body: Buffer) -> list[Kline]:
    """Parse a REST klines answer (array of 12-tuples); ``closed`` is True in every row.

    Raises ParseError: not such an array, or a number that cannot be kept exactly.
    """
