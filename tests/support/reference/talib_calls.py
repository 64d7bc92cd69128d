"""The TA-Lib call that each indicator of the catalog answers to."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import talib
from reference.prices import Klines, Values

Outputs = tuple[Values, ...]


def _several(outputs: object) -> Outputs:
    made = outputs if isinstance(outputs, tuple | list) else (outputs,)
    return tuple(np.asarray(output, dtype=float) for output in made)


def _single(function: Callable[..., object]) -> Callable[[Klines, tuple[object, ...]], Outputs]:
    return lambda k, p: _several(function(k.close, *p))


def _hlc(function: Callable[..., object]) -> Callable[[Klines, tuple[object, ...]], Outputs]:
    """High, low, close and the numbers; ``compat`` is ours."""
    return lambda k, p: _several(
        function(k.high, k.low, k.close, *(v for v in p if not isinstance(v, str)))
    )


def _bb(k: Klines, p: tuple[object, ...]) -> Outputs:
    upper, middle, lower = talib.BBANDS(k.close, p[0], p[1], p[1])
    return upper, middle, lower, (upper - lower) / middle


def _aroon(k: Klines, p: tuple[object, ...]) -> Outputs:
    down, up = _several(talib.AROON(k.high, k.low, *p))
    return up, down, up - down


def _pattern(
    function: Callable[..., object],
) -> Callable[[Klines, tuple[object, ...]], Outputs]:
    """Ours is a condition: 1 for its 100 or -100. Words are ours."""

    def call(k: Klines, p: tuple[object, ...]) -> Outputs:
        numbers = (v for v in p if not isinstance(v, str))
        (found,) = _several(function(k.open, k.high, k.low, k.close, *numbers))
        return (np.abs(found) / 100,)

    return call


#: By name: klines and all parameters in the catalog's order, to outputs in the catalog's order.
CALLS: dict[str, Callable[[Klines, tuple], Outputs]] = {
    "sma": _single(talib.SMA),
    "ema": lambda k, p: _several(talib.EMA(k.close, p[0])),
    "rma": _single(talib.RMA),
    "wma": _single(talib.WMA),
    "hma": _single(talib.HMA),
    "dema": _single(talib.DEMA),
    "tema": _single(talib.TEMA),
    "t3": _single(talib.T3),
    "rsi": lambda k, p: _several(talib.RSI(k.close, p[0])),
    "macd": lambda k, p: _several(talib.MACD(k.close, *p[:3])),
    "stoch": lambda k, p: _several(talib.STOCH(k.high, k.low, k.close, p[0], p[1], 0, p[2], 0)),
    "stochf": lambda k, p: _several(talib.STOCHF(k.high, k.low, k.close, p[0], p[1], 0)),
    "stochrsi": lambda k, p: _several(talib.STOCHRSI(k.close, p[0], p[1], p[3], 0)),
    "cci": _hlc(talib.CCI),
    "roc": _single(talib.ROC),
    "mom": _single(talib.MOM),
    "willr": _hlc(talib.WILLR),
    "ao": lambda k, p: _several(talib.AO(k.high, k.low, *p)),
    "bb": _bb,
    "atr": _hlc(talib.ATR),
    "natr": _hlc(talib.NATR),
    "keltner": _hlc(talib.KC),
    "donchian": lambda k, p: _several(talib.DONCHIAN(k.high, k.low, *p)),
    "adx": _hlc(talib.ADX),
    "plus_di": _hlc(talib.PLUS_DI),
    "minus_di": _hlc(talib.MINUS_DI),
    "supertrend": _hlc(talib.SUPERTREND),
    "sar": lambda k, p: _several(talib.SAR(k.high, k.low, *p)),
    "heikin_ashi": lambda k, p: _several(talib.HA(k.open, k.high, k.low, k.close)),
    "mfi": lambda k, p: _several(talib.MFI(k.high, k.low, k.close, k.volume, *p)),
    "obv": lambda k, p: _several(talib.OBV(k.close, k.volume)),
    # It has no bands.
    "vwap": lambda k, p: _several(talib.VWAP(k.high, k.low, k.close, k.volume)),
    "pvi": lambda k, p: _several(talib.PVI(k.close, k.volume)),
    "highest": _single(talib.MAX),
    "lowest": _single(talib.MIN),
    "correl": lambda k, p: _several(talib.CORREL(k.close, k.low, *p)),
    "hl2": lambda k, p: _several(talib.MEDPRICE(k.high, k.low)),
    "hlc3": lambda k, p: _several(talib.TYPPRICE(k.high, k.low, k.close)),
    "ohlc4": lambda k, p: _several(talib.AVGPRICE(k.open, k.high, k.low, k.close)),
    "engulfing": lambda k, p: _several(talib.CDLENGULFING(k.open, k.high, k.low, k.close)),
    "harami": lambda k, p: _several(talib.CDLHARAMI(k.open, k.high, k.low, k.close)),
    "doji": _pattern(talib.CDLDOJI),
    "hammer": _pattern(talib.CDLHAMMER),
    "hanging_man": _pattern(talib.CDLHANGINGMAN),
    "inverted_hammer": _pattern(talib.CDLINVERTEDHAMMER),
    "shooting_star": _pattern(talib.CDLSHOOTINGSTAR),
    "piercing": _pattern(talib.CDLPIERCING),
    "three_white_soldiers": _pattern(talib.CDL3WHITESOLDIERS),
    "three_black_crows": _pattern(talib.CDL3BLACKCROWS),
    "morning_star": _pattern(talib.CDLMORNINGSTAR),
    "evening_star": _pattern(talib.CDLEVENINGSTAR),
    "dark_cloud_cover": _pattern(talib.CDLDARKCLOUDCOVER),
    "kama": _single(talib.KAMA),
    "linreg": _single(talib.LINEARREG),
    "linreg_slope": _single(talib.LINEARREG_SLOPE),
    "ppo": _single(talib.PPO),
    "ultosc": lambda k, p: _several(talib.ULTOSC(k.high, k.low, k.close, *p)),
    "aroon": _aroon,
    "cmf": lambda k, p: _several(talib.CMF(k.high, k.low, k.close, k.volume, *p)),
}
