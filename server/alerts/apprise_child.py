"""The child that speaks apprise: messages as JSON lines on stdin, how each ended on stdout.

Apprise knows 100 services and takes 50 MB; in a process of its own it costs nothing while nobody
uses it, and a plug-in that hangs is killed with it.
"""

from __future__ import annotations

import json
import logging
import os
import sys
from typing import Any

__all__ = ["main"]


def main() -> None:
    """Serve until stdin ends."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # whatever a plug-in prints is no answer
    logging.disable()
    import apprise

    for line in sys.stdin:
        asked = json.loads(line)
        answers.write(json.dumps({"id": asked["id"], **_notify(apprise, asked)}) + "\n")
        answers.flush()


def _notify(apprise: Any, asked: dict[str, Any]) -> dict[str, Any]:
    try:
        target = apprise.Apprise.instantiate(asked["url"], suppress_exceptions=True)
        if target is None:
            return {"ok": False, "never": True}
        return {"ok": bool(target.notify(title=asked["title"], body=asked["body"]))}
    except Exception as error:  # a plug-in's own fault
        return {"ok": False, "error": type(error).__name__}


if __name__ == "__main__":
    main()
