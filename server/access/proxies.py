"""Whose request it is, where a proxy stands between."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from typing import Final

__all__ = ["ADDRESS_MAX", "HOPS_MAX", "Proxies", "parse"]

#: Addresses of one request that are looked at, the newest first.
HOPS_MAX: Final = 16
#: Characters of an address, its zone included.
ADDRESS_MAX: Final = 64

_HEADER = b"x-forwarded-for"


class Proxies:
    """Those whose ``X-Forwarded-For`` is believed, by their addresses.

    Each proxy adds on the right whom it was asked by. So the client is the first from the
    right that is no proxy of ours; what stands left of it is what that client says of itself.
    """

    def __init__(self, trusted: Iterable[str] = ()) -> None:
        """``trusted`` are addresses and networks. Raises ValueError: one is neither."""
        self._networks = [ip_network(text) for text in trusted]

    def client(self, headers: Sequence[tuple[bytes, bytes]], address: str) -> str:
        """The address a request comes from; ``address`` is that of its connection."""
        if not self._networks or not self._trusts(parse(address)):
            return address
        told = b",".join(value for name, value in headers if name == _HEADER)
        for hop in reversed(told.decode("latin-1").rsplit(",", HOPS_MAX)[-HOPS_MAX:]):
            hop = hop.strip()
            parsed = parse(hop) if len(hop) <= ADDRESS_MAX else None
            if parsed is None:
                break  # nothing left of it is told by a proxy of ours
            address = str(parsed)
            if not self._trusts(parsed):
                break
        return address

    def _trusts(self, address: IPv4Address | IPv6Address | None) -> bool:
        return address is not None and any(address in network for network in self._networks)


@lru_cache(maxsize=4096)  # the same few ask again and again
def parse(text: str) -> IPv4Address | IPv6Address | None:
    """An address without its zone; None: it is none. Keeps ``text``, which is to be short."""
    try:
        address = ip_address(text.partition("%")[0])
    except ValueError:
        return None
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return mapped or address
