"""The dashboard is whole, loads nothing from elsewhere, and browsers keep what they may."""

from __future__ import annotations

import gzip
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from server.errors import SettingsError
from server.web.site import CONTENT_TYPES, Project, Site, check_origin, find_chart

#: A link for people, and the name of a language, which nothing is loaded from.
NAMED = (b"https://www.tradingview.com/", b"http://www.w3.org/2000/svg")


@pytest.fixture(scope="module")
def site() -> Site:
    return Site(chart=("chart.js", b"window.LightweightCharts = {};"))


def test_the_page_names_only_files_that_are_there(site: Site) -> None:
    page = site.page.body.decode()
    named = re.findall(r'(?:href|src|content)="(assets/[^"]+)"', page)
    assert f"assets/{site.build}/chart.js" in named
    assert set(named) <= set(site.assets)
    assert "{" not in page
    assert "http-equiv" not in page


def test_modules_import_only_modules_that_are_there(site: Site) -> None:
    imported = {
        (path, f"assets/{site.build}/{name.decode()}")
        for path, asset in site.assets.items()
        if path.endswith(".js")
        for name in re.findall(rb'(?:from|import|import\()\s*"\./([^"]+)"', asset.body)
    }
    assert len(imported) > 50
    assert {(path, name) for path, name in imported if name not in site.assets} == set()


def test_no_file_loads_from_another_origin(site: Site) -> None:
    assert len(site.assets) > 20
    for path, asset in site.assets.items():
        for url in re.findall(rb"https?://[^\s\"'`)]+", asset.body):
            assert url in NAMED, f"{path} names {url.decode()}"
        assert b"innerHTML" not in asset.body, f"{path}: text must stay text"


def test_another_content_is_another_folder(site: Site) -> None:
    assert Site(chart=("chart.js", b"1")).build != site.build
    assert Site(chart=("chart.js", b"window.LightweightCharts = {};")).build == site.build


def test_a_server_elsewhere_is_named_and_may_be_asked() -> None:
    site = Site(server="https://klines.example:8443")
    assert b'name="klinecore-server" content="https://klines.example:8443"' in site.page.body
    assert "connect-src 'self' https://klines.example:8443 wss://klines.example:8443" in site.policy


def test_a_projects_users_may_sign_in_and_its_origin_is_the_only_other_one() -> None:
    site = Site(project=Project("https://p.supabase.example", "sb_publishable_x"))
    assert b'name="klinecore-supabase" content="https://p.supabase.example"' in site.page.body
    assert b'name="klinecore-supabase-key" content="sb_publishable_x"' in site.page.body
    assert "connect-src 'self' https://p.supabase.example;" in site.policy


def test_a_page_for_hosts_without_headers_carries_its_policy_before_all_else() -> None:
    site = Site(server="https://klines.example", bare=True)
    page = site.page.body.decode()
    tag = page.index("Content-Security-Policy")
    assert tag < page.index("<link") < page.index("<script")
    assert "script-src &#x27;self&#x27;;" in page
    assert "frame-ancestors" not in page, "browsers take it from a header only, and complain"


@pytest.mark.parametrize(
    "url",
    [
        "https://a.example; script-src *",
        "https://a.example 'unsafe-eval'",
        "https://a.example/path",
        "https://u:p@a.example",
        "ftp://a.example",
        "a.example",
        "",
        "https://",
    ],
)
def test_nothing_but_an_origin_gets_into_the_policy(url: str) -> None:
    with pytest.raises(SettingsError, match="must be an origin"):
        check_origin(url, "--server")
    assert check_origin("http://[::1]:8080/", "--server") == "http://[::1]:8080"


def test_a_server_says_which_project_only_with_both_settings(make_server: Any) -> None:
    options = {"supabase_url": "https://p.example", "api_key": "k"}
    assert b'klinecore-supabase" content=""' in make_server(**options).get("/").body
    options["supabase_publishable_key"] = "sb_publishable_x"
    page = make_server(**options).get("/")
    assert b'klinecore-supabase" content="https://p.example"' in page.body
    assert "connect-src 'self' https://p.example;" in page.headers["content-security-policy"]


@pytest.mark.parametrize("path", ["/", "/docs"])
def test_every_page_forbids_what_it_does_not_need(server: Any, path: str) -> None:
    headers = server.get(path).headers
    policy = headers["content-security-policy"]
    assert policy.startswith("default-src 'none'")
    assert "frame-ancestors 'none'" in policy
    assert "unsafe-eval" not in policy
    assert "'unsafe-inline'" not in policy.replace("style-src 'self' 'unsafe-inline'", "")
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["referrer-policy"] == "no-referrer"
    assert headers["cross-origin-opener-policy"] == "same-origin"


def test_the_server_serves_every_file_plain_and_packed(server: Any) -> None:
    page = server.get("/")
    assert page.headers["content-type"] == CONTENT_TYPES[".html"].decode()
    assert "script-src 'self'" in page.headers["content-security-policy"]
    assert page.headers["cache-control"] == "no-cache"
    for path in Site(chart=find_chart()).assets:
        plain = server.get("/" + path)
        assert plain.status == 200, path
        assert "immutable" in plain.headers["cache-control"]
        packed: Any = server.get("/" + path, ("Accept-Encoding", "br, gzip"))
        assert packed.headers["content-encoding"] == "gzip"
        assert gzip.decompress(packed.body) == plain.body


@pytest.mark.parametrize(
    "path", ["/assets/x/app.css", "/assets/..%2f..%2fsite.py/app.css", "/assets/x/js/../app.js"]
)
def test_nothing_else_is_served(server: Any, path: str) -> None:
    assert server.get(path).status == 404


def test_the_chart_library_is_the_installed_one_named_by_its_content(server: Any) -> None:
    found = find_chart()
    assert found is not None
    name, body = found
    assert re.fullmatch(r"lightweight-charts\.[0-9a-f]{8}\.js", name)
    page = server.get("/").body.decode()
    path = re.search(rf'content="(assets/[0-9a-f]{{12}}/{re.escape(name)})"', page)
    assert path is not None
    assert server.get("/" + path[1]).body == body


def test_a_chart_library_of_ones_own_takes_its_place(
    make_server: Callable[..., Any], tmp_path: Path
) -> None:
    file = tmp_path / "own.js"
    file.write_bytes(b"window.LightweightCharts = {};")
    server = make_server(chart_js=str(file))
    path = re.search(
        r'name="klinecore-chart" content="(assets/[^"]+)"', server.get("/").body.decode()
    )
    assert path is not None
    assert server.get("/" + path[1]).body == file.read_bytes()


def test_a_server_without_a_chart_library_runs_and_its_page_names_none(
    make_server: Callable[..., Any], caplog: pytest.LogCaptureFixture
) -> None:
    server = make_server(chart_js="/nowhere/charts.js")
    assert "no charts on the dashboard" in caplog.text
    assert 'name="klinecore-chart" content=""' in server.get("/").body.decode()
    assert server.get("/health").status == 200


# --- colours ---------------------------------------------------------------------------------


def _tokens(sheet: str) -> dict[str, dict[str, str]]:
    """The named colours of both schemes."""
    light, dark = (
        dict(re.findall(r"--([a-z0-9-]+): (#[0-9a-f]{6});", block))
        for block in re.findall(r":root \{(.*?)\}", sheet, re.DOTALL)
    )
    return {"light": light, "dark": light | dark}


def _luminance(color: str) -> float:
    """Relative luminance, as WCAG 2 defines it."""
    parts = [int(color[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    red, green, blue = (
        part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts
    )
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def _contrast(one: str, other: str) -> float:
    low, high = sorted((_luminance(one), _luminance(other)))
    return (high + 0.05) / (low + 0.05)


#: Colours that text is written in, and those that it is written on.
INKS, GROUNDS = ("text", "soft", "link", "up", "down", "warn"), ("ground", "raised", "mark")


def test_contrast_is_computed_as_wcag_does() -> None:
    assert _contrast("#ffffff", "#000000") == pytest.approx(21)
    assert _contrast("#777777", "#ffffff") == pytest.approx(4.48, abs=0.005)


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_every_text_stands_out_from_every_ground(site: Site, scheme: str) -> None:
    sheet = site.assets[f"assets/{site.build}/app.css"].body.decode()
    color = _tokens(sheet)[scheme]
    pairs = [(ink, ground) for ink in INKS for ground in GROUNDS]
    pairs += [("ground", "link")]  # what is written on a button that stands out
    lines = [name for name in color if name.startswith("line-")]
    assert len(lines) == 8
    pairs += [(line, ground) for line in lines for ground in ("ground", "raised")]  # on charts
    poor = {
        pair: round(found, 2)
        for pair in pairs
        if (found := _contrast(*(color[name] for name in pair))) < 4.5
    }
    assert poor == {}


def test_style_sheets_write_text_in_named_colours_only(site: Site) -> None:
    """So that the test above has seen every pair there is."""
    sheets = {path: asset for path, asset in site.assets.items() if path.endswith(".css")}
    assert {path.rpartition("/")[2] for path in sheets} == {"app.css", "traders.css"}
    for path, asset in sheets.items():
        rules = re.sub(rb":root \{.*?\}", b"", asset.body, flags=re.DOTALL).decode()
        inks = re.findall(r"(?<![-\w])color: ([^;}]+)", rules)
        grounds = re.findall(r"(?<![-\w])background(?:-color)?: ([^;}]+)", rules)
        named = {f"var(--{ink})" for ink in INKS}
        assert set(inks) <= named | {"inherit", "var(--ground)"}, path
        filled = {f"var(--{ground})" for ground in (*GROUNDS, "link", "up", "down", "warn", "soft")}
        assert set(grounds) <= filled | {"none", "rgb(0 0 0 / 45%)"}, path


def test_scripts_name_no_colours(site: Site) -> None:
    """What they colour is read from the style sheet, where the tests above have seen it."""
    for path, asset in site.assets.items():
        if path.endswith(".js"):
            found = set(re.findall(rb'"#[0-9a-fA-F]{6}"', asset.body))
            assert found == set(), path
