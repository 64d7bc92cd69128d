"""Writes server/supabase/seed.sql: ``PYTHONPATH=tests/support python -m stack.seed``."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from server.traders.builtins import builtin_traders
from server.traders.model import Trader
from stack.migrations import SEED

#: What built-in traders differ in; the rest is the table's default, and the model's.
COLUMNS = (
    *("id", "name", "filter", "interval", "mode", "cooldown_bars", "description", "conditions"),
    *("access_tier", "category", "difficulty", "created_at"),
)
HEAD = """\
-- Built-in traders, with the ids that the server gives them too. Written from
-- server/traders/builtins.py by `PYTHONPATH=tests/support python -m stack.seed`; it may be
-- brought in again and again. `enabled` is left alone: an operator may have switched one off.
"""


def text(value: str) -> str:
    return "'" + value.replace("'", "''") + "'"


def maybe(value: str | None) -> str:
    return "null" if value is None else text(value)


def array(values: Iterable[str]) -> str:
    return "array[" + ", ".join(text(value) for value in values) + "]::text[]"


def values(trader: Trader) -> Iterator[str]:
    """In the order of COLUMNS."""
    yield text(trader.id)
    yield text(trader.name)
    yield text(trader.filter)
    yield text(trader.interval)
    yield text(trader.mode)
    yield str(trader.cooldown_bars)
    yield text(trader.description)
    yield array(trader.conditions)
    yield text(trader.access_tier)
    yield maybe(trader.category)
    yield maybe(trader.difficulty)
    yield f"to_timestamp({trader.created_ms} / 1000.0)"


def seed(traders: Iterable[Trader]) -> str:
    names = ",\n    ".join(COLUMNS)
    rows = ",\n".join("    (" + ",\n        ".join(values(trader)) + ")" for trader in traders)
    kept = {"id", "created_at"}
    changes = ",\n    ".join(f"{name} = excluded.{name}" for name in COLUMNS if name not in kept)
    return (
        f"{HEAD}\ninsert into public.traders (\n    {names}\n)\nvalues\n{rows}\n"
        f"on conflict (id) do update set\n    {changes};\n"
    )


if __name__ == "__main__":
    SEED.write_text(seed(builtin_traders()), encoding="utf-8")
