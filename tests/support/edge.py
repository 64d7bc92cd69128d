"""Deno as the edge functions need it: where it is, and its cache beside the project."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
FUNCTIONS = ROOT / "server" / "supabase" / "functions"


def deno() -> Path | None:
    """The Deno that is installed beside this interpreter, else one on the PATH."""
    beside = Path(sys.executable).parent / "deno"
    found = str(beside) if beside.exists() else shutil.which("deno")
    return Path(found) if found else None


def deno_environment(**extra: str) -> dict[str, str]:
    """This process's, without settings of whoever runs the tests."""
    clean = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("KLINE", "GO_SERVER", "SUPABASE")) and name != "ALLOWED_ORIGINS"
    }
    clean.setdefault("DENO_DIR", str(ROOT / ".stack" / "deno"))
    return clean | {"DENO_NO_UPDATE_CHECK": "1", "NO_COLOR": "1"} | extra
