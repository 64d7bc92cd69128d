"""What the runbook of docs/operations.md says a command prints, it prints, with the fault there."""

from __future__ import annotations

import importlib.util
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml
from runbook import SITUATIONS, entries, forget_traders, run

from server.cli.pages.running import every_metric
from server.cli.pages.writing import DOCS

PAGE = (DOCS / "operations.md").read_text(encoding="utf-8")
ENTRIES = entries(PAGE)
DEPLOY = DOCS.parent / "deploy"
#: What Prometheus itself adds, and what its histograms are made of.
OF_PROMETHEUS = {"up"}
PARTS = re.compile(r"_(bucket|sum|count)$")
GROWTH = re.compile(r"(?:rate|increase|delta)\((\w+)(?:\{([^}]*)\})?\[")
#: Counted by the system's own names of errors; a rule waits for several.
OF_MANY_NAMES = {"kline_snapshot_errors_total"}


def lacking(printed: str, wanted: str) -> list[str]:
    """Lines of a page that a text does not have; ``…`` stands for anything."""
    missing = []
    for line in wanted.splitlines():
        pattern = ".*".join(map(re.escape, line.split("…")))
        if not re.search(f"^{pattern}$", printed, re.M):
            missing.append(line)
    return missing


def test_the_comparison_finds_what_is_not_printed() -> None:
    assert lacking("a 1 b\nc\n", "a … b\nc\n") == []
    assert lacking("a 1 b\nc\n", "a … c\nc\n") == ["a … c"]


def test_every_fault_of_the_page_is_one_that_can_be_provoked() -> None:
    assert {entry.situation for entry in ENTRIES} == set(SITUATIONS)
    assert len(ENTRIES) == PAGE.count("<!-- provoked:")


@pytest.mark.slow
@pytest.mark.parametrize("situation", SITUATIONS)
def test_the_runbook_prints_what_it_says(situation: str, tmp_path: Path) -> None:
    if situation == "no_supabase" and not importlib.util.find_spec("realtime"):
        pytest.skip("the extra supabase is not installed")
    told = []
    with SITUATIONS[situation](tmp_path) as values:
        for entry in ENTRIES:
            if entry.situation == situation:
                printed = run(entry.command, values)
                if missing := lacking(printed, entry.printed):
                    told.append(f"{entry.title}: {missing} is not in\n{printed}")
                if "trader add" in entry.command:
                    forget_traders(values)
    assert not told, "\n\n".join(told)


def rules() -> list[dict[str, object]]:
    text = (DEPLOY / "alerts.yml").read_text(encoding="utf-8")
    return [rule for group in yaml.safe_load(text)["groups"] for rule in group["rules"]]


def documented() -> dict[str, set[str]]:
    """Metrics of the page, with their labels."""
    found = re.findall(r"^\| `(\w+)(?:\{([^}]*)\})?` \|", PAGE, re.M)
    return {name: set(filter(None, labels.split(", "))) for name, labels in found}


@pytest.mark.parametrize("rule", rules(), ids=lambda rule: str(rule["alert"]))
def test_each_rule_names_metrics_labels_and_a_part_of_the_runbook(rule: dict[str, object]) -> None:
    metrics = documented()
    expression = str(rule["expr"])
    used = {
        PARTS.sub("", name): set(re.findall(r"(\w+)[!=]", labels or ""))
        for name, labels in re.findall(r"\b([a-z]\w*_\w+|up)\b(?!\()(?:\{([^}]*)\})?", expression)
    }
    assert used
    for name, labels in used.items():
        if name not in OF_PROMETHEUS:
            assert name in metrics, name
            assert labels <= metrics[name], name
    heading = str(rule["annotations"]["runbook"])  # type: ignore[index]
    page, _, anchor = heading.partition("#")
    assert page == "docs/operations.md"
    heads = re.findall(r"^### (.*)$", PAGE, re.M)
    assert anchor in {re.sub(r"[^\w\- ]", "", head.lower()).replace(" ", "-") for head in heads}
    assert rule["labels"] in ({"severity": "page"}, {"severity": "ticket"})


def test_what_a_rule_sees_grow_is_there_before_it_counts() -> None:
    """Prometheus sees no growth in what appears: of a first fault nobody would be told."""
    shown = [line for metric in every_metric() for line in metric.samples()]
    watched = {found for rule in rules() for found in GROWTH.findall(str(rule["expr"]))}
    assert len(watched) > 8
    absent = [
        (name, labels)
        for name, labels in watched
        if name not in OF_MANY_NAMES
        and not any(re.match(rf"{name}[ {{]", line) and labels in line for line in shown)
    ]
    assert absent == []


def test_each_rule_is_shown_to_fire_and_to_be_silent() -> None:
    cases = yaml.safe_load((DEPLOY / "alerts_test.yml").read_text(encoding="utf-8"))["tests"]
    looks = [look for case in cases for look in case["alert_rule_test"]]
    names = {str(rule["alert"]) for rule in rules()}
    assert {look["alertname"] for look in looks if look["exp_alerts"]} == names
    assert {look["alertname"] for look in looks if not look["exp_alerts"]} == names


@pytest.mark.parametrize("command", ["check rules alerts.yml", "test rules alerts_test.yml"])
def test_promtool_agrees(command: str) -> None:
    if shutil.which("promtool") is None:
        pytest.skip("promtool is not installed; it comes with Prometheus")
    done = subprocess.run(
        ["promtool", *command.split()],
        cwd=DEPLOY,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
