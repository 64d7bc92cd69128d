"""Example notebooks are kept as they ran: whole, small, and with links that lead somewhere."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest

SIZE_MAX = 60_000
NAMES = ("explore.ipynb", "research.ipynb")


@pytest.fixture(params=NAMES)
def notebook(request: pytest.FixtureRequest, root: Path) -> Any:
    return json.loads((root / "examples" / request.param).read_text(encoding="utf-8"))


def test_there_are_no_others(root: Path) -> None:
    assert sorted(path.name for path in (root / "examples").glob("*.ipynb")) == list(NAMES)


def test_every_cell_ran_in_order_and_without_a_word_of_trouble(notebook: Any) -> None:
    cells = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    assert [cell["execution_count"] for cell in cells] == list(range(1, len(cells) + 1))
    said = [output for cell in cells for output in cell["outputs"]]
    assert said
    assert all(one["output_type"] != "error" and one.get("name") != "stderr" for one in said)


def test_what_is_kept_is_small_and_of_no_kernel_or_machine(notebook: Any) -> None:
    text = json.dumps(notebook)
    assert len(text) < SIZE_MAX
    assert "jupyter.widget" not in text
    assert set(notebook["metadata"]) == {"kernelspec", "language_info"}
    assert not re.search(r"/(?:home|root|tmp|Users)/", text)


def test_links_lead_to_pages(notebook: Any, root: Path) -> None:
    texts = ["".join(c["source"]) for c in notebook["cells"] if c["cell_type"] == "markdown"]
    links = [link for text in texts for link in re.findall(r"\]\(([^)]+)\)", text)]
    assert links
    assert [link for link in links if not (root / "examples" / link).exists()] == []
