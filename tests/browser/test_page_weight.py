"""What each page asks the server for at a first visit and at the second, whether it lies still, and fits a phone."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
from django.contrib.auth.models import User
from playwright.sync_api import Page

from approvals.intake import Outcome
from approvals.models import ApprovalRule
from cloudtrain_site.audit.recording import OPERATOR
from jobs.models import Organization
from jobs.organizations.tags import add_tag
from tests.browser.conftest import Browse, is_wider_than_the_window
from tests.wait import wait_until

pytestmark = [pytest.mark.browser, pytest.mark.slow, pytest.mark.long]

REQUESTS, REQUESTS_AGAIN = 12, 4
SHIFT = 0.02
JOB_KILOBYTES, EDITOR_KILOBYTES, KILOBYTES = 180, 300, 120
ROOTS = ("/machines", "/organizations/acme/settings/members")
PAGES = {
    **dict.fromkeys(("/", "/queue", "/approvals", "/metrics", "/spend", "/budgets", "/account"), KILOBYTES),
    **dict.fromkeys(("/notices", *ROOTS), KILOBYTES),
    **dict.fromkeys(("/jobs/{}", "/jobs/{}/log", "/jobs/{}/curves", "/jobs/{}/results"), JOB_KILOBYTES),
    **dict.fromkeys(("/jobs/{}/config", "/jobs/{}/history", "/jobs/compare?id={}&id={}"), JOB_KILOBYTES),
    "/jobs/new?parent={}": EDITOR_KILOBYTES,
}


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


SHIFTED = """() => new Promise((resolve) => {
  let sum = 0;
  new PerformanceObserver((list) => list.getEntries().forEach((one) => { sum += one.value; }))
    .observe({ type: "layout-shift", buffered: true });
  requestAnimationFrame(() => setTimeout(() => resolve(sum), 0));
})"""


def fits(page: Page) -> bool:
    return not is_wider_than_the_window(page)


def test_each_page_is_light_lies_still_and_fits_a_phone(
    browse: Browse, acme: Organization, alice: User, bob: User, root: User, submit: Callable[..., Outcome]
) -> None:
    User.objects.filter(pk=alice.pk).update(username="a" * 150)
    add_tag(acme, "t" * 40, by=OPERATOR)
    ApprovalRule.objects.create(name="r" * 100, organization=acme, config_name="f*")
    first_job, second_job = (submit(alice, name).job.pk for name in ("f" * 200, "flux-landscapes"))
    heavy: list[tuple[object, ...]] = []
    for address, most in PAGES.items():
        page = browse(root if address in ROOTS else bob, "about:blank")
        address = address.format(first_job, second_job)
        first, kilobytes = visit(page, address)
        shifted = page.evaluate(SHIFTED)
        second, _ = visit(page, address)
        if len(first) > REQUESTS or kilobytes > most or len(second) > REQUESTS_AGAIN or shifted > SHIFT:
            heavy.append((address, len(first), round(kilobytes), len(second), round(shifted, 3), first, second))
        page.set_viewport_size({"width": 320, "height": 640})
        # Charts take the new width a little later.
        wait_until(partial(fits, page))
        page.context.close()
    assert heavy == []
