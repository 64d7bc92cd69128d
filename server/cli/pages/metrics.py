"""The tables of docs/operations.md: every metric, what it means and what is normal."""

from __future__ import annotations

from collections.abc import Iterable

from server.cli.pages.notes import NOTES
from server.cli.pages.text import table
from server.errors import ServerError
from server.metrics import Metric

__all__ = ["metrics_tables"]


def metrics_tables(metrics: Iterable[Metric]) -> str:
    """A table for each section of the notes. Raises ServerError: notes and metrics differ."""
    found = {metric.name: metric for metric in metrics}
    noted = [name for notes in NOTES.values() for name in notes]
    if set(noted) != set(found):
        raise ServerError(
            f"server/cli/pages/notes.py: without a note {sorted(set(found) - set(noted))}, "
            f"without a metric {sorted(set(noted) - set(found))}"
        )
    parts = []
    for title, notes in NOTES.items():
        rows = [
            (f"`{_shown(found[name])}`", found[name].kind, found[name].help_text, normal)
            for name, normal in notes.items()
        ]
        parts.append(f"### {title}\n\n" + table(("metric", "type", "meaning", "normal"), rows))
    return "\n".join(parts)


def _shown(metric: Metric) -> str:
    return metric.name + (f"{{{', '.join(metric.labels)}}}" if metric.labels else "")
