"""What docs/api.md promises by name exists under that name."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from supabase_project import URL

from server.access.keys import KeysFile
from server.access.rates import PER_MINUTE
from server.access.signers import FETCH_EVERY_S_MIN
from server.access.tokens import LEEWAY_S, SECRET_BYTES_MIN
from server.api.auth import FAILURES_MAX, SUBPROTOCOL, SUBPROTOCOL_KEY_PREFIX
from server.api.filters import EVALUATION_WEIGHT, REPLAY_WEIGHT
from server.identity import Scope, Tier
from server.settings import Settings


def test_the_page_names_routes_and_subprotocols_that_exist(root: Path, server: Any) -> None:
    page = (root / "docs" / "api.md").read_text()
    paths = {route.path for route in server.api.routes}
    assert {"/health", "/ready", "/openapi.json", "/ws"} <= paths
    assert f'"{SUBPROTOCOL}", "{SUBPROTOCOL_KEY_PREFIX}"' in page
    assert f"After {'ten' if FAILURES_MAX == 10 else FAILURES_MAX} of them" in page


def test_the_page_on_keys_names_what_is_there(root: Path, tmp_path: Path, make_server: Any) -> None:
    page = (root / "docs" / "auth.md").read_text()
    limits = [str(PER_MINUTE[tier]) for tier in Tier]
    assert f"| {' | '.join(limits)} | - |" in page
    assert f"counts as {EVALUATION_WEIGHT}, `replay` as {REPLAY_WEIGHT}" in page
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
