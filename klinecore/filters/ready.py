"""Filters that are ready to use: what traders look for most, each with the interval it is for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from klinecore.filters.evaluation import Mode

__all__ = ["READY", "ReadyFilter"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ReadyFilter:
    """A filter's text with what it is for, and how it is meant to fire.

    ``cooldown`` is a number of klines. Other intervals that ``text`` names are read as well.
    """

    name: str
    title: str
    description: str
    category: Literal["momentum", "reversal", "trend", "volume", "volatility", "pattern"]
    text: str
    interval: str
    mode: Mode = "edge"
    cooldown: int = 0


_READY = (
    ReadyFilter(
        name="rsi_oversold_bounce",
        title="RSI oversold bounce",
        description="The RSI comes back above 30 with a rising kline.",
        category="reversal",
        text="crosses_above(rsi(14), 30) and close > open",
        interval="15m",
    ),
    ReadyFilter(
        name="volume_spike",
        title="Volume spike",
        description="Three times the mean volume of the 20 klines before, and a higher close.",
        category="volume",
        text="volume > 3 * sma(volume, 20)[1] and close > close[1]",
        interval="5m",
        cooldown=5,
    ),
    ReadyFilter(
        name="golden_cross",
        title="Golden cross",
        description="The mean of 50 closes crosses above that of 200.",
        category="trend",
        text="crosses_above(sma(50), sma(200))",
        interval="15m",
    ),
    ReadyFilter(
        name="macd_divergence",
        title="MACD divergence",
        description="A lower low of the close with a higher one of the MACD line.",
        category="reversal",
        text="divergence(close, macd(12, 26, 9).line) == 1",
        interval="15m",
    ),
    ReadyFilter(
        name="bb_squeeze_exit",
        title="Bollinger squeeze exit",
        description="The close leaves the upper band soon after the narrowest band of 120 klines.",
        category="volatility",
        text=(
            "any_of(bb(20, 2).width <= lowest(bb(20, 2).width, 120) * 1.05, 10) "
            "and crosses_above(close, bb(20, 2).upper)"
        ),
        interval="15m",
    ),
    ReadyFilter(
        name="multi_interval_momentum",
        title="Momentum on several intervals",
        description="Above the average on 1h, strong on 15m, and the MACD turns up on 5m.",
        category="momentum",
        text=(
            '(close > ema(50)) @ "1h" and rsi(14) @ "15m" > 55 '
            "and crosses_above(macd(12, 26, 9).line, macd(12, 26, 9).signal)"
        ),
        interval="5m",
    ),
    ReadyFilter(
        name="market_structure_break",
        title="Market structure break",
        description="The close passes the newest confirmed swing high on more than usual volume.",
        category="trend",
        text="crosses_above(close, pivot_high(5, 5)) and volume > sma(volume, 20)",
        interval="15m",
    ),
    ReadyFilter(
        name="dip_in_uptrend",
        title="Dip in an uptrend",
        description="The RSI is below 30 while the close is above the mean of 200.",
        category="reversal",
        text="rsi(14) < 30 and close > sma(200)",
        interval="5m",
    ),
    ReadyFilter(
        name="average_cross_with_volume",
        title="Average cross with volume",
        description="The fast average crosses above the slow one on twice the usual volume.",
        category="trend",
        text="crosses_above(ema(12), ema(26)) and volume > 2 * sma(volume, 20)",
        interval="5m",
    ),
    ReadyFilter(
        name="hourly_oversold_turn",
        title="Oversold on the hour, rising now",
        description="The RSI of the hour is below 30 and the close is above the one before.",
        category="reversal",
        text='rsi(14) @ "1h" < 30 and close > close[1]',
        interval="5m",
        cooldown=12,
    ),
    ReadyFilter(
        name="macd_turns_up",
        title="MACD turns up",
        description="The MACD's histogram becomes positive.",
        category="momentum",
        text="macd(12, 26, 9).hist > 0 and macd(12, 26, 9).hist[1] <= 0",
        interval="15m",
    ),
    ReadyFilter(
        name="stochastic_mid_range",
        title="Stochastic in mid range",
        description="The slow stochastic is neither overbought nor oversold.",
        category="momentum",
        text="30 < stoch(14, 3, 3).k < 70",
        interval="15m",
    ),
    ReadyFilter(
        name="bb_squeeze",
        title="Bollinger squeeze",
        description="The bands are nearly as narrow as they were in 120 klines.",
        category="volatility",
        text="bb(20, 2).width < lowest(bb(20, 2).width, 120) * 1.05",
        interval="15m",
    ),
    ReadyFilter(
        name="liquid_breakout",
        title="Breakout of a liquid symbol",
        description="A close above the highest high of 20, with 5 million traded in 24 hours.",
        category="trend",
        text="close > highest(high, 20)[1] and ticker.quote_volume > 5000000",
        interval="15m",
    ),
    ReadyFilter(
        name="strongest_of_the_day",
        title="Strongest of the day",
        description="Among the three symbols that rose most in 24 hours.",
        category="momentum",
        text='top(change(24) @ "1h", 3)',
        interval="15m",
    ),
    ReadyFilter(
        name="lately_oversold",
        title="Lately oversold",
        description="The RSI was below 30 at least once in the last 5 klines.",
        category="reversal",
        text="any_of(rsi(14) < 30, 5)",
        interval="15m",
    ),
    ReadyFilter(
        name="rsi_divergence",
        title="RSI divergence",
        description="A lower low of the close with a higher one of the RSI.",
        category="reversal",
        text="divergence(close, rsi(14)) == 1",
        interval="15m",
    ),
    ReadyFilter(
        name="engulfing_dip",
        title="Bullish engulfing in a dip",
        description="A rising body engulfs the falling one before it while the RSI is below 40.",
        category="pattern",
        text="engulfing > 0 and rsi(14) < 40",
        interval="5m",
    ),
    ReadyFilter(
        name="hammer_low",
        title="Hammer at the low",
        description="A hammer whose low is the lowest of 20 klines.",
        category="pattern",
        text="hammer and low <= lowest(low, 20)",
        interval="5m",
    ),
    ReadyFilter(
        name="morning_star_turn",
        title="Morning star",
        description="Three klines that turn a fall, where trading never stops and gaps are rare.",
        category="pattern",
        text='morning_star(gaps="near")',
        interval="15m",
    ),
    ReadyFilter(
        name="volume_node_reclaimed",
        title="Volume node reclaimed",
        description="The close rises above a price at which much was traded, by at most 0.5 %.",
        category="volume",
        text=(
            "close[1] < volume_nodes().below and close > open "
            "and close < volume_nodes().below * 1.005"
        ),
        interval="15m",
    ),
    ReadyFilter(
        name="vwap_band_return",
        title="Return into the VWAP bands",
        description="The close comes back above the day's lower band; the bands are 1 % apart.",
        category="reversal",
        text=(
            'crosses_above(close, vwap(2, anchor="day").lower) '
            'and vwap(2, anchor="day").upper > vwap(2, anchor="day").lower * 1.01'
        ),
        interval="5m",
    ),
    ReadyFilter(
        name="broad_rise",
        title="Broad rise",
        description="More than 80 percent of all symbols are above their mean of 50.",
        category="momentum",
        text="breadth(close > sma(50)) > 80 and close > sma(50)",
        interval="15m",
    ),
)

#: By name.
READY: dict[str, ReadyFilter] = {ready.name: ready for ready in _READY}
