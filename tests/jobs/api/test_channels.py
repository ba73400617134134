"""An organization's notice channels over the API."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import User
from rest_framework.test import APIClient

from cloudtrain_site.accounts.api_keys import issue_key
from cloudtrain_site.audit.models import AuditRecord
from cloudtrain_site.audit.recording import OPERATOR
from cloudtrain_site.models import Scope
from cloudtrain_site.notices.channels import Owner, add_channel
from cloudtrain_site.notices.models import Channel, Delivery
from jobs.models import Organization
from jobs.organizations.endings import close, delete_organization
from jobs.roles import Role
from tests.factories import make_user

pytestmark = pytest.mark.django_db
ClientOf = Callable[[User | None], APIClient]
CHANNELS = "/api/organizations/acme/notice-channels"
HOOK = {"kind": "webhook", "name": "ours", "addresses": ["https://hooks.example.org/recognisable?key=recognisable"]}


@pytest.fixture
def ada(acme: Organization) -> User:
    return make_user("ada", acme, Role.ADMIN)


@pytest.fixture
def admin(client_of: ClientOf, ada: User) -> APIClient:
    return client_of(ada)


def test_a_webhook_s_secret_is_shown_once_and_its_address_never(admin: APIClient, acme: Organization) -> None:
    made = admin.post(CHANNELS, {**HOOK, "muted": ["job_completed"]})
    assert (made.status_code, made.json()["secret"][:6]) == (201, "whsec_")
    (shown,) = admin.get(CHANNELS).json()["channels"]
    assert shown == made.json()["channel"]
    assert shown["address"] == "https://hooks.example.org/…"
    assert (shown["name"], shown["muted"], shown["on"]) == ("ours", ["job_completed"], True)
    assert Channel.objects.get().organization_id == acme.pk
    (record,) = AuditRecord.objects.values()
    assert (record["action"], record["organization_id"], record["source"]) == ("notice channel added", acme.pk, "api")
    everything = f"{admin.get(CHANNELS).content.decode()}{record}"
    assert "recognisable" not in everything and made.json()["secret"] not in everything


def test_it_is_changed_tried_and_removed(admin: APIClient) -> None:
    made = admin.post(CHANNELS, HOOK).json()
    one = f"{CHANNELS}/{made['channel']['id']}"
    off = admin.patch(one, {"on": False, "name": "theirs", "muted": ["job_failed"]}).json()["channel"]
    assert (off["on"], off["off_reason"], off["name"], off["muted"]) == (
        False,
        "Switched off.",
        "theirs",
        ["job_failed"],
    )
    refused = admin.post(f"{one}/test")
    assert (refused.status_code, refused.json()["code"], Delivery.objects.count()) == (409, "channel_off", 0)
    assert admin.patch(one, {"on": True}).json()["channel"] == {**off, "on": True, "off_reason": ""}
    assert admin.post(f"{one}/test").json()["success"]
    assert Delivery.objects.get().notice.kind == "test"
    assert admin.post(f"{one}/secret").json()["secret"] not in ("", made["secret"])
    assert admin.delete(one).json() == {"success": True, "id": made["channel"]["id"]}
    assert not Channel.objects.exists()
    assert [answer.status_code for answer in (admin.delete(one), admin.post(f"{one}/test"))] == [404, 404]


def test_a_mail_list_shows_its_addresses_and_signs_nothing(admin: APIClient) -> None:
    made = admin.post(CHANNELS, {"kind": "mail", "addresses": ["a@example.org", "b@example.org"]}).json()
    assert (made["channel"]["address"], made["secret"]) == ("a@example.org, b@example.org", "")
    refused = admin.post(f"{CHANNELS}/{made['channel']['id']}/secret")
    assert (refused.status_code, refused.json()["code"]) == (409, "not_signed")


@pytest.mark.parametrize(
    ("fields", "place"),
    [
        ({"kind": "browser"}, "kind"),
        ({"kind": "job_webhook"}, "kind"),
        ({"addresses": []}, "addresses"),
        ({"addresses": ["https://a.example.org", "https://b.example.org"]}, "addresses"),
        ({"addresses": ["http://127.0.0.1/x"]}, "addresses"),
        ({"kind": "chat", "addresses": ["file:///etc/passwd"]}, "addresses"),
        ({"kind": "mail", "addresses": ["nobody"]}, "addresses"),
        ({"name": "harmless\u202e"}, "name"),
        ({"muted": ["tea_time"]}, "muted"),
        ({"secret": "whsec_mine"}, "secret"),
        ({"on": False}, "on"),
    ],
)
def test_a_bad_channel_is_refused_with_its_place(admin: APIClient, fields: dict[str, Any], place: str) -> None:
    answer = admin.post(CHANNELS, {**HOOK, **fields})
    assert (answer.status_code, set(answer.json()["errors"])) == (400, {place})
    assert not Channel.objects.exists() and not AuditRecord.objects.exists()


def test_an_eleventh_is_refused(admin: APIClient) -> None:
    codes = [admin.post(CHANNELS, HOOK).status_code for _ in range(11)]
    assert (codes, Channel.objects.count()) == ([*[201] * 10, 409], 10)


def test_nobody_else_reaches_them(
    client_of: ClientOf, alice: User, bob: User, charlie: User, ada: User, acme: Organization
) -> None:
    own = add_channel(Owner(organization=acme, by=ada), **HOOK).channel  # type: ignore[arg-type]
    hers = add_channel(Owner(ada), "webhook", addresses=["https://hooks.example.org"]).channel
    _, reading = issue_key(ada, "k", timedelta(days=1), by=OPERATOR, scopes=[Scope.READ])
    with_key = APIClient(headers={"X-API-Key": reading})
    refused = [(client_of(None), 401), (client_of(charlie), 404), (client_of(alice), 403), (client_of(bob), 403)]
    before = list(Channel.objects.values())
    for person, code in [*refused, (with_key, 403)]:
        for way in (person.get, person.post):
            assert way(CHANNELS).status_code == code
        for answer in (person.patch(f"{CHANNELS}/{own.pk}", {"on": False}), person.delete(f"{CHANNELS}/{own.pk}")):
            assert (answer.status_code, "hooks.example.org" in answer.content.decode()) == (code, False)
    assert client_of(ada).delete(f"{CHANNELS}/{hers.pk}").status_code == 404
    assert client_of(ada).delete(f"{CHANNELS}/{10**30}").status_code == 404
    assert client_of(charlie).delete(f"/api/organizations/other/notice-channels/{own.pk}").status_code == 404
    assert list(Channel.objects.values()) == before


def test_they_go_with_their_organization(ada: User, acme: Organization, root: User) -> None:
    add_channel(Owner(organization=acme, by=ada), **HOOK)  # type: ignore[arg-type]
    hers = add_channel(Owner(ada), "webhook", addresses=["https://hooks.example.org"]).channel
    close(acme, by=OPERATOR)
    assert delete_organization(acme, by=root).takes["notice channels"] == 1
    assert list(Channel.objects.all()) == [hers]
