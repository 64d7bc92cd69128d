"""docs/alerts.md and docs/signals.md: the metrics they name are there."""

from __future__ import annotations

import re
from pathlib import Path


def test_every_metric_the_pages_name_is_one(root: Path) -> None:
    code = "".join(
        path.read_text(encoding="utf-8")
        for package in ("alerts", "api")
        for path in (root / "server" / package).glob("*.py")
    )
    for page in ("alerts.md", "signals.md"):
        text = (root / "docs" / page).read_text(encoding="utf-8")
        for name in re.findall(r"`((?:alerts|sse)_[a-z_]+)", text):
            assert f'"{name}"' in code, name
