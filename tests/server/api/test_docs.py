"""What the pages promise by name exists under that name."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from supabase_project import URL

from server.access.keys import KeysFile
from server.access.rates import PER_MINUTE
from server.access.signers import FETCH_EVERY_S_MIN
from server.access.tokens import LEEWAY_S, SECRET_BYTES_MIN
from server.api.alerts import TEST_WEIGHT
from server.api.auth import FAILURES_MAX, SUBPROTOCOL, SUBPROTOCOL_KEY_PREFIX
from server.api.filters import EVALUATION_WEIGHT, REPLAY_WEIGHT
from server.api.panels import PANEL_WEIGHT
from server.identity import Scope, Tier
from server.settings import Settings

PAGES = (
    "README.md", "docs/alerts.md", "docs/api.md", "docs/auth.md", "docs/operations.md",
    "docs/signals.md", "docs/store.md", "docs/traders.md",
)  # fmt: skip

ROUTE = re.compile(r"`(GET|POST|PATCH|DELETE) (/[\w/{}@.-]*[\w}])(?=[?` ])")


@pytest.mark.parametrize("name", PAGES)
def test_a_page_names_routes_that_exist(root: Path, server: Any, name: str) -> None:
    routes = {(route.method, re.sub(r"\{\w+\}", "{}", route.path)) for route in server.api.routes}
    named = {
        (method, re.sub(r"\{\w+\}", "{}", path))
        for method, path in ROUTE.findall((root / name).read_text(encoding="utf-8"))
    }
    assert named
    assert named - routes == set()


def test_the_page_names_subprotocols_and_limits_that_exist(root: Path) -> None:
    page = (root / "docs" / "api.md").read_text()
    assert f'"{SUBPROTOCOL}", "{SUBPROTOCOL_KEY_PREFIX}"' in page
    assert f"After {'ten' if FAILURES_MAX == 10 else FAILURES_MAX} of them" in page


def test_the_page_on_keys_names_what_is_there(root: Path, tmp_path: Path, make_server: Any) -> None:
    page = (root / "docs" / "auth.md").read_text()
    limits = [str(PER_MINUTE[tier]) for tier in Tier]
    assert f"| {' | '.join(limits)} | - |" in page
    assert EVALUATION_WEIGHT == PANEL_WEIGHT
    assert f"`GET /v1/panel` count as {PANEL_WEIGHT}" in page
    assert REPLAY_WEIGHT == TEST_WEIGHT
    assert f"the test of an\nalert as {TEST_WEIGHT}." in page
    assert f"every {FETCH_EVERY_S_MIN:g} s" in page
    assert f"with {LEEWAY_S} s of leeway" in page
    assert f"({SECRET_BYTES_MIN} bytes or more)" in page
    assert f"_MAX` ({Settings().connections_per_key_max})" in page
    file = KeysFile(str(tmp_path / "keys.json"))
    file.add("ann", Tier.FREE, Scope.READ, now_ms=0)
    server = make_server(api_keys_file=file.path, supabase_url=URL)
    metrics = server.metrics.render().decode()
    listed = page[page.index("\nMetrics: ") : page.index("## Not covered")]
    for name in re.findall(r"`(\w+)", listed):
        assert f"# TYPE {name} " in metrics
