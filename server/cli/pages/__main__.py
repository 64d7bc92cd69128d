"""``python -m server.cli.pages [--check]``."""

from __future__ import annotations

import sys

import click

from server.cli.pages.running import every_metric
from server.cli.pages.writing import differing, written


@click.command()
@click.option("--check", is_flag=True, help="Write nothing; exit 1 if a page is not up to date.")
def pages(check: bool) -> None:
    """Write the pages of docs/ that follow from tables."""
    wanted = written(every_metric())
    found = differing(wanted)
    for path in found:
        if not check:
            path.write_text(wanted[path], encoding="utf-8")
        click.echo(f"{'not up to date' if check else 'written'}: {path.name}")
    sys.exit(1 if check and found else 0)


pages()
