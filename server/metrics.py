"""Counters, gauges and histograms in Prometheus' text format 0.0.4; no dependency, no thread."""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from typing import TypeVar

__all__ = ["LATENCY_BUCKETS_S", "Counter", "Gauge", "Histogram", "Metric", "Registry"]

#: Upper bounds, s; the exposition's ``+Inf`` comes on top.
LATENCY_BUCKETS_S = (0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5)

#: Label sets one metric may have; further ones are folded into the last label value "other".
LABEL_SETS_MAX = 256


class Metric:
    """Name, help and one value per set of label values."""

    kind = ""

    def __init__(self, name: str, help_text: str, labels: Sequence[str]) -> None:
        self.name = name
        self.help_text = help_text
        self.labels = tuple(labels)

    def _key(self, values: tuple[str, ...], known: Collection[tuple[str, ...]]) -> tuple[str, ...]:
        if len(values) != len(self.labels):
            raise ValueError(f"{self.name} has the labels {self.labels}, received {values}")
        if len(known) >= LABEL_SETS_MAX and values not in known:
            return ("other",) * len(values)
        return values

    def samples(self) -> Iterable[str]:
        raise NotImplementedError


class Counter(Metric):
    """A count that only grows; starts at 0 when it has no labels."""

    kind = "counter"

    def __init__(self, name: str, help_text: str, labels: Sequence[str] = ()) -> None:
        super().__init__(name, help_text, labels)
        self._values: dict[tuple[str, ...], float] = {} if labels else {(): 0.0}
        self._functions: dict[tuple[str, ...], Callable[[], float]] = {}

    def read(self, function: Callable[[], float], *values: str) -> None:
        """Ask ``function`` at each scrape: for what something else counts already."""
        self._functions[self._key(values, self._functions)] = function

    def inc(self, *values: str, by: float = 1.0) -> None:
        """Add ``by``, at least 0, to the count of these label values."""
        key = self._key(values, self._values)
        self._values[key] = self._values.get(key, 0.0) + by

    def begin(self, *values: str) -> None:
        """Show 0 before the first: what reads us sees no growth in a count that appears."""
        self.inc(*values, by=0.0)

    def value(self, *values: str) -> float:
        """The count of these label values; 0 before the first."""
        return self._values.get(values, 0.0)

    def samples(self) -> Iterable[str]:
        values = self._values | {key: function() for key, function in self._functions.items()}
        for key, value in sorted(values.items()):
            yield f"{self.name}{_label_text(self.labels, key)} {_number(value)}"


class Gauge(Metric):
    """A value that goes up and down, set or read from a function at each scrape."""

    kind = "gauge"

    def __init__(self, name: str, help_text: str, labels: Sequence[str] = ()) -> None:
        super().__init__(name, help_text, labels)
        self._values: dict[tuple[str, ...], float | Callable[[], float]] = {}

    def set(self, value: float, *values: str) -> None:
        self._values[self._key(values, self._values)] = value

    def read(self, function: Callable[[], float], *values: str) -> None:
        """Ask ``function`` at each scrape."""
        self._values[self._key(values, self._values)] = function

    def samples(self) -> Iterable[str]:
        for key, value in sorted(self._values.items(), key=lambda item: item[0]):
            number = value() if callable(value) else value
            yield f"{self.name}{_label_text(self.labels, key)} {_number(number)}"


class Histogram(Metric):
    """Observations by upper bound, with their sum and count."""

    kind = "histogram"

    def __init__(
        self,
        name: str,
        help_text: str,
        labels: Sequence[str] = (),
        buckets: Sequence[float] = LATENCY_BUCKETS_S,
    ) -> None:
        super().__init__(name, help_text, labels)
        self.bounds = tuple(buckets)
        self._values: dict[tuple[str, ...], list[float]] = {}
        if not labels:
            self._values[()] = [0.0] * (len(self.bounds) + 2)

    def observe(self, amount: float, *values: str, count: int = 1) -> None:
        """Note ``count`` things that took as long."""
        key = self._key(values, self._values)
        counts = self._values.get(key)
        if counts is None:
            counts = self._values[key] = [0.0] * (len(self.bounds) + 2)
        counts[bisect_left(self.bounds, amount)] += count
        counts[-1] += amount * count

    def totals(self) -> tuple[list[int], float]:
        """Of all label values together: how many in each bucket, the last one beyond all bounds,
        and the sum of all."""
        columns = zip(*self._values.values(), strict=True)
        sums = [sum(column) for column in columns] or [0.0] * (len(self.bounds) + 2)
        return [int(count) for count in sums[:-1]], sums[-1]

    def samples(self) -> Iterable[str]:
        for key, counts in sorted(self._values.items()):
            total = 0.0
            for bound, count in zip((*self.bounds, float("inf")), counts, strict=False):
                total += count
                labels = _label_text((*self.labels, "le"), (*key, _number(bound)))
                yield f"{self.name}_bucket{labels} {_number(total)}"
            labels = _label_text(self.labels, key)
            yield f"{self.name}_sum{labels} {_number(counts[-1])}"
            yield f"{self.name}_count{labels} {_number(total)}"


Kind = TypeVar("Kind", bound=Metric)


class Registry:
    """All metrics of one process; asking twice for a name gives the same metric."""

    def __init__(self) -> None:
        self._metrics: dict[str, Metric] = {}
        self._collectors: list[Callable[[], None]] = []

    def __iter__(self) -> Iterator[Metric]:
        """All metrics, in the order of their first use."""
        return iter(self._metrics.values())

    def find(self, name: str) -> Metric | None:
        """The metric of that name, if there is one yet."""
        return self._metrics.get(name)

    def counter(self, name: str, help_text: str, labels: Sequence[str] = ()) -> Counter:
        return self._add(Counter(name, help_text, labels))

    def gauge(self, name: str, help_text: str, labels: Sequence[str] = ()) -> Gauge:
        return self._add(Gauge(name, help_text, labels))

    def histogram(
        self,
        name: str,
        help_text: str,
        labels: Sequence[str] = (),
        buckets: Sequence[float] = LATENCY_BUCKETS_S,
    ) -> Histogram:
        return self._add(Histogram(name, help_text, labels, buckets))

    def before_render(self, function: Callable[[], None]) -> None:
        """Call ``function`` before each scrape, to set gauges from what others count."""
        self._collectors.append(function)

    def render(self) -> bytes:
        """The exposition."""
        for function in self._collectors:
            function()
        lines = []
        for metric in self._metrics.values():
            lines.append(f"# HELP {metric.name} {_escape_help(metric.help_text)}")
            lines.append(f"# TYPE {metric.name} {metric.kind}")
            lines.extend(metric.samples())
        return ("\n".join(lines) + "\n").encode()

    def _add(self, metric: Kind) -> Kind:
        known = self._metrics.setdefault(metric.name, metric)
        if type(known) is not type(metric) or known.labels != metric.labels:
            raise ValueError(f"{metric.name} is registered already, as another metric")
        return known


def _number(value: float) -> str:
    if math.isnan(value):
        return "NaN"
    if math.isinf(value):
        return "+Inf" if value > 0 else "-Inf"
    return str(int(value)) if value == int(value) and abs(value) < 1e15 else repr(float(value))


def _escape_help(text: str) -> str:
    return text.replace("\\", "\\\\").replace("\n", "\\n")


def _label_text(names: Sequence[str], values: Sequence[str]) -> str:
    if not names:
        return ""
    pairs = ",".join(
        '{}="{}"'.format(name, value.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n"))
        for name, value in zip(names, values, strict=True)
    )
    return "{" + pairs + "}"
