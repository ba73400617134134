"""How much each page asks the server for: at a first visit, and at the second."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from django.contrib.auth.models import User
from playwright.sync_api import Page

from approvals.intake import Outcome
from tests.browser.conftest import Browse

pytestmark = [pytest.mark.browser, pytest.mark.slow, pytest.mark.long]

REQUESTS, REQUESTS_AGAIN = 12, 4
KILOBYTES = 120
#: Those that are made of few scripts. A job's page, the list and the editor load more modules of their own.
PAGES = ("/queue", "/approvals", "/metrics", "/spend", "/account")


def visit(page: Page, address: str) -> tuple[list[str], float]:
    """What the page asks the network for, and the kilobytes that come over it."""
    asked: dict[str, str] = {}
    sizes: dict[str, float] = {}

    def forget(event: dict[str, Any]) -> None:
        asked.pop(event["requestId"], None)

    def on_answer(event: dict[str, Any]) -> None:
        if event["response"].get("fromDiskCache"):
            forget(event)

    session = page.context.new_cdp_session(page)
    session.send("Network.enable")
    session.on("Network.requestWillBeSent", lambda event: asked.update({event["requestId"]: event["request"]["url"]}))
    session.on("Network.requestServedFromCache", forget)
    session.on("Network.responseReceived", on_answer)
    session.on("Network.loadingFinished", lambda event: sizes.update({event["requestId"]: event["encodedDataLength"]}))
    page.goto(address)
    page.locator('.pulse[data-state="up"]').wait_for()
    session.detach()
    network = {name: url for name, url in asked.items() if url.startswith("http")}
    return sorted(network.values()), sum(sizes.get(name, 0) for name in network) / 1000


def test_each_page_is_light(browse: Browse, alice: User, bob: User, submit: Callable[..., Outcome]) -> None:
    submit(alice, "flux-portraits")
    heavy = []
    for address in PAGES:
        page = browse(bob, "about:blank")
        first, kilobytes = visit(page, address)
        second, _ = visit(page, address)
        if len(first) > REQUESTS or kilobytes > KILOBYTES or len(second) > REQUESTS_AGAIN:
            heavy.append((address, len(first), round(kilobytes), len(second), first))
        page.context.close()
    assert heavy == []
