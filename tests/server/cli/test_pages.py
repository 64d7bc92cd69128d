"""Pages that are written from tables say what the tables say."""

from __future__ import annotations

import re
from pathlib import Path

import click
import pytest

from server.api.application import create_api
from server.api.state import ServerState
from server.cli import main
from server.cli.pages.commands import commands, commands_page
from server.cli.pages.metrics import metrics_tables
from server.cli.pages.notes import NOTES
from server.cli.pages.routes import routes_page
from server.cli.pages.running import every_metric
from server.cli.pages.settings import fields, settings_page
from server.cli.pages.text import replace_part, table
from server.cli.pages.writing import DOCS, differing, written
from server.clock import SystemClock
from server.errors import ServerError
from server.metrics import Counter, Registry
from server.settings import BOUNDS, Settings
from server.signals.hub import Hub

RUN = "run python -m server.cli.pages"


def page(name: str) -> str:
    return (DOCS / name).read_text(encoding="utf-8")


def test_the_page_of_settings_is_up_to_date() -> None:
    assert page("settings.md") == settings_page(), RUN


def test_every_setting_has_a_meaning_and_its_bounds_on_the_page() -> None:
    assert [field.name for field in fields()] == list(Settings.__struct_fields__)
    assert [field.name for field in fields() if not field.meaning or not field.section] == []
    text = page("settings.md")
    for name, (low, high) in BOUNDS.items():
        line = next(line for line in text.splitlines() if f"{name.upper()}`" in line)
        assert f"| {low:g}" in line or f"| {int(low)}" in line, line
        assert f"{high:g} |" in line or f" {int(high)}" in line, line


def test_only_bytes_are_told_in_mebibytes() -> None:
    sized = {
        line for line in page("settings.md").splitlines() if re.search(r"\((\d+) [KMGT]iB\)", line)
    }
    assert len(sized) > 8
    assert [line for line in sized if "bytes" not in line.lower()] == []


def test_the_page_of_commands_is_up_to_date() -> None:
    assert page("cli.md") == commands_page(main), RUN


def test_every_command_and_flag_is_on_the_page() -> None:
    text = page("cli.md")
    found = dict(commands(main, "klineserver"))
    assert {"klineserver serve", "klineserver keys add"} <= found.keys()
    for whole, command in found.items():
        assert command.help, whole
        section = text[text.index(f"\n## {whole}\n") :].split("\n## ")[1]
        for option in command.params:
            if isinstance(option, click.Option) and not option.hidden:
                assert f"`{option.opts[0]}" in section, (whole, option.opts)
                # A type's own name is of no use to whoever reads the help.
                assert not option.make_metavar(click.Context(command)).startswith("_"), option.opts


def state() -> ServerState:
    return ServerState(Settings(), SystemClock(), Registry(), Hub())


def test_the_page_of_routes_is_up_to_date() -> None:
    assert page("http.md") == routes_page(create_api(state()).routes), RUN


def test_every_route_and_every_message_it_links_is_on_the_page() -> None:
    text = page("http.md")
    heads = set(re.findall(r"^#+ (.*)$", text, re.M))
    for route in create_api(state()).routes:
        assert f"`{route.method} {route.path}`" in heads
    linked = {name for name, _ in re.findall(r"\[([\w.]+)\]\(#(\w+)\)", text)}
    assert "Klines" in linked
    assert linked <= heads


@pytest.mark.slow
def test_the_tables_of_metrics_are_those_of_a_running_server() -> None:
    assert differing(written(every_metric())) == [], RUN


def test_each_metric_that_the_source_names_has_a_note(root: Path) -> None:
    """What a running server registers is a slow test's; this one reads the source."""
    noted = {name for notes in NOTES.values() for name in notes}
    named = set()
    for path in (root / "server").rglob("*.py"):
        source = path.read_text(encoding="utf-8")
        named |= set(re.findall(r'\.(?:counter|gauge|histogram)\(\s*"([a-z0-9_]+)"', source))
    assert len(named) > 60
    assert named - noted == set()
    text = page("operations.md")
    assert {name for name in noted if f"| `{name}" not in text} == set()


def test_a_metric_without_a_note_is_an_error() -> None:
    with pytest.raises(ServerError, match="without a note \\['new_total'\\]"):
        metrics_tables([Counter("new_total", "New.")])


def test_a_part_is_replaced_and_the_rest_is_not_touched() -> None:
    old = "a\n<!-- one: w -->\nold\n<!-- end of one -->\nb\n"
    new = replace_part(old, "one", "new")
    assert new == "a\n<!-- one: w -->\n\nnew\n\n<!-- end of one -->\nb\n"
    assert replace_part(new, "one", "new") == new
    with pytest.raises(ServerError, match="no marks of 'two'"):
        replace_part(old, "two", "new")


def test_cells_keep_to_their_table() -> None:
    assert table(("a",), [("x | y\nz",)]) == "| a |\n| --- |\n| x \\| y z |\n"
