"""A Dockerfile's stages and instructions, as far as tests ask about them."""

from __future__ import annotations

import json
import re
import shlex
from dataclasses import dataclass, field
from pathlib import Path


@dataclass
class Stage:
    """What stands between two FROM lines: instructions in their order, with their arguments."""

    base: str
    name: str
    steps: list[tuple[str, str]] = field(default_factory=list)

    def all(self, instruction: str) -> list[str]:
        return [text for name, text in self.steps if name == instruction]

    def one(self, instruction: str) -> str:
        (text,) = self.all(instruction)
        return text

    @property
    def environment(self) -> dict[str, str]:
        pairs = (pair for text in self.all("ENV") for pair in shlex.split(text))
        return dict(pair.split("=", 1) for pair in pairs)

    @property
    def command(self) -> list[str]:
        """ENTRYPOINT and CMD, both in their exec form."""
        return [*json.loads(self.one("ENTRYPOINT")), *json.loads(self.one("CMD"))]

    @property
    def health_command(self) -> list[str]:
        return list(json.loads(self.one("HEALTHCHECK").partition("CMD ")[2]))


def stages(path: Path) -> list[Stage]:
    lines = (
        line for line in path.read_text(encoding="utf-8").splitlines() if not line.startswith("#")
    )
    found: list[Stage] = []
    for line in "\n".join(lines).replace("\\\n", " ").splitlines():
        name, _, text = line.strip().partition(" ")
        if name == "FROM":
            base, _, alias = text.partition(" AS ")
            found.append(Stage(base, alias))
        elif found and name:
            found[-1].steps.append((name, re.sub(r"\s+", " ", text.strip())))
    return found
