"""Behind a reverse proxy: whose word about the client counts."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from cloudtrain_site.conf.environment import ConfigurationError, Environment
from cloudtrain_site.serving.asgi_types import Receive, Scope, Send
from cloudtrain_site.web import behind_proxies


def seen_through(peer: str, forwarded: str) -> Scope:
    """The request as the site gets it, when `peer` connects and tells of a client over HTTPS."""
    seen: list[Scope] = []

    async def site(scope: Scope, receive: Receive, send: Send) -> None:
        seen.append(scope)

    headers = [(b"x-forwarded-for", forwarded.encode()), (b"x-forwarded-proto", b"https")]
    arrived: Any = {"type": "http", "scheme": "http", "client": (peer, 50_000), "headers": headers if forwarded else []}
    nothing: Any = None
    asyncio.run(behind_proxies(site)(arrived, nothing, nothing))
    return seen[0]


@pytest.mark.parametrize(
    ("peer", "forwarded", "proxies", "client"),
    [
        ("127.0.0.1", "9.9.9.9", [], "9.9.9.9"),
        ("::1", "9.9.9.9", [], "9.9.9.9"),
        ("127.0.0.1", "", [], "127.0.0.1"),
        ("10.0.0.3", "9.9.9.9", [], "10.0.0.3"),
        ("10.0.0.3", "9.9.9.9", ["10.0.0.0/8"], "9.9.9.9"),
        ("10.0.0.3", "9.9.9.9", ["192.0.2.1/32"], "10.0.0.3"),
        ("127.0.0.1", "1.1.1.1, 9.9.9.9", [], "9.9.9.9"),
        ("10.0.0.3", "1.1.1.1, 9.9.9.9, 10.0.0.4", ["10.0.0.0/8"], "9.9.9.9"),
    ],
)
def test_the_client_is_told_by_trusted_proxies_alone(
    settings: Any, peer: str, forwarded: str, proxies: list[str], client: str
) -> None:
    settings.TRUSTED_PROXIES = proxies
    assert seen_through(peer, forwarded)["client"][0] == client


@pytest.mark.parametrize(("peer", "scheme"), [("127.0.0.1", "https"), ("10.0.0.3", "http")])
def test_so_is_whether_it_came_over_https(settings: Any, peer: str, scheme: str) -> None:
    settings.TRUSTED_PROXIES = []
    assert seen_through(peer, "9.9.9.9")["scheme"] == scheme


def test_proxies_are_addresses_and_networks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("X", " 10.0.0.7/8 192.0.2.1  2001:db8::/32 ")
    assert Environment().networks("X") == ["10.0.0.0/8", "192.0.2.1/32", "2001:db8::/32"]


@pytest.mark.parametrize("text", ["proxy.example.org", "10.0.0.0/33", "10.0.0.0/8;10.0.0.1", "*"])
def test_anything_else_is_refused(monkeypatch: pytest.MonkeyPatch, text: str) -> None:
    monkeypatch.setenv("X", text)
    with pytest.raises(ConfigurationError, match="X must be addresses or networks such as"):
        Environment().networks("X")
