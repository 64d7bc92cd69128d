"""``replay --verify`` must find a single field that differs."""

from __future__ import annotations

import csv
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from recordings import unpack, write_recording

from server.cli.verify import verify
from server.settings import Settings


class Tampered:
    """Answers with the file's rows, one of them changed."""

    def __init__(self, path: Path, change: dict[str, Any] | None) -> None:
        letters = ("t", "o", "h", "l", "c", "v", "T", "q", "n", "V", "Q")
        self.rows: list[dict[str, Any]] = []
        for fields in csv.reader(unpack(path).splitlines()):
            if fields[0].isdigit():
                row: dict[str, Any] = dict(zip(letters, fields, strict=False)) | {"x": True}
                self.rows.append(row | {letter: int(row[letter]) for letter in "tTn"})
        if change is None:
            del self.rows[5]
        else:
            self.rows[5] |= change

    def json(self, path: str) -> Any:
        return {"klines": self.rows}


@pytest.mark.parametrize(
    "change",
    [{"o": "1.00000"}, {"q": "0.0"}, {"n": -1}, {"x": False}, {"T": 5}, {"t": 1}, None],
)
def test_verification_finds_a_single_field_that_differs(
    tmp_path: Path, change: dict[str, Any] | None, capsys: pytest.CaptureFixture[str]
) -> None:
    path = write_recording(tmp_path, "AAAUSDT")
    settings = Settings.load({}, overrides={"intervals": ["1m"], "capacity": 200})
    assert verify(Tampered(path, {}), [path], settings)  # type: ignore[arg-type]
    assert not verify(Tampered(path, change), [path], settings)  # type: ignore[arg-type]
    assert "the rows DIFFER" in capsys.readouterr().out


def test_verification_sums_longer_intervals_exactly(tmp_path: Path) -> None:
    path = write_recording(tmp_path, "AAAUSDT")
    settings = Settings.load({}, overrides={"intervals": ["1h"], "capacity": 200})
    minutes = Tampered(path, {}).rows
    hours = []
    for start in range(0, 180, 60):
        part = minutes[start : start + 60]
        hours.append(
            {"t": part[0]["t"], "o": part[0]["o"], "c": part[-1]["c"]}
            | {"h": str(max(Decimal(row["h"]) for row in part))}
            | {"l": str(min(Decimal(row["l"]) for row in part))}
            | {"n": sum(row["n"] for row in part)}
            | {x: str(sum(Decimal(row[x]) for row in part)) for x in "vqVQ"}
        )

    class Answers:
        def json(self, path: str) -> Any:
            return {"klines": hours}

    assert verify(Answers(), [path], settings)  # type: ignore[arg-type]
    hours[1]["v"] = str(Decimal(str(hours[1]["v"])) + Decimal("0.1"))
    assert not verify(Answers(), [path], settings)  # type: ignore[arg-type]
