"""Runs a notebook in a kernel of its own, which may speak to this machine alone.

``python tests/support/notebooks.py examples/explore.ipynb`` writes the outputs into the notebook,
as they are kept: without times, and without widgets, whose kernel is gone.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import nbformat
from nbclient import NotebookClient

__all__ = ["OUTPUT_SIZE_MAX", "execute", "kept"]

#: Seconds one cell may take.
CELL_S = 120
#: Bytes of the outputs of a cell, as they are kept.
OUTPUT_SIZE_MAX = 20_000
WIDGET = "application/vnd.jupyter.widget-view+json"

#: A connection to anywhere else is an error in the cell that makes it.
GUARD = """
import ipaddress as _addresses
import sys as _sys

def _guard(event, given):
    if event == "socket.connect" and isinstance(given[1], tuple):
        if not _addresses.ip_address(given[1][0]).is_loopback:
            raise ConnectionError(f"a notebook asks for {given[1]}")
    if event == "socket.getaddrinfo" and given[0] not in (None, "127.0.0.1", "localhost", ""):
        raise ConnectionError(f"a notebook asks for {given[0]}")

_sys.addaudithook(_guard)
"""


def execute(path: Path) -> Any:
    """The notebook with what its cells said. Raises CellExecutionError."""
    notebook = nbformat.read(path, as_version=4)
    guard = nbformat.v4.new_code_cell(GUARD)
    notebook.cells.insert(0, guard)
    client = NotebookClient(
        notebook, timeout=CELL_S, kernel_name="python3", store_widget_state=False
    )
    client.execute()
    notebook.cells.remove(guard)
    for count, cell in enumerate((c for c in notebook.cells if c.cell_type == "code"), 1):
        cell.execution_count = count
        for output in cell.outputs:
            if "execution_count" in output:
                output["execution_count"] = count
    return notebook


def kept(notebook: Any) -> Any:
    """The notebook as it is kept in the repository."""
    notebook.metadata = {
        "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
        "language_info": {"name": "python"},
    }
    for place, cell in enumerate(notebook.cells):
        cell.id = f"cell-{place}"
        cell.metadata = {}
        for output in cell.get("outputs", ()):
            output.get("data", {}).pop(WIDGET, None)
    return notebook


if __name__ == "__main__":
    for name in sys.argv[1:]:
        nbformat.write(kept(execute(Path(name))), name)
