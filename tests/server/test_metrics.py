"""Metrics: what the registry prints is what a Prometheus server reads."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from server import metrics as metrics_module
from server.metrics import Registry


def samples(registry: Registry) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    """What the reference parser makes of the exposition."""
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(registry.render().decode())
        for sample in family.samples
    }


def test_counters_start_at_zero() -> None:
    registry = Registry()
    registry.counter("kline_rows_total", "Rows.")
    assert samples(registry) == {("kline_rows_total", ()): 0.0}


def test_counter_adds_up_by_label_values() -> None:
    registry = Registry()
    counter = registry.counter("kline_frames_total", "Frames.", ["market", "type"])
    counter.inc("spot", "kline")
    counter.inc("spot", "kline", by=2)
    counter.inc("um", "kline")
    assert samples(registry) == {
        ("kline_frames_total", (("market", "spot"), ("type", "kline"))): 3.0,
        ("kline_frames_total", (("market", "um"), ("type", "kline"))): 1.0,
    }
    assert (counter.value("spot", "kline"), counter.value("spot", "none")) == (3.0, 0.0)


def test_counter_and_gauge_read_functions_at_each_scrape() -> None:
    registry = Registry()
    seen = [1.0]
    registry.counter("a_total", "Counted elsewhere.").read(lambda: seen[0])
    registry.gauge("b", "Measured elsewhere.", ["x"]).read(lambda: -seen[0], "y")
    assert samples(registry) == {("a_total", ()): 1.0, ("b", (("x", "y"),)): -1.0}
    seen[0] = 5.0
    assert samples(registry)["a_total", ()] == 5.0


def test_histogram_buckets_are_cumulative_with_sum_and_count() -> None:
    registry = Registry()
    histogram = registry.histogram("t_seconds", "Time.", ["route"], buckets=(0.1, 1.0))
    for amount in (0.05, 0.1, 0.5, 7.0):
        histogram.observe(amount, "/")
    found = samples(registry)
    assert [
        found["t_seconds_bucket", (("le", bound), ("route", "/"))] for bound in ("0.1", "1", "+Inf")
    ] == [2.0, 3.0, 4.0]
    assert found["t_seconds_count", (("route", "/"),)] == 4.0
    assert found["t_seconds_sum", (("route", "/"),)] == pytest.approx(7.65)


@given(st.text(), st.floats())
def test_any_label_value_and_number_survive(label: str, value: float) -> None:
    registry = Registry()
    registry.gauge("g", 'Help with \\ and\nnewline and "quotes".', ["name"]).set(value, label)
    (found,) = samples(registry).values()
    assert found == value or (math.isnan(found) and math.isnan(value))
    family = next(iter(text_string_to_metric_families(registry.render().decode())))
    assert family.samples[0].labels == {"name": label}


def test_label_sets_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metrics_module, "LABEL_SETS_MAX", 3)
    registry = Registry()
    counter = registry.counter("c_total", "C.", ["name"])
    for index in range(10):
        counter.inc(str(index))
    counter.inc("0")
    assert samples(registry) == {
        ("c_total", (("name", "0"),)): 2.0,
        ("c_total", (("name", "1"),)): 1.0,
        ("c_total", (("name", "2"),)): 1.0,
        ("c_total", (("name", "other"),)): 7.0,
    }


def test_wrong_number_of_labels_is_an_error() -> None:
    counter = Registry().counter("c_total", "C.", ["name"])
    with pytest.raises(ValueError, match="has the labels"):
        counter.inc()


def test_asking_twice_gives_the_same_metric_unless_it_differs() -> None:
    registry = Registry()
    assert registry.counter("c_total", "C.") is registry.counter("c_total", "C.")
    with pytest.raises(ValueError, match="registered already"):
        registry.gauge("c_total", "C.")
    with pytest.raises(ValueError, match="registered already"):
        registry.counter("c_total", "C.", ["x"])


def test_collectors_run_before_each_scrape() -> None:
    registry = Registry()
    gauge = registry.gauge("g", "G.")
    registry.before_render(lambda: gauge.set(4))
    assert samples(registry) == {("g", ()): 4.0}
