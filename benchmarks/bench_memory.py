"""What 500 symbols x 4 intervals x 500 rows weigh in memory."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import klinecore

FILL = Path(__file__).parent / "_fill.py"


@pytest.mark.skipif(
    not Path("/proc/self/smaps_rollup").exists(), reason="only Linux tells a process's PSS"
)
def bench_memory_of_500_symbols(bench: Any) -> None:
    """A process that has filled every row through REST bodies and frames."""
    folder = str(Path(klinecore.__file__).parents[1])
    environment = {**os.environ, "PYTHONPATH": folder}
    command = [sys.executable, str(FILL)]
    output = bench.once(subprocess.check_output, command, env=environment, text=True, timeout=120)
    sizes = json.loads(output)
    assert sizes.pop("rows") == 500 * 4 * 500
    assert sizes.pop("forming") == 500 * 4
    assert sizes.pop("tickers") == 500
    for name, size in sizes.items():
        bench.quantity(name, size)
