"""Notices in a real browser: the pages of channels, and what the browser shows itself."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest
from django.contrib.auth.models import User
from django.db import connections
from playwright.sync_api import Page, expect

from cloudtrain_site.notices.channels import Owner, add_channel, change_channel, switch_off
from cloudtrain_site.notices.models import Delivery
from cloudtrain_site.notices.outbox import Audience, store
from cloudtrain_site.notices.sending import send_due
from jobs.models import Organization
from jobs.roles import Role
from tests.browser.conftest import Browse, forgive, is_live, is_wider_than_the_window, keep, sticking_out, violations
from tests.cloudtrain_site.notices.conftest import webhook_receiver
from tests.cloudtrain_site.notices.receivers import WebhookReceiver
from tests.factories import make_user
from tests.wait import wait_until

__all__ = ["webhook_receiver"]

pytestmark = [pytest.mark.browser, pytest.mark.slow, pytest.mark.long]

HOOK = "https://hooks.example.org/secret"
#: Stands for the system's own messages, which no test can see.
RECORDER = """
window.shown = [];
window.Notification = class extends EventTarget {
  static permission = "granted";
  static requestPermission = async () => "granted";
  constructor(title, options) { super(); window.shown.push([title, options.tag]); window.last = this; }
  close() {}
};
"""


IS_IN_FRONT = "navigator.locks.query().then(({held}) => held.some((one) => one.name.includes('in-front')))"


def deliver() -> int:
    """Send what is due, in a thread: Playwright's loop runs in this one."""
    with ThreadPoolExecutor(1) as threads:
        return threads.submit(_deliver).result()


def _deliver() -> int:
    try:
        return send_due()
    finally:
        connections.close_all()


def some_deliveries(user: User) -> None:
    for number, kind in enumerate(("invitation", "invitation", "invitation")):
        audience = Audience(users=[user.pk])
        store(kind, key=f"k{number}", subject=f"flux-portraits-{number} completed", audience=audience, link="/")
    deliver()
    Delivery.objects.filter(notice__key="k1").update(
        is_sent=False, reason="Given up after 9 tries. It answered 503: " + "x" * 90
    )
    Delivery.objects.filter(notice__key="k2").update(is_sent=False, done_at=None, tries=2, reason="It answered 503.")


def test_a_webhook_is_added_tried_and_removed(
    browse: Browse, alice: User, webhook_receiver: WebhookReceiver, complaints: list[str]
) -> None:
    page = is_live(browse(alice, "/account"))
    page.get_by_role("link", name="Choose your notices").click()
    page.get_by_label("Kind").select_option("Webhook")
    page.get_by_label("Name").fill("lab")
    page.get_by_label("Address").fill("http://10.0.0.1/hook")
    page.get_by_role("button", name="Add", exact=True).click()
    expect(page.locator(".field-error")).to_contain_text("10.0.0.1 is a private address.")
    forgive(page, complaints, "400 (Bad Request)")
    page = is_live(browse(alice, "/notices"))
    page.get_by_label("Name").fill("lab")
    page.get_by_label("Address").fill(webhook_receiver.url)
    page.get_by_role("button", name="Add", exact=True).click()
    expect(page.get_by_label("The new secret")).to_be_visible()
    assert page.get_by_label("The new secret").input_value().startswith("whsec_")
    keep(page, "notices-secret")
    channel = page.get_by_role("form", name="Webhook lab")
    channel.get_by_role("button", name="Send a test").click()
    expect(page.get_by_text("Test sent.")).to_be_visible()
    deliver()
    assert len(webhook_receiver.requests) == 1
    page.reload()
    expect(page.get_by_role("table", name="Deliveries")).to_contain_text("Sent")
    channel.get_by_label("A job of mine completed").uncheck()
    channel.get_by_role("button", name="Save").click()
    expect(channel.get_by_label("A job of mine completed")).not_to_be_checked()
    channel.get_by_role("button", name="Remove").click()
    page.get_by_role("dialog").get_by_role("button", name="Remove").click()
    expect(page.get_by_text("No channels yet.")).to_be_visible()


@pytest.mark.parametrize("width", [1280, 390])
def test_the_pages_have_no_barrier_and_fit(browse: Browse, alice: User, acme: Organization, width: int) -> None:
    ada = make_user("ada", acme, Role.ADMIN)
    for owner in (Owner(ada), Owner(organization=acme, by=ada)):
        off = add_channel(owner, "webhook", name="the lab's own webhook of everything", addresses=[HOOK]).channel
        chat = add_channel(owner, "chat", addresses=["https://discord.com/api/webhooks/100000000000000001/" + "x" * 68])
        change_channel(owner, chat.channel, muted=["approval_decided"], on=False)
        switch_off(off, "It answered 410: it accepts no more notices.")
    add_channel(Owner(ada), "browser")
    some_deliveries(ada)
    size = {"width": width, "height": 900}
    for address in ("/notices", "/notices/deliveries", "/organizations/acme/settings/notices"):
        for scheme in ("light", "dark"):
            page = is_live(browse(ada, address, viewport=size, color_scheme=scheme, permissions=["notifications"]))
            assert not is_wider_than_the_window(page)
            assert sticking_out(page) == []
            assert violations(page) == []
            keep(page, f"notices{address.replace('/', '-')}-{width}-{scheme}")


def in_background(page: Page) -> None:
    page.evaluate("document.hasFocus = () => false; window.dispatchEvent(new Event('blur'))")


def shown_in(page: Page) -> list[list[str]]:
    shown: list[list[str]] = page.evaluate("window.shown")
    return shown


def test_the_browser_shows_a_notice_only_while_no_page_is_in_front(browse: Browse, alice: User, bob: User) -> None:
    page = browse(alice, "/notices", permissions=["notifications"])
    page.context.add_init_script(RECORDER)
    page.reload()
    is_live(page)
    page.get_by_role("button", name="Show notices in this browser").click()
    expect(page.get_by_text("This browser shows notices")).to_be_visible()
    is_live(page)
    page.wait_for_function(
        "navigator.locks.query().then(({held}) => held.some((one) => one.name.includes('in-front')))"
    )

    def tell(key: str, user: User = alice) -> None:
        store("invitation", key=key, subject=f"{key} completed", audience=Audience(users=[user.pk]), link="/account")
        deliver()

    tell("seen")
    page.wait_for_timeout(500)
    assert shown_in(page) == []
    in_background(page)
    page.wait_for_function(f"{IS_IN_FRONT}.then((is) => !is)")
    tell("of-bob", bob)
    tell("unseen")
    wait_until(lambda: shown_in(page) == [["unseen completed", "unseen"]])
    page.evaluate("window.last.dispatchEvent(new Event('click'))")
    page.wait_for_url("**/account")
