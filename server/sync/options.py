"""What the sync process is told when it is started, by its environment."""

from __future__ import annotations

import msgspec

__all__ = ["OPTIONS_VARIABLE", "SECRET_VARIABLE", "Options"]

#: Options as JSON, and the key on its own. Not settings: only the supervisor writes them.
OPTIONS_VARIABLE = "KLINESERVER_SYNC"
SECRET_VARIABLE = "SUPABASE_SECRET_KEY"


class Options(msgspec.Struct, frozen=True, kw_only=True):
    """What the process needs to know; the key travels on its own."""

    url: str
    outbox: str  # path of the SQLite file
    realtime: bool = True
    log_level: str = "info"
    log_format: str = "text"
