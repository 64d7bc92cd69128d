"""``klineserver export``: a whole site, which says what hosts need, and nothing of others lost."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from server.cli import main

SERVER = "https://klines.example"


def export(folder: Path, *more: str) -> Result:
    return CliRunner().invoke(main, ["export", str(folder), "--server", SERVER, *more])


def test_the_page_and_all_it_names_are_written(tmp_path: Path) -> None:
    result = export(tmp_path / "site")
    assert result.exit_code == 0, result.output
    assert "KLINE_CORS_ORIGINS" in result.output
    page = (tmp_path / "site" / "index.html").read_text()
    assert f'name="klinecore-server" content="{SERVER}"' in page
    assert f"connect-src &#x27;self&#x27; {SERVER} wss://klines.example;" in page
    named = [part.split('"')[0] for part in page.split('"assets/')[1:]]
    assert named
    for name in named:
        assert (tmp_path / "site" / "assets" / name).is_file()


def test_hosts_are_told_the_headers(tmp_path: Path) -> None:
    export(tmp_path)
    rules = json.loads((tmp_path / "vercel.json").read_text())["headers"]
    said = {rule["source"]: {h["key"]: h["value"] for h in rule["headers"]} for rule in rules}
    assert "frame-ancestors 'none'" in said["/(.*)"]["content-security-policy"]
    assert "immutable" in said["/assets/(.*)"]["cache-control"]
    text = (tmp_path / "_headers").read_text()
    assert f"connect-src 'self' {SERVER} wss://klines.example;" in text
    assert "/assets/*\n  cache-control: public, max-age=31536000, immutable" in text


def test_another_export_replaces_what_the_first_one_wrote_and_nothing_else(tmp_path: Path) -> None:
    export(tmp_path)
    stale = tmp_path / "assets" / "0123456789ab" / "old.js"
    stale.parent.mkdir()
    stale.write_text("old")
    listed = tmp_path / ".klineserver-export.json"
    names = [*json.loads(listed.read_text()), "assets/0123456789ab/old.js", "../precious"]
    listed.write_text(json.dumps(names))
    mine = tmp_path / "CNAME"
    mine.write_text("mine")
    precious = tmp_path.parent / "precious"
    precious.write_text("not in the folder")
    assert export(tmp_path).exit_code == 0
    assert not stale.parent.exists()
    assert (mine.read_text(), precious.read_text()) == ("mine", "not in the folder")


def test_a_folder_of_somebody_elses_is_left_alone_unless_forced(tmp_path: Path) -> None:
    (tmp_path / "index.html").write_text("mine")
    refused = export(tmp_path)
    assert refused.exit_code == 2
    assert "--force" in refused.output
    assert (tmp_path / "index.html").read_text() == "mine"
    assert export(tmp_path, "--force").exit_code == 0


@pytest.mark.parametrize(
    "more",
    [
        ("--server", "https://a.example; script-src *"),
        ("--supabase-url", "https://p.example"),
        ("--supabase-url", "https://p.example", "--supabase-publishable-key", "a b"),
    ],
)
def test_what_is_no_origin_or_key_is_refused(tmp_path: Path, more: tuple[str, ...]) -> None:
    result = export(tmp_path / "site", *more)
    assert result.exit_code == 2
    assert not (tmp_path / "site").exists()
