"""What docs/api.md promises by name exists under that name."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from server.api.auth import FAILURES_MAX, SUBPROTOCOL, SUBPROTOCOL_KEY_PREFIX
from server.settings import Settings


def test_the_page_names_settings_routes_and_subprotocols_that_exist(
    root: Path, server: Any
) -> None:
    page = (root / "docs" / "api.md").read_text()
    for name in re.findall(r"KLINE_(\w+)", page):
        assert name.lower() in Settings.__struct_fields__
    paths = {route.path for route in server.api.routes}
    assert {"/health", "/ready", "/openapi.json", "/ws"} <= paths
    assert f'"{SUBPROTOCOL}", "{SUBPROTOCOL_KEY_PREFIX}"' in page
    assert f"After {'ten' if FAILURES_MAX == 10 else FAILURES_MAX} of them" in page
