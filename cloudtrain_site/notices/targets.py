"""The addresses that people may have us call: how they are read, shown and checked.

An address is checked when it is stored, as far as its text shows, and again at each connection, by what its host's name
stands for then: `checked_socket` sees the very address that is connected to, so that no name can change in between.
"""

from __future__ import annotations

import ipaddress
import socket
from functools import lru_cache
from ipaddress import IPv4Address, IPv6Address
from typing import Any
from urllib.parse import urlsplit

from django.conf import settings

ADDRESS_LIMIT = 500
#: Not for the public, though Python's `is_global` says so: metadata services of clouds, translated and mapped networks.
_REFUSED_NETWORKS = tuple(
    ipaddress.ip_network(network)
    for network in ("168.63.129.16/32", "192.0.0.0/24", "64:ff9b:1::/48", "fec0::/10", "::/96")
)
_TRANSLATED = ipaddress.ip_network("64:ff9b::/96")


class RefusedAddressError(OSError):
    """An address that must not be called. The message is a sentence for whoever chose it."""


def check_address(address: str) -> str:
    """Return the host of an http or https address. Raises RefusedAddressError for one that is never called.

    Names are not resolved here: that happens at each call.
    """
    if len(address) > ADDRESS_LIMIT or any(char.isspace() or not char.isprintable() for char in address):
        raise RefusedAddressError(f"An address has at most {ADDRESS_LIMIT} characters, and no blanks.")
    try:
        parts = urlsplit(address)
        host, port = parts.hostname, parts.port
    except ValueError:
        raise RefusedAddressError("This is not a valid address.") from None
    if parts.scheme not in ("http", "https") or not host or port == 0:
        raise RefusedAddressError("An address begins with https:// or http:// and a host.")
    if parts.username is not None or parts.password is not None:
        raise RefusedAddressError("An address with a user name or a password before the host is not allowed.")
    if number := _as_number(host):
        _check_ip(number)
    elif host == "localhost" or host.endswith(".localhost"):
        _check_ip("127.0.0.1")
    return host


def _as_number(host: str) -> str:
    """Return the IP address that `host` is, in any of the ways to write one that a resolver knows; "": it is a name."""
    try:
        return str(ipaddress.ip_address(host))
    except ValueError:
        pass
    try:
        return socket.inet_ntoa(socket.inet_aton(host))  # 127.1, 2130706433, 0x7f.1
    except (OSError, UnicodeEncodeError):
        return ""


def _check_ip(text: str) -> None:
    if not may_connect(text, tuple(settings.NOTICE_NETWORKS)):
        raise RefusedAddressError(
            f"{text} is a private address. An operator can allow its network in CLOUDTRAIN_NOTICE_NETWORKS."
        )


@lru_cache(maxsize=1024)
def may_connect(text: str, allowed_networks: tuple[str, ...]) -> bool:
    """Whether a connection to the IP address `text` is allowed: a public one, or one in `allowed_networks`."""
    ip = ipaddress.ip_address(text.partition("%")[0])
    leads_to = _embedded(ip) or ip
    if any(item in ipaddress.ip_network(network) for network in allowed_networks for item in (ip, leads_to)):
        return True
    return leads_to.is_global and not leads_to.is_multicast and not any(leads_to in net for net in _REFUSED_NETWORKS)


def _embedded(ip: IPv4Address | IPv6Address) -> IPv4Address | None:
    """Return the IPv4 address that a mapped, a 6to4 or a translated IPv6 address leads to."""
    if isinstance(ip, IPv4Address):
        return None
    return IPv4Address(int(ip) & 0xFFFFFFFF) if ip in _TRANSLATED else ip.ipv4_mapped or ip.sixtofour


def checked_socket(addr_info: tuple[Any, ...]) -> socket.socket:
    """Make the socket for a connection to exactly `addr_info`, as asyncio has it. Raises RefusedAddressError."""
    family, kind, protocol, _, address = addr_info
    _check_ip(address[0])
    return socket.socket(family, kind, protocol)


def host_of(address: str) -> str:
    """Return host and port, as far as the address says one."""
    parts = urlsplit(address)
    return parts.netloc.rpartition("@")[2].casefold()[:250]


def shown_address(address: str) -> str:
    """Return what pages show of an address: paths and queries of webhooks are often their only secret."""
    parts = urlsplit(address)
    rest = parts.path.strip("/") or parts.query
    return f"{parts.scheme}://{host_of(address)}{'/…' if rest else ''}"
