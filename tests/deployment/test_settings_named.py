"""Whatever a deployment sets is a setting, and what an example shows as a default is one."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from dockerfile import Stage

from server.errors import SettingsError
from server.settings import Settings

#: Of the process or of Python, no settings of ours.
OF_THE_SYSTEM = {
    "HOME", "MALLOC_ARENA_MAX", "PATH", "PYTHONDONTWRITEBYTECODE", "PYTHONUNBUFFERED",
}  # fmt: skip
KEY = {"API_KEY": "only-for-this-test"}


def lines(root: Path) -> list[str]:
    return (root / ".env.example").read_text(encoding="utf-8").splitlines()


def test_the_image_sets_what_the_server_knows(image: list[Stage]) -> None:
    told = image[-1].environment
    settings = {name: text for name, text in told.items() if name not in OF_THE_SYSTEM}
    loaded = Settings.load(settings | KEY)
    assert (loaded.host, loaded.port, loaded.stream_port) == ("0.0.0.0", 8080, 8081)
    assert told["MALLOC_ARENA_MAX"] == "2"


def test_fly_sets_what_the_image_sets(image: list[Stage], fly: dict[str, Any]) -> None:
    assert fly["env"].items() <= image[-1].environment.items()
    assert {"PORT", "KLINE_STREAM_PORT", "KLINE_HOST", "KLINE_DATA_DIR"} <= fly["env"].keys()


def test_an_image_that_is_given_no_key_refuses_to_start(image: list[Stage]) -> None:
    settings = {k: v for k, v in image[-1].environment.items() if k not in OF_THE_SYSTEM}
    with pytest.raises(SettingsError, match="set API_KEY"):
        Settings.load(settings)
    with pytest.raises(SettingsError, match="set API_KEY"):
        Settings.load(settings | {"API_KEY": ""})  # as in .env.example


def test_each_line_of_the_example_is_a_setting_a_default_or_a_sentence(root: Path) -> None:
    odd = [line for line in lines(root) if not re.fullmatch(r"|# .+|#?[A-Z_]+=\S*", line)]
    assert odd == []


def test_what_the_example_shows_as_a_default_is_the_default(root: Path) -> None:
    shown = [line.removeprefix("#").split("=", 1) for line in lines(root) if "=" in line[:40]]
    found = [(name, text) for name, text in shown if re.fullmatch("[A-Z_]+", name)]
    assert len(found) > 20
    plain = Settings.load({})
    for name, text in found:
        loaded = Settings.load({name: text})  # alone: an unknown name is an error
        assert loaded == plain, name


def test_no_secret_is_in_a_file_that_is_deployed(root: Path) -> None:
    names = "API_KEY|SUPABASE_SECRET_KEY|SUPABASE_JWT_SECRET|SMTP_PASSWORD"
    secrets = re.compile(rf"^[^#\n]*\b(?:{names})[ \t]*[=:][ \t]*\S", re.M)
    for name in ("Dockerfile", "docker-compose.yml", "fly.toml", ".env.example"):
        assert secrets.findall((root / name).read_text(encoding="utf-8")) == [], name
