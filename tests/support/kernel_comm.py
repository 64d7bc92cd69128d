"""The kernel's end of a widget's comm, which keeps what would go to the page."""

from __future__ import annotations

import base64
from typing import Any

from comm.base_comm import BaseComm


class KernelComm(BaseComm):
    """The kernel's end: what it would publish waits in ``sent``."""

    sent: list[dict[str, Any]]

    def publish_msg(
        self,
        msg_type: str,
        data: Any = None,
        metadata: Any = None,
        buffers: Any = None,
        **keys: Any,
    ) -> None:
        texts = [base64.b64encode(one).decode() for one in buffers or ()]
        data = data or {}
        said: dict[str, Any]
        if msg_type == "comm_close":
            said = {"method": "close"}
        elif data.get("method") == "custom":
            said = {"method": "custom", "content": data["content"], "buffers": texts}
        else:
            names = [path[0] for path in data["buffer_paths"]]
            said = {"state": data["state"], "bytes": dict(zip(names, texts, strict=True))}
            said["method"] = "open" if msg_type == "comm_open" else "update"
        self.__dict__.setdefault("sent", []).append(said)
