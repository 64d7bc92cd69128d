"""One log format: text for people, JSON lines for machines; secrets never get here.

A record's ``extra={"fields": {...}}`` carries facts beside the message: ``log.warning("gap found",
extra={"fields": {"symbol": symbol}})``.
"""

from __future__ import annotations

import logging
import sys
from datetime import UTC, datetime
from typing import Any

import click
import msgspec

__all__ = ["ProgressBar", "configure"]


#: Control characters, as they are written out.
_CONTROLS = {code: repr(chr(code))[1:-1] for code in (*range(32), *range(127, 160))}


class _JsonFormatter(logging.Formatter):
    """One JSON object a line: ts, level, logger, msg, fields, and of an exception its type."""

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, object] = getattr(record, "fields", {}) | {
            "ts": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "msg": record.getMessage(),
        }
        if record.exc_info and record.exc_info[0]:
            line["exception"] = record.exc_info[0].__name__
            line["traceback"] = self.formatException(record.exc_info)
        return msgspec.json.encode(line, enc_hook=str).decode()


class _TextFormatter(logging.Formatter):
    """``12:00:00.123 INFO  feeds.binance  message  key=value``"""

    def format(self, record: logging.LogRecord) -> str:
        moment = datetime.fromtimestamp(record.created, UTC).strftime("%H:%M:%S.%f")[:-3]
        fields = "".join(f"  {key}={value}" for key, value in getattr(record, "fields", {}).items())
        name = record.name.removeprefix("server.")
        text = f"{moment} {record.levelname:<7} {name}  {record.getMessage()}{fields}"
        # What others sent must not look like a line of ours.
        text = text.translate(_CONTROLS)
        if record.exc_info:
            text += "\n" + self.formatException(record.exc_info)
        return text


def configure(level: str = "info", log_format: str = "text") -> None:
    """Send all logging to stderr in ``text`` or ``json``; replaces what was configured before."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_JsonFormatter() if log_format == "json" else _TextFormatter())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    # A connection that comes or goes is ours to tell, in our words.
    logging.getLogger("picows").setLevel(logging.WARNING)


class ProgressBar:
    """A bar on the terminal for each market's backfill, in place of log lines."""

    def __init__(self) -> None:
        self._bars: dict[str, Any] = {}
        logging.getLogger("server.feeds.backfill").setLevel(logging.WARNING)

    def __call__(self, name: str, done: int, total: int) -> None:
        bar = self._bars.get(name)
        if bar is None:
            label = f"backfill of {name}"
            bar = self._bars[name] = click.progressbar(length=total, label=label, file=sys.stderr)
        bar.update(done - bar.pos)
        if done == total:
            bar.render_finish()
