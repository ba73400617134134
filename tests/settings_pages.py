"""The settings pages of the tests: a browser without scripts that fills in forms."""

from __future__ import annotations

import re
from html import unescape
from typing import Any

from django.contrib.auth.models import User
from django.test import Client

from jobs.models import Organization

ACME = "/organizations/acme/settings"


def browser_of(user: User | None) -> Client:
    """A browser in which `user` is signed in; None: nobody is."""
    client = Client()
    if user is not None:
        client.force_login(user)
    return client


def text_of(response: Any) -> str:
    """What the page says, in one line: without tags, and with the characters that entities stand for."""
    page = re.sub(r"</?bdi>", "", response.content.decode())
    return " ".join(unescape(re.sub(r"<[^>]+>", " ", page)).split())


def stamp_in(client: Client, address: str) -> str:
    """The stamp in the form of the page at `address`."""
    found = re.search(r'name="stamp"\s+value="(\w+)"', client.get(address).content.decode())
    assert found is not None, address
    return found.group(1)


def send(client: Client, address: str, **fields: Any) -> Any:
    """Fill in the form of the page as it is now, send it, and return the page that follows."""
    return client.post(address, {"stamp": stamp_in(client, address), **fields}, follow=True)


def settings_of(organization: Organization) -> str:
    return f"/organizations/{organization.name}/settings"
