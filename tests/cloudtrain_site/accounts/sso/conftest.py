"""A provider over HTTP, and the configuration that names it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, Protocol

import pytest
from django.http import HttpResponse
from django.test import Client

from tests.configuration import WriteConfig
from tests.openid_provider import CLIENT_ID, CLIENT_SECRET, Provider, callback_of, running_provider


@pytest.fixture
def provider() -> Iterator[Provider]:
    with running_provider() as provider:
        yield provider


Configure = Callable[..., None]


@pytest.fixture
def configure(write_config: WriteConfig, provider: Provider, monkeypatch: pytest.MonkeyPatch) -> Configure:
    """Put the provider into the configuration; `more` are further lines of `sso:`."""
    monkeypatch.setenv("SSO_SECRET", CLIENT_SECRET)

    def write(more: str = "", elsewhere: str = "") -> None:
        lines = [
            "sso:",
            f"  issuer: {provider.issuer}",
            f"  client_id: {CLIENT_ID}",
            "  client_secret: ${SSO_SECRET}",
            "  domains: [example.org]",
            "  label: Sign in with Example",
            *(f"  {line}" for line in more.splitlines()),
        ]
        write_config("\n".join(lines) + f"\n{elsewhere}\n")

    return write


class SignOn(Protocol):
    def __call__(self, client: Client, next_url: str = "", **changes: str | None) -> HttpResponse: ...


@pytest.fixture
def sign_on(provider: Provider) -> SignOn:
    """Go to the provider and back, as a browser; `changes` are those of the way back. Returns the site's answer."""

    def go(client: Client, next_url: str = "", **changes: str | None) -> HttpResponse:
        away: Any = client.get("/login/sso", {"next": next_url} if next_url else {})
        assert away.status_code == 302, away.content.decode()
        return client.get(f"/login/sso/callback?{callback_of(provider, away['Location'], **changes)}")  # type: ignore[return-value]

    return go
