"""Tables from what ``pytest benchmarks --benchmark-json=FILE`` has written, ties and losses too.

``python -m benchmarks.report FILE ..`` prints them; with ``--page docs/performance.md`` they stand
between the marks of that page.
"""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

#: Within so much of a peer's time, either way, single runs differ: nobody is ahead.
TIE = 1.5
MARKS = re.compile(r"^(<!-- figures: .*? -->\n).*?^(<!-- end of figures -->)$", re.M | re.S)


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the tables, or put them into a page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("files", nargs="+", type=Path)
    parser.add_argument("--page", type=Path)
    given = parser.parse_args(arguments)
    text = report([json.loads(path.read_text(encoding="utf-8")) for path in given.files])
    if given.page is None:
        print(text, end="")
        return
    page = given.page.read_text(encoding="utf-8")
    if not MARKS.search(page):
        parser.error(f"{given.page} has no marks for figures")
    given.page.write_text(
        MARKS.sub(lambda found: f"{found[1]}\n{text}\n{found[2]}", page), encoding="utf-8"
    )


def report(runs: Iterable[dict[str, Any]]) -> str:
    """Markdown: a section for each run's machine, a table for each file of benchmarks."""
    parts = []
    for run in runs:
        by_file: dict[str, list[dict[str, Any]]] = {}
        for one in run["benchmarks"]:
            by_file.setdefault(one["fullname"].partition("::")[0], []).append(one)
        for file, found in by_file.items():
            parts.append(_table(run, file, found))
    return "\n".join(parts)


def _table(run: dict[str, Any], file: str, found: list[dict[str, Any]]) -> str:
    rows = [row for one in found for row in _rows(one)]
    loads = [one["extra_info"]["load"] for one in found]
    head = (
        f"### {Path(file).stem}\n\n"
        f"`pytest benchmarks/{Path(file).name} --benchmark-disable-gc -p no:randomly`, "
        f"{run['datetime'][:10]}, {_machine(run)}, load average {min(loads):.1f} to "
        f"{max(loads):.1f}.\n\n"
        "| what | ours | peer | peer's | ours / peer's | so |\n|---|---|---|---|---|---|\n"
    )
    return head + "".join(f"| {' | '.join(row)} |\n" for row in rows)


def _rows(one: dict[str, Any]) -> Iterable[list[str]]:
    name = one["name"].removeprefix("bench_").replace("_", " ")
    ours = ""
    pending = False
    for figure in one["extra_info"]["figures"]:
        value, unit, peer_ns = figure["value"], figure["unit"], figure["peer_ns"]
        if unit == "ns":
            ours, pending = _time(value), True
        elif peer_ns is not None:
            yield [name, ours, figure["name"], _time(peer_ns), f"{value:.3g}", verdict(value)]
            pending = False
        else:
            if pending:
                yield [name, ours, "", "", "", ""]
                pending = False
            yield [f"{name}: {figure['name']}", f"{value:,.3g}", "", "", "", ""]
    if pending:
        yield [name, ours, "", "", "", ""]


def verdict(ratio: float) -> str:
    """What a share of a peer's time means."""
    if ratio > TIE:
        return "**lost**"
    return "tie" if ratio > 1 / TIE else "won"


def _time(ns: float) -> str:
    for unit, size in (("s", 1e9), ("ms", 1e6), ("µs", 1e3)):
        if ns >= size:
            return f"{ns / size:.3g} {unit}"
    return f"{ns:.3g} ns"


def _machine(run: dict[str, Any]) -> str:
    info = run["machine_info"]
    brand = info.get("cpu", {}).get("brand_raw", info["processor"] or info["machine"])
    return f"{brand}, {info['cpu'].get('count', '?')} CPUs, Python {info['python_version']}"


if __name__ == "__main__":
    main()
