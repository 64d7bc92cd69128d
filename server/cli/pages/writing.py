"""Which pages there are, what they should say, and whether they do."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from server.api.application import create_api
from server.api.state import ServerState
from server.cli import main
from server.cli.pages.commands import commands_page
from server.cli.pages.metrics import metrics_tables
from server.cli.pages.routes import routes_page
from server.cli.pages.settings import settings_page
from server.cli.pages.text import replace_part
from server.clock import SystemClock
from server.metrics import Metric, Registry
from server.settings import Settings
from server.signals.hub import Hub

__all__ = ["DOCS", "differing", "written"]

DOCS = Path(__file__).parents[3] / "docs"


def written(metrics: Iterable[Metric]) -> dict[Path, str]:
    """Each page, and what it should say. Raises ServerError: see ``metrics_tables``."""
    state = ServerState(Settings(), SystemClock(), Registry(), Hub())
    operations = DOCS / "operations.md"
    return {
        DOCS / "settings.md": settings_page(),
        DOCS / "cli.md": commands_page(main),
        DOCS / "http.md": routes_page(create_api(state).routes),
        operations: replace_part(
            operations.read_text(encoding="utf-8"), "metrics", metrics_tables(metrics)
        ),
    }


def differing(pages: dict[Path, str]) -> list[Path]:
    """Those that say something else."""
    return [
        path
        for path, text in pages.items()
        if not path.exists() or path.read_text(encoding="utf-8") != text
    ]
