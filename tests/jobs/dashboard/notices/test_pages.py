"""The pages of notices: one's own, and an organization's."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest
from django.contrib.auth.models import Group, User
from django.test import Client

from approvals.models import ApprovalRule
from cloudtrain_site.accounts.preferences import mail_choices
from cloudtrain_site.audit.models import AuditRecord
from cloudtrain_site.extensions import notice_choices
from cloudtrain_site.notices.channels import Owner, add_channel
from cloudtrain_site.notices.models import Channel, Delivery
from cloudtrain_site.notices.outbox import Audience, store
from cloudtrain_site.notices.sending import send_due
from jobs.models import Job, Membership, Organization
from jobs.roles import Role
from tests.factories import make_user

pytestmark = [pytest.mark.slow, pytest.mark.django_db]

HOOK = "https://hooks.example.org/recognisable"
SETTINGS = "/organizations/acme/settings/notices"


def signed_in(user: User) -> Client:
    client = Client()
    client.force_login(user)
    return client


@pytest.fixture
def ada(acme: Organization) -> User:
    """An admin of acme."""
    return make_user("ada", acme, Role.ADMIN)


def tell(user: User, key: str = "k") -> None:
    store("tide", key=key, subject="flux completed", audience=Audience(users=[user.pk]))


def text_of(answer: Any) -> str:
    return re.sub(r"\s+", " ", answer.content.decode())


def test_a_webhook_is_added_and_its_secret_is_shown_once(alice: User) -> None:
    browser = signed_in(alice)
    answer = browser.post("/notices", {"kind": "webhook", "name": "mine", "address": HOOK})
    (secret,) = re.findall(r'value="(whsec_[^"]+)"', answer.content.decode())
    assert answer.status_code == 200
    page = text_of(browser.get("/notices"))
    assert secret not in page
    assert "recognisable" not in page
    assert "https://hooks.example.org/…" in page
    record = AuditRecord.objects.get()
    assert (record.action, record.actor) == ("notice channel added", "alice")
    assert "recognisable" not in f"{record.after}{record.subject}"


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        ({"kind": "webhook", "address": "http://127.0.0.1/x"}, "127.0.0.1 is a private address."),
        ({"kind": "webhook", "address": "javascript:x"}, "An address begins with https://"),
        ({"kind": "chat", "address": "file:///etc/passwd"}, "This is not an address of a supported chat"),
        ({"kind": "mail", "address": "x@example.org"}, "Select a valid choice"),
        ({"kind": "webhook", "address": ""}, "This field is required"),
    ],
)
def test_a_bad_channel_is_refused_and_nothing_is_stored(alice: User, fields: dict[str, str], sentence: str) -> None:
    answer = signed_in(alice).post("/notices", fields)
    assert (answer.status_code, sentence in text_of(answer)) == (400, True)
    assert not Channel.objects.exists()


def test_buttons_of_a_channel(alice: User) -> None:
    browser = signed_in(alice)
    channel = add_channel(Owner(alice), "webhook", addresses=[HOOK]).channel
    address = f"/notices/channels/{channel.pk}"
    browser.post(address, {"choice": ["job_failed"]})
    channel.refresh_from_db()
    assert "job_completed" in channel.muted and "job_failed" not in channel.muted
    browser.post(address, {"act": "off"})
    assert "This channel is off. Switch it on first." in text_of(browser.post(address, {"act": "test"}, follow=True))
    assert not Delivery.objects.exists()
    browser.post(address, {"act": "on"})
    assert "Test sent." in text_of(browser.post(address, {"act": "test"}, follow=True))
    assert Delivery.objects.get().notice.kind == "test"
    assert "whsec_" in text_of(browser.post(address, {"act": "secret"}))
    browser.post(address, {"act": "remove"})
    assert not Channel.objects.exists()
    assert Delivery.objects.get().reason == "The channel was removed."


def test_tests_are_few_in_a_minute(alice: User) -> None:
    browser = signed_in(alice)
    for _ in range(6):
        answer = browser.post("/notices/mail", {"act": "test"}, follow=True)
    assert "There were too many tests in the last minute." in text_of(answer)
    assert Delivery.objects.count() == 5


def test_a_test_waits_for_no_window(alice: User, mailoutbox: list[Any]) -> None:
    tell(alice)
    assert send_due() == 1
    signed_in(alice).post("/notices/mail", {"act": "test"})
    assert send_due() == 1


def test_mail_is_chosen_by_kind(alice: User) -> None:
    signed_in(alice).post("/notices/mail", {"choice": ["job_failed"]})
    sent = [name for name, is_sent in mail_choices(alice).items() if is_sent and name in notice_choices(alice)]
    assert sent == ["job_failed"]


def test_the_browser_shows_notices_from_then_on(alice: User) -> None:
    browser = signed_in(alice)
    for _ in range(2):
        assert browser.post("/notices/browser").status_code == 302
    assert Channel.objects.get().kind == "browser"


def test_others_channels_are_not_there(alice: User, bob: User, ada: User, acme: Organization) -> None:
    own = add_channel(Owner(alice), "webhook", addresses=[HOOK]).channel
    organization_s = add_channel(Owner(organization=acme, by=ada), "webhook", addresses=[HOOK]).channel
    for channel in (own, organization_s):
        assert signed_in(bob).post(f"/notices/channels/{channel.pk}", {"act": "remove"}).status_code == 404
    assert signed_in(ada).post(f"{SETTINGS}/{own.pk}", {"act": "remove"}).status_code == 404
    assert Channel.objects.count() == 2


def test_admins_choose_an_organization_s_channels(ada: User, acme: Organization, make_job: Callable[..., Job]) -> None:
    browser = signed_in(ada)
    answer = browser.post(SETTINGS, {"kind": "mail", "address": "a@example.org, b@example.org"}, follow=True)
    assert "a@example.org, b@example.org" in text_of(answer)
    channel = Channel.objects.get()
    assert (channel.organization_id, channel.user_id) == (acme.pk, None)
    assert AuditRecord.objects.get().organization_id == acme.pk
    job = make_job(organization=acme, number=7, config_name="flux")
    store("tide", key="k", subject="flux completed", job_id=job.pk, audience=Audience(organization_id=acme.pk))
    assert send_due() == 2
    for address in (SETTINGS, f"{SETTINGS}/deliveries"):
        assert "<bdi>flux \u2066#7\u2069 completed</bdi>" in text_of(browser.get(address))
    browser.post(f"{SETTINGS}/{channel.pk}", {"act": "remove"})
    assert not Channel.objects.exists()


def test_members_who_are_no_admins_and_strangers_see_none_of_it(alice: User, charlie: User, acme: Organization) -> None:
    for address in (SETTINGS, f"{SETTINGS}/deliveries", f"{SETTINGS}/1"):
        assert signed_in(alice).post(address).status_code in (403, 405)
        assert signed_in(charlie).post(address).status_code in (404, 405)
    assert signed_in(alice).get(SETTINGS).status_code == 403
    assert signed_in(charlie).get(SETTINGS).status_code == 404


def test_the_page_of_deliveries_tells_what_became_of_each(alice: User, settings: Any) -> None:
    settings.EMAIL_BACKEND = "django.core.mail.backends.smtp.EmailBackend"
    settings.EMAIL_HOST, settings.EMAIL_PORT = "127.0.0.1", 9
    tell(alice)
    send_due()
    page = text_of(signed_in(alice).get("/notices/deliveries?state=retrying"))
    assert "Tried 1 time; next try" in page
    assert "The mail server failed: ConnectionRefusedError." in page
    assert "No notices in this list." in text_of(signed_in(alice).get("/notices/deliveries?state=failed"))


def test_deliveries_come_in_pages(alice: User, mailoutbox: list[Any]) -> None:
    for number in range(60):
        tell(alice, f"{number}")
    send_due()
    browser = signed_in(alice)
    (before,) = re.findall(r"before=(\d+)", browser.get("/notices/deliveries").content.decode())
    assert browser.get(f"/notices/deliveries?before={before}").content.decode().count("<tr>") == 11


def test_a_name_of_somebody_s_is_text_on_the_page(alice: User, mailoutbox: list[Any]) -> None:
    store("tide", key="k", subject="<script>x", audience=Audience(users=[alice.pk]))
    send_due()
    assert "<script>x" not in signed_in(alice).get("/notices/deliveries").content.decode()
    assert "<script>x" not in mailoutbox[0].alternatives[0][0]


def test_whoever_left_sees_the_organization_s_deliveries_no_more(ada: User, acme: Organization) -> None:
    Membership.objects.filter(user=ada).delete()
    assert signed_in(ada).get(f"{SETTINGS}/deliveries").status_code == 404


DECISIONS = "A job needs my decision"


def mail_part(page: Any) -> str:
    """What stands between the titles of mail and of the browser."""
    text: str = page.content.decode()
    return text[text.index("mail-title") : text.index("browser-title")]


@pytest.mark.parametrize(("who", "offered"), [("alice", False), ("bob", True), ("root", True)])
def test_mail_about_decisions_is_offered_to_who_decides(
    request: pytest.FixtureRequest, alice: User, who: str, offered: bool
) -> None:
    page = signed_in(request.getfixturevalue(who)).get("/notices")
    assert (DECISIONS in mail_part(page)) is offered


@pytest.mark.parametrize("criteria", [{"reviewer_role": "researcher"}, {"reviewer_group": True}])
def test_a_rule_can_make_a_researcher_decide(alice: User, criteria: dict[str, object]) -> None:
    browser = signed_in(alice)
    if "reviewer_group" in criteria:
        criteria = {"reviewer_group": Group.objects.create(name="budget")}
        alice.groups.add(criteria["reviewer_group"])  # type: ignore[arg-type]
    rule = ApprovalRule.objects.create(name="costly", first_job=True, **criteria)
    assert DECISIONS in mail_part(browser.get("/notices"))
    ApprovalRule.objects.filter(pk=rule.pk).update(enabled=False)
    assert DECISIONS not in mail_part(browser.get("/notices"))


def test_what_is_not_offered_is_not_muted(alice: User) -> None:
    signed_in(alice).post("/notices/mail", {"choice": []})
    assert {name for name, is_sent in mail_choices(alice).items() if is_sent} == {
        "approval_asked",
        "approval_reminder",
    }
