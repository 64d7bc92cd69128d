"""Logs: one line a record, for people or for machines."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator

import pytest

from server import logs


@pytest.fixture(autouse=True)
def _restore_logging() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)


def test_json_lines_carry_time_level_logger_message_and_fields(
    capsys: pytest.CaptureFixture[str],
) -> None:
    logs.configure("info", "json")
    logging.getLogger("server.feeds.x").info("a %s", "b", extra={"fields": {"symbol": "币安人生"}})
    line = json.loads(capsys.readouterr().err)
    assert (line["level"], line["logger"], line["msg"]) == ("info", "server.feeds.x", "a b")
    assert line["symbol"] == "币安人生"
    assert line["ts"].endswith("+00:00")


def test_fields_do_not_replace_what_a_line_is_known_by(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure("info", "json")
    logging.getLogger("x").info("told", extra={"fields": {"msg": "forged", "level": "none"}})
    line = json.loads(capsys.readouterr().err)
    assert (line["msg"], line["level"]) == ("told", "info")


def test_text_lines_hold_the_message_and_its_fields(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure("info", "text")
    logging.getLogger("server.feeds.base").warning("hole", extra={"fields": {"klines": 3}})
    line = capsys.readouterr().err
    assert "WARNING" in line
    assert "feeds.base  hole  klines=3" in line


def test_text_of_others_cannot_forge_a_line(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure("info", "text")
    logging.getLogger("x").info("it said: %s", "no\n12:00:00.000 INFO forged\x1b[2J")
    text = capsys.readouterr().err
    assert text.count("\n") == 1
    assert "\x1b" not in text


@pytest.mark.parametrize("log_format", ["text", "json"])
def test_levels_below_the_configured_are_silent(
    log_format: str, capsys: pytest.CaptureFixture[str]
) -> None:
    logs.configure("warning", log_format)
    logging.getLogger("x").info("quiet")
    logging.getLogger("x").error("loud")
    assert capsys.readouterr().err.count("\n") == 1


@pytest.mark.parametrize("log_format", ["text", "json"])
def test_exceptions_are_named(log_format: str, capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure("info", log_format)
    try:
        raise LookupError("gone")
    except LookupError:
        logging.getLogger("x").exception("failed")
    assert "LookupError" in capsys.readouterr().err


def test_configuring_twice_does_not_double_lines(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure()
    logs.configure()
    logging.getLogger("x").info("once")
    assert capsys.readouterr().err.count("once") == 1
