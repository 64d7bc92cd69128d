"""What a target may not be: every way to write an address of this machine or its networks."""

from __future__ import annotations

import ipaddress
import socket

import pytest
from hypothesis import given
from hypothesis import strategies as st

from server.alerts.addresses import RefusedError, Rules, is_public

RULES = Rules(own_names=["kline.example.com", "fly-machine-1"])

REFUSED_URLS = {
    # this machine, in every form that some resolver takes for it
    "loopback": "https://127.0.0.1/",
    "loopback, decimal": "https://2130706433/",
    "loopback, hexadecimal": "https://0x7f.1/",
    "loopback, hexadecimal whole": "https://0x7f000001/",
    "loopback, octal": "https://0177.0.0.1/",
    "loopback, short": "https://127.1/",
    "loopback, three parts": "https://127.0.1/",
    "loopback, another": "https://127.255.255.254/",
    "nothing": "https://0.0.0.0/",
    "zero": "https://0/",
    "IPv6 nothing": "https://[::]/",
    "IPv6 loopback": "https://[::1]/",
    "IPv6 loopback, long": "https://[0:0:0:0:0:0:0:1]/",
    "IPv6 of IPv4": "https://[::ffff:127.0.0.1]/",
    "IPv6 of IPv4, hexadecimal": "https://[::ffff:7f00:1]/",
    "NAT64": "https://[64:ff9b::7f00:1]/",
    "zone": "https://[fe80::1%25eth0]/",
    "zone, bare": "https://[fe80::1%eth0]/",
    "public address": "https://8.8.8.8/",
    "public IPv6 address": "https://[2606:4700::1111]/",
    # names
    "localhost": "https://localhost/",
    "localhost, dot": "https://localhost./",
    "localhost, case": "https://LOCALHOST/",
    "below localhost": "https://a.localhost/",
    "internal": "https://vault.internal/",
    "Fly's own": "https://_api.internal:4280/",
    "Fly's own, 443": "https://_api.internal/",
    "local": "https://printer.local/",
    "home": "https://router.home.arpa/",
    "reverse": "https://1.0.0.127.in-addr.arpa/",
    "one label": "https://intranet/",
    "trailing dot": "https://hooks.example.com./",
    "IDN": "https://münchen.example/",
    "IDN, full stop": "https://example。com/",
    "IDN, encoded": "https://xn--mnchen-3ya.example/",
    "homoglyph": "https://hooks.exаmple.com/",
    "full width": "https://１２７.0.0.1/",
    "our own name": "https://kline.example.com/v1/signals",
    "our own name, case": "https://KLINE.Example.com/",
    "below our own name": "https://a.kline.example.com/",
    "our machine's name": "https://fly-machine-1/",
    "empty label": "https://hooks..example.com/",
    "long label": f"https://{'a' * 64}.example.com/",
    "long name": f"https://{'a.' * 130}com/",
    "underscore first": "https://-hooks.example.com/",
    "encoded": "https://hooks%2eexample.com/",
    "encoded address": "https://%31%32%37.0.0.1/",
    # other schemes and ports
    "http": "http://hooks.example.com/",
    "ftp": "ftp://hooks.example.com/",
    "file": "file:///etc/passwd",
    "gopher": "gopher://hooks.example.com/",
    "no scheme": "hooks.example.com/",
    "no host": "https:///path",
    "scheme-relative": "//hooks.example.com/",
    "javascript": "javascript:alert(1)",
    "port 80": "https://hooks.example.com:80/",
    "port 8443": "https://hooks.example.com:8443/",
    "port 0": "https://hooks.example.com:0/",
    "no port": "https://hooks.example.com:/",
    "port beyond": "https://hooks.example.com:65979/",
    "port text": "https://hooks.example.com:https/",
    # two readers, two hosts
    "user": "https://user@hooks.example.com/",
    "user and password": "https://user:secret@hooks.example.com/",
    "empty user": "https://@hooks.example.com/",
    "host as user": "https://hooks.example.com@127.0.0.1/",
    "backslash": "https://hooks.example.com\\@127.0.0.1/",
    "backslash path": "https:\\\\hooks.example.com\\",
    "CRLF": "https://hooks.example.com/\r\nHost: 127.0.0.1",
    "CRLF, host": "https://hooks.example.com\r\n/",
    "LF": "https://hooks.example.com/\nx",
    "tab": "https://hooks.exa\tmple.com/",
    "NUL": "https://hooks.example.com/\x00",
    "blank": "https://hooks.example.com/a b",
    "leading blank": " https://hooks.example.com/",
    "zero width": "https://hooks.example.com/\u200b",
    "bracket": "https://[hooks.example.com]/",
    "open bracket": "https://[::1/",
    "long": "https://hooks.example.com/" + "a" * 2048,
    "empty": "",
}  # fmt: skip


@pytest.mark.parametrize("name", REFUSED_URLS)
def test_such_a_url_is_refused_before_anything_is_looked_up(name: str) -> None:
    with pytest.raises(RefusedError):
        RULES.read(REFUSED_URLS[name])


@pytest.mark.parametrize(
    ("url", "host", "path"),
    [
        ("https://hooks.example.com/a?b=c", "hooks.example.com", "/a?b=c"),
        ("https://hooks.example.com:443/", "hooks.example.com", "/"),
        ("https://hooks.example.com", "hooks.example.com", "/"),
        ("https://Hooks.Example.com/A", "hooks.example.com", "/A"),
        ("https://hooks.example.com/a#b", "hooks.example.com", "/a"),
        ("https://a_b.example.com/%20", "a_b.example.com", "/%20"),
        ("https://notkline.example.com/", "notkline.example.com", "/"),
    ],
)
def test_a_public_name_is_taken(url: str, host: str, path: str) -> None:
    place = RULES.read(url)
    assert place == (True, host, 443, path)
    assert place.authority == host


REFUSED_ADDRESSES = [
    "127.0.0.1", "127.255.255.254", "0.0.0.0", "0.1.2.3", "10.0.0.1", "10.255.255.255",
    "172.16.0.1", "172.31.255.255", "192.168.0.1", "100.64.0.1", "100.127.255.255",
    "169.254.169.254", "169.254.0.1", "192.0.0.1", "192.0.0.170", "192.0.2.1", "192.88.99.1",
    "198.18.0.1", "198.19.255.255", "198.51.100.1", "203.0.113.1", "224.0.0.1",
    "239.255.255.255", "240.0.0.1", "255.255.255.255", "::", "::1", "::ffff:127.0.0.1",
    "::ffff:8.8.8.8", "::ffff:10.0.0.1", "::127.0.0.1", "64:ff9b::7f00:1", "64:ff9b::808:808",
    "64:ff9b:1::1", "100::1", "2001::1", "2001:0:4136:e378:8000:63bf:3fff:fdd2", "2001:db8::1",
    "2002:7f00:1::", "2002:a00:1::1", "3fff::1", "fc00::1", "fd00::1", "fdaa::3", "fdaa:0:1::2",
    "fe80::1", "fe80::1%eth0", "fec0::1", "ff02::1", "2606:4700::1111%1", "5f00::1", "", "nonsense",
    "2130706433", "0x7f.1", "127.1", "0177.0.0.1",
]  # fmt: skip


@pytest.mark.parametrize("address", REFUSED_ADDRESSES)
def test_a_name_that_leads_there_is_refused_also_beside_public_addresses(address: str) -> None:
    place = RULES.read("https://hooks.example.com/")
    for found in ([address], ["8.8.8.8", address], [address, "2606:4700::1111"]):
        rules = Rules(resolve=lambda host, port, found=found: found)
        with pytest.raises(RefusedError):
            rules.addresses(place)


@pytest.mark.parametrize("address", ["8.8.8.8", "1.1.1.1", "2606:4700::1111", "172.32.0.1"])
def test_public_addresses_are_taken(address: str) -> None:
    rules = Rules(resolve=lambda host, port: [address, address])
    assert rules.addresses(RULES.read("https://hooks.example.com/")) == [address]


@given(st.ip_addresses())
def test_nothing_is_public_that_the_registries_call_otherwise(
    address: ipaddress.IPv4Address | ipaddress.IPv6Address,
) -> None:
    if is_public(str(address)):
        assert address.is_global
        assert not address.is_multicast
        assert not address.is_reserved
        assert not address.is_private


@given(st.integers(0, 2**32 - 1))
def test_no_way_to_write_ipv4_in_ipv6_leads_around(number: int) -> None:
    inner = ipaddress.IPv4Address(number)
    if is_public(str(inner)):
        return
    forms = [
        f"::ffff:{inner}", f"::{inner}", f"64:ff9b::{inner}", f"64:ff9b:1::{inner}",
        str(ipaddress.IPv6Address((0x2002 << 112) | (number << 80) | 1)),  # 6to4
        str(ipaddress.IPv6Address((0x20010000 << 96) | (number ^ 0xFFFFFFFF))),  # Teredo
    ]  # fmt: skip
    assert not any(map(is_public, forms))


def test_a_name_with_a_crowd_of_addresses_is_refused() -> None:
    rules = Rules(resolve=lambda host, port: [f"8.8.{i}.8" for i in range(33)])
    with pytest.raises(RefusedError):
        rules.addresses(RULES.read("https://hooks.example.com/"))


def test_a_name_that_is_not_known_is_no_refusal() -> None:
    def unknown(host: str, port: int) -> list[str]:
        raise socket.gaierror(socket.EAI_NONAME, "unknown")

    for resolve in (unknown, lambda host, port: []):
        with pytest.raises(OSError, match="unknown|no address"):
            Rules(resolve=resolve).addresses(RULES.read("https://hooks.example.com/"))


def test_only_the_setting_for_development_lets_this_machine_be_spoken_to() -> None:
    rules = Rules(loopback=True)
    for url in ("http://localhost:8025/a", "https://127.0.0.1:8443/a", "http://[::1]:80/a"):
        assert all(address in ("127.0.0.1", "::1") for address in rules.addresses(rules.read(url)))
        with pytest.raises(RefusedError):
            Rules().read(url)
    for url in ("http://hooks.example.com/", "https://10.0.0.1/", "https://127.1/"):
        with pytest.raises(RefusedError):
            rules.read(url)
    private = Rules(loopback=True, resolve=lambda host, port: ["10.0.0.1"])
    with pytest.raises(RefusedError):
        private.addresses(RULES.read("https://hooks.example.com/"))
