"""API keys over HTTP: shown once, with scopes, for one organization or all."""

from __future__ import annotations

import pytest
from django.contrib.auth.models import User
from django.test import Client
from rest_framework.exceptions import PermissionDenied

from cloudtrain_site.accounts.api_keys import MAX_KEYS_PER_USER
from cloudtrain_site.audit.models import AuditRecord
from cloudtrain_site.models import ApiKey
from jobs.models import Organization
from jobs.organizations.endings import close
from jobs.organizations.members import change_role, leave
from jobs.organizations.people import make_superuser
from jobs.roles import Role
from tests.factories import make_user

pytestmark = pytest.mark.django_db
KEYS = "/api/account/keys"


@pytest.fixture
def as_alice(alice: User) -> Client:
    client = Client()
    client.force_login(alice)
    return client


def make_key(client: Client, **body: object) -> dict[str, object]:
    answer = client.post(KEYS, {"name": "laptop", **body}, content_type="application/json")
    assert answer.status_code == 201, answer.content
    return dict(answer.json())


class TestKeys:
    def test_a_new_key_opens_the_door_and_is_never_told_again(self, as_alice: Client) -> None:
        made = make_key(as_alice, days=7)
        key = str(made.pop("key"))
        assert Client().get("/api/cloud/jobs", headers={"X-API-Key": key}).status_code == 200
        listed = as_alice.get(KEYS)
        assert key not in listed.content.decode()
        (shown,) = listed.json()["keys"]
        assert shown.pop("last_used_at") is not None
        assert made.pop("last_used_at") is None
        assert (shown.pop("last_used_from"), made.pop("last_used_from")) == ("127.0.0.1", None)
        assert shown == made
        assert (shown["name"], shown["expired"]) == ("laptop", False)
        assert not ApiKey.objects.filter(digest__contains=key).exists()

    def test_the_answer_with_the_key_is_kept_by_no_cache(self, as_alice: Client) -> None:
        answer = as_alice.post(KEYS, {"name": "x"}, content_type="application/json")
        assert answer["Cache-Control"] == "no-store"

    def test_lasts_as_long_as_asked(self, as_alice: Client) -> None:
        make_key(as_alice, days=7)
        key = ApiKey.objects.get()
        assert key.expiry is not None
        assert round((key.expiry - key.created).total_seconds() / 86400) == 7

    @pytest.mark.parametrize(
        ("body", "field"),
        [
            ({}, "name"),
            ({"name": ""}, "name"),
            ({"name": "a\nb"}, "name"),
            ({"name": "x" * 101}, "name"),
            ({"name": "x", "days": 0}, "days"),
            ({"name": "x", "days": 3651}, "days"),
            ({"name": "x", "day": 5}, "day"),
            ({"name": "x", "scopes": []}, "scopes"),
            ({"name": "x", "scopes": ["everything"]}, "scopes"),
            ({"name": "x", "scopes": "read"}, "scopes"),
            ({"name": "x", "organization": "other"}, "organization"),
            ({"name": "x", "organization": "nowhere"}, "organization"),
        ],
    )
    def test_a_bad_wish_names_its_field_and_makes_nothing(
        self, as_alice: Client, charlie: User, body: dict[str, object], field: str
    ) -> None:
        answer = as_alice.post(KEYS, body, content_type="application/json")
        assert answer.status_code == 400
        assert list(answer.json()["errors"]) == [field]
        assert not ApiKey.objects.exists()

    def test_there_is_an_end_to_them(self, as_alice: Client, alice: User) -> None:
        for _ in range(MAX_KEYS_PER_USER):
            ApiKey.objects.create(user=alice)
        answer = as_alice.post(KEYS, {"name": "one more"}, content_type="application/json")
        assert (answer.status_code, answer.json()["code"]) == (409, "too_many_keys")

    def test_a_revoked_key_is_of_no_use(self, as_alice: Client) -> None:
        made = make_key(as_alice)
        assert as_alice.delete(f"{KEYS}/{made['id']}").json() == {"success": True, "id": made["id"]}
        assert Client().get("/api/cloud/jobs", headers={"X-API-Key": str(made["key"])}).status_code == 401
        assert as_alice.delete(f"{KEYS}/{made['id']}").status_code == 404

    def test_nobody_revokes_or_sees_anothers(self, as_alice: Client, bob: User) -> None:
        key, _ = ApiKey.objects.create(user=bob, name="bobs")
        assert as_alice.get(KEYS).json() == {"keys": []}
        assert as_alice.delete(f"{KEYS}/{key.token_key}").status_code == 404
        assert ApiKey.objects.filter(pk=key.pk).exists()

    @pytest.mark.parametrize("method", ["get", "post"])
    def test_a_key_makes_and_shows_no_keys(self, alice: User, method: str) -> None:
        _, key = ApiKey.objects.create(user=alice)
        ask = getattr(Client(headers={"X-API-Key": key}), method)
        answer = ask(KEYS, {"name": "another"}, content_type="application/json")
        assert (answer.status_code, answer.json()["code"]) == (403, "permission_denied")
        assert ApiKey.objects.count() == 1

    def test_a_key_revokes_none(self, alice: User) -> None:
        made, key = ApiKey.objects.create(user=alice)
        assert Client(headers={"X-API-Key": key}).delete(f"{KEYS}/{made.token_key}").status_code == 403

    def test_another_sites_form_makes_none(self, alice: User) -> None:
        client = Client(enforce_csrf_checks=True)
        client.force_login(alice)
        assert client.post(KEYS, {"name": "x"}, content_type="application/json").status_code == 403
        assert not ApiKey.objects.exists()

    @pytest.mark.parametrize("key_id", ["%00", "nothing", "é"])
    def test_there_is_no_key_like_that(self, as_alice: Client, key_id: str) -> None:
        assert as_alice.delete(f"{KEYS}/{key_id}").status_code == 404


class TestScopes:
    def test_are_those_that_were_chosen(self, as_alice: Client) -> None:
        made = make_key(as_alice, scopes=["submit", "read"], organization="acme")
        assert (made["scopes"], made["organization"]) == (["read", "submit"], "acme")
        key = ApiKey.objects.get()
        assert (key.may_read, key.may_submit, key.may_decide, key.may_administer) == (True, True, False, False)

    def test_are_all_when_none_are_named(self, as_alice: Client) -> None:
        made = make_key(as_alice)
        assert (made["scopes"], made["organization"]) == (["read", "submit", "decide", "administer"], None)

    def test_a_refusal_names_the_scope_that_is_missing(self, as_alice: Client) -> None:
        reader = Client(headers={"X-API-Key": str(make_key(as_alice, scopes=["read"])["key"])})
        answer = reader.post("/api/cloud/jobs/submit", {"config": {}}, content_type="application/json")
        assert (answer.status_code, answer.json()["code"]) == (403, "permission_denied")
        assert answer.json()["detail"] == "This needs a key with the scope submit; this key has read."

    def test_without_read_a_key_sees_nothing(self, as_alice: Client) -> None:
        writer = Client(headers={"X-API-Key": str(make_key(as_alice, scopes=["submit"])["key"])})
        assert writer.get("/api/cloud/jobs").status_code == 403
        assert writer.get("/api/events").status_code == 403

    def test_a_scope_gives_no_right_that_its_owner_lacks(self, as_alice: Client) -> None:
        key = Client(headers={"X-API-Key": str(make_key(as_alice)["key"])})
        assert key.post("/api/queue/pause").status_code == 403


class TestOnRecord:
    def test_making_and_revoking_are_and_the_key_is_not(self, as_alice: Client) -> None:
        made = make_key(as_alice, scopes=["read"], organization="acme")
        as_alice.delete(f"{KEYS}/{made['id']}")
        revoked, begun = AuditRecord.objects.all()
        assert (begun.action, begun.actor, begun.subject_id, begun.organization) == (
            *("key_made", "alice", made["id"], "acme"),
        )
        assert begun.after and revoked.before and begun.after["scopes"] == revoked.before["scopes"] == ["read"]
        assert (revoked.action, revoked.source, revoked.address) == ("key_revoked", "api", "127.0.0.1")
        assert str(made["key"]) not in str(list(AuditRecord.objects.values()))


def test_they_end_with_the_account_by_whatever_way(alice: User) -> None:
    ApiKey.objects.create(user=alice)
    alice.is_active = False
    alice.save()
    assert not ApiKey.objects.exists()


def test_a_key_for_one_organization_ends_with_the_membership(alice: User, bob: User, acme: Organization) -> None:
    ApiKey.objects.create(user=alice, organization=acme)
    kept, _ = ApiKey.objects.create(user=alice)
    make_user("ada", acme, Role.ADMIN)
    leave(acme, alice)
    assert list(ApiKey.objects.all()) == [kept]


def test_a_superusers_key_for_one_organization_runs_no_site(root: User, acme: Organization, bob: User) -> None:
    root.key_organization_id = acme.pk  # type: ignore[attr-defined]
    other = Organization.objects.create(name="other")
    for verb in (
        lambda: close(acme, by=root),
        lambda: make_superuser(bob, by=root),
        lambda: change_role(other, bob, Role.VIEWER, by=root),
    ):
        with pytest.raises(PermissionDenied):
            verb()
    assert change_role(acme, bob, Role.VIEWER, by=root)
