"""The listener in use: the compiled one, or its Python twin where that cannot be loaded."""

from __future__ import annotations

import logging

__all__ = ["ChangeNotifier", "FeedListener"]

try:
    from server.feeds._listener import ChangeNotifier, FeedListener
except (ImportError, ValueError) as error:  # ValueError: picows' objects have another layout
    from server.feeds._listener_py import (  # type: ignore[assignment]
        ChangeNotifier,
        FeedListener,
    )

    logging.getLogger(__name__).warning(
        "the compiled listener cannot be loaded (%s); frames are handled in Python, slowly", error
    )
