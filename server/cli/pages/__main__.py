"""``python -m server.cli.pages [--check]``."""

from __future__ import annotations

import logging
import sys

import click

from server.cli.pages.running import every_metric
from server.cli.pages.writing import differing, written


@click.command()
@click.option("--check", is_flag=True, help="Write nothing; exit 1 if a page is not up to date.")
def pages(check: bool) -> None:
    """Write the pages of docs/ that follow from tables."""
    logging.disable(logging.WARNING)  # the Supabase project of that server is not there
    wanted = written(every_metric())
    found = differing(wanted)
    for path in found:
        if not check:
            path.write_text(wanted[path], encoding="utf-8")
        click.echo(
            f"docs/{path.name}: " + ("run python -m server.cli.pages" if check else "written")
        )
    sys.exit(1 if check and found else 0)


pages()
