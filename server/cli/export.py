"""``export``: the dashboard as files for a static host."""

from __future__ import annotations

import os
from pathlib import Path

import click

from server.errors import SettingsError
from server.settings import Settings

__all__ = ["export"]


@click.command()
@click.argument("folder", type=click.Path(file_okay=False, path_type=Path))
@click.option("--server", required=True, help="Origin the page asks, such as https://host:8080.")
@click.option("--supabase-url", help="Its users may sign in; with --supabase-publishable-key.")
@click.option("--supabase-publishable-key", help="Public: it says which project, not who asks.")
@click.option("--force", is_flag=True, help="Write into a folder that holds other files.")
def export(
    folder: Path,
    server: str,
    supabase_url: str | None,
    supabase_publishable_key: str | None,
    force: bool,
) -> None:
    """Write the dashboard to FOLDER, for Vercel or any other static host.

    The page asks the one server named here and, by its policy, can ask no other. On the server,
    list the page's origin in KLINE_CORS_ORIGINS.
    """
    from server.web.export import write_site
    from server.web.site import Site, check_origin, find_chart, make_project

    if (supabase_url is None) != (supabase_publishable_key is None):
        raise SettingsError("--supabase-url and --supabase-publishable-key go together")
    settings = Settings.load(os.environ)
    site = Site(
        chart=find_chart(settings.chart_js),
        server=check_origin(server, "--server"),
        project=make_project(supabase_url, supabase_publishable_key),
        bare=True,
    )
    written = write_site(site, folder, force=force)
    click.echo(f"{len(written)} files in {folder}")
    click.echo("On the server, with the address the page will have:", err=True)
    click.echo("  KLINE_CORS_ORIGINS=https://the-page.example", err=True)
    if server.startswith("http://"):
        click.echo(
            "A page that comes over https cannot ask a server over http, and keys would travel "
            "in the clear.",
            err=True,
        )
