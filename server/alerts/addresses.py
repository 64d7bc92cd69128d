"""Where alerts may be sent: names and addresses of the public internet, and nothing else.

A target is somebody's text, and whoever writes it must not be able to make this server speak to
its own network. A name is looked up once for each request, every address it has is checked, and
the connection goes to one of exactly those.
"""

from __future__ import annotations

import ipaddress
import re
import socket
import urllib.parse
from collections.abc import Callable, Collection, Sequence
from typing import Any, NamedTuple, TypeAlias

__all__ = ["Place", "RefusedError", "Resolve", "Rules", "is_loopback", "is_public"]

#: Characters of a target's URL.
URL_LENGTH_MAX = 2048
#: Addresses of a name that are looked at; a name with more is refused.
ADDRESSES_MAX = 32

Address: TypeAlias = ipaddress.IPv4Address | ipaddress.IPv6Address
Resolve: TypeAlias = Callable[[str, int], Sequence[str]]

_URL = re.compile(r"[!-~]+")  # what is visible of ASCII: no blanks, controls, other scripts
_LABEL = re.compile(r"(?!-)[a-z0-9_-]{1,63}(?<!-)")
_PRIVATE_NAMES = (
    "localhost",
    "local",
    "localdomain",
    "internal",
    "intranet",
    "lan",
    "home",
    "corp",
    "home.arpa",
    "arpa",
    "onion",
    "test",
    "invalid",
)
_LOOPBACK_NAMES = ("localhost", "127.0.0.1", "::1")

_REFUSED_4 = tuple(
    map(
        ipaddress.IPv4Network,
        (
            "0.0.0.0/8",
            "10.0.0.0/8",
            "100.64.0.0/10",  # carriers'
            "127.0.0.0/8",
            "169.254.0.0/16",  # among them the metadata of clouds
            "172.16.0.0/12",
            "192.0.0.0/24",
            "192.0.2.0/24",
            "192.31.196.0/24",
            "192.52.193.0/24",
            "192.88.99.0/24",  # relays to IPv6
            "192.168.0.0/16",
            "192.175.48.0/24",
            "198.18.0.0/15",
            "198.51.100.0/24",
            "203.0.113.0/24",
            "224.0.0.0/4",
            "240.0.0.0/4",
        ),
    )
)
#: Of IPv6 only this is routed at all; whatever maps IPv4 into it is taken out again.
_ROUTED_6 = ipaddress.IPv6Network("2000::/3")
_REFUSED_6 = tuple(
    map(
        ipaddress.IPv6Network,
        (
            "2001::/23",  # Teredo, ORCHID, benchmarks
            "2001:db8::/32",
            "2002::/16",  # 6to4
            "2620:4f:8000::/48",
            "3fff::/20",
        ),
    )
)


class RefusedError(ValueError):
    """Nothing is sent there; the message says why, and is for the target's owner."""


class Place(NamedTuple):
    """Where a request goes."""

    secure: bool  # over TLS
    host: str  # for SNI, the certificate and the Host header
    port: int
    path: str  # with its query

    @property
    def authority(self) -> str:
        """As the Host header has it."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == (443 if self.secure else 80) else f"{host}:{self.port}"


class Rules:
    """What may be spoken to."""

    def __init__(
        self,
        *,
        own_names: Collection[str] = (),
        loopback: bool = False,
        resolve: Resolve | None = None,
    ) -> None:
        """``own_names`` are this server's; with ``loopback`` this machine may be spoken to as well,
        also without TLS and at any port: for development and tests."""
        self._own_names = {name.lower().rstrip(".") for name in own_names if name}
        self._loopback = loopback
        self._resolve = resolve or look_up

    def read(self, url: str) -> Place:
        """The place of a URL. Raises RefusedError."""
        if len(url) > URL_LENGTH_MAX:
            raise RefusedError(f"a URL has at most {URL_LENGTH_MAX} characters")
        if not _URL.fullmatch(url) or "\\" in url:
            raise RefusedError("a URL is made of visible ASCII characters")
        try:
            parts = urllib.parse.urlsplit(url)
            port = parts.port
        except ValueError:
            raise RefusedError("it is no URL") from None
        if "@" in parts.netloc or parts.username is not None:
            raise RefusedError("a URL must not carry a user or password")
        host = parts.hostname or ""
        secure = parts.scheme == "https"
        if self._loopback and host in _LOOPBACK_NAMES and parts.scheme in ("http", "https"):
            port = (443 if secure else 80) if port is None else port
        else:
            if not secure:
                raise RefusedError("only https is spoken")
            if port not in (None, 443) or parts.netloc.endswith(":"):
                raise RefusedError("only port 443 is spoken to")
            self.check_name(host)
            port = 443
        path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        return Place(secure, host, port, path)

    def check_name(self, host: str) -> None:
        """Refuse what is no name of a public host. Raises RefusedError."""
        if not host or len(host) > 253 or any(c in host for c in "%[]:"):
            raise RefusedError("the host must be a name")
        if host.endswith("."):
            raise RefusedError("the host must not end with a dot")
        labels = host.lower().split(".")
        if not all(map(_LABEL.fullmatch, labels)):
            raise RefusedError("the host must be a name of letters, digits, hyphens and dots")
        if any(label.startswith("xn--") for label in labels):
            raise RefusedError("the host must not be an internationalised name")
        if len(labels) < 2 or not labels[-1].isalpha():
            # Also 2130706433, 0x7f.1, 0177.0.0.1 and 127.1: resolvers take them for addresses.
            raise RefusedError("the host must be a full name, not an address")
        name = ".".join(labels)
        if any(
            name == own or name.endswith("." + own) for own in (*_PRIVATE_NAMES, *self._own_names)
        ):
            raise RefusedError("the host is this server's, or of a private network")

    def addresses(self, place: Place) -> list[str]:
        """The addresses to connect to; blocks while the name is looked up.

        Raises RefusedError: any of them is not public; OSError: there is none now.
        """
        found = list(dict.fromkeys(self._resolve(place.host, place.port)))
        if not found:
            raise OSError("the name has no address")
        if len(found) > ADDRESSES_MAX:
            raise RefusedError(f"the name has more than {ADDRESSES_MAX} addresses")
        for text in found:
            if not (is_public(text) or (self._loopback and is_loopback(text))):
                raise RefusedError("the name leads to an address that is not public")
        return found


def is_public(text: str) -> bool:
    """True of an address that anybody on the internet could be spoken to at."""
    address = _read(text)
    if isinstance(address, ipaddress.IPv4Address):
        return address.is_global and not any(address in network for network in _REFUSED_4)
    return (
        address is not None
        and address in _ROUTED_6
        and address.is_global
        and not any(address in network for network in _REFUSED_6)
    )


def is_loopback(text: str) -> bool:
    """True of this machine's own addresses, in their plain forms only."""
    address = _read(text)
    return address is not None and address.is_loopback


def _read(text: str) -> Address | None:
    if "%" in text:  # a zone is of a link, and a link is private
        return None
    try:
        return ipaddress.ip_address(text)
    except ValueError:
        return None


def look_up(host: str, port: int) -> list[str]:
    """Every address of a name, in the system's order of preference. Raises OSError."""
    found: list[Any] = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return [str(entry[4][0]) for entry in found]
