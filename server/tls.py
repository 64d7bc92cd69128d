"""Whose certificates this server believes when it is the client."""

from __future__ import annotations

import ssl
from functools import cache

__all__ = ["client_context"]


@cache
def client_context() -> ssl.SSLContext:
    """The system's authorities, read once: each context of its own would be a megabyte more.

    Made when somebody is first asked over TLS, from any thread; not to be changed.
    """
    return ssl.create_default_context()
