"""Blocks of the pages: each is run by a test, or says beside it why not; JSON is JSON."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from blocks import DOCS, PRINTED, Block, blocks, chosen, commands

import klinecore as kc


def test_every_block_is_run_or_says_why_not() -> None:
    silent = [
        block.name
        for block in blocks()
        if block.mark.startswith("not run:") and len(block.mark.split(maxsplit=2)[-1]) < 5
    ]
    assert silent == []
    # Shells are one language here: another name would be no test's.
    assert {block.language for block in blocks()}.isdisjoint({"bash", "shell", "console", "zsh"})
    unseen = [
        block.name
        for block in chosen("python")
        if block.page not in PRINTED and not block.mark.startswith("run: demo")
    ]
    assert unseen == []
    # Nothing else may be run on whoever's machine this is.
    strange = [
        (block.page, command)
        for block in chosen("sh")
        for command in commands(block.body)
        if not command.startswith(("klineserver ", "curl "))
    ]
    assert strange == []
    assert len(chosen("sh")) > 10


def objects(body: str) -> list[Any]:
    """JSON values of a block, one after another."""
    decoder, found, rest = json.JSONDecoder(), [], body.strip()
    while rest:
        value, end = decoder.raw_decode(rest)
        found.append(value)
        rest = rest[end:].strip()
    return found


@pytest.mark.parametrize(
    "block", [b for b in blocks() if b.language == "json"], ids=lambda b: b.name
)
def test_json_is_json(block: Block) -> None:
    assert objects(block.body)


def test_what_filters_of_old_became_can_be_read() -> None:
    page = (DOCS / "migration.md").read_text(encoding="utf-8")
    table = page[page.index("| helper | now |") :].split("\n\n")[0]
    cells = [line.split(" | ", 1)[1] for line in table.splitlines()[2:]]
    expressions = [text for cell in cells for text in re.findall(r"`([^`]+)`", cell)]
    assert len(expressions) > 20
    for expression in expressions:
        kc.compile(f"{expression} > 0")
