"""One's own account over HTTP: preferences, and keys that are shown once."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from django.contrib.auth.models import User
from django.test import Client

from cloudtrain_site.accounts.api_keys import MAX_KEYS_PER_USER
from cloudtrain_site.accounts.preferences import change_preferences, muting_users, time_zone_of
from cloudtrain_site.models import ApiKey, MutedMail, Preferences

pytestmark = pytest.mark.django_db
KEYS = "/api/account/keys"


@pytest.fixture
def as_alice(alice: User) -> Iterator[Client]:
    """Alice's browser; it has to send what protects a form, as a real one."""
    client = Client()
    client.force_login(alice)
    yield client


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
        ],
    )
    def test_a_bad_wish_names_its_field_and_makes_nothing(
        self, as_alice: Client, body: dict[str, object], field: str
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


class TestPreferences:
    def test_are_out_of_the_box_without_a_row(self, as_alice: Client) -> None:
        assert as_alice.get("/api/account").json() == {
            "username": "alice",
            "email": "alice@example.org",
            "time_zone": "",
            "mail": {"approval_decided": True, "approval_asked": True, "approval_reminder": True},
        }
        assert not Preferences.objects.exists()

    def test_change_only_what_is_given(self, as_alice: Client, alice: User) -> None:
        as_alice.patch("/api/account", {"time_zone": "Asia/Tokyo"}, content_type="application/json")
        mail = {"mail": {"approval_reminder": False}}
        answer = as_alice.patch("/api/account", mail, content_type="application/json").json()
        assert (answer["time_zone"], time_zone_of(alice)) == ("Asia/Tokyo", "Asia/Tokyo")
        assert answer["mail"] == {"approval_decided": True, "approval_asked": True, "approval_reminder": False}

    @pytest.mark.parametrize(
        "body",
        [
            {"time_zone": "Mars/Base"},
            {"time_zone": "../etc/passwd"},
            {"time_zone": None},
            {"mail": {"spam": True}},
            {"mail": {"approval_asked": "perhaps"}},
            {"mail": []},
            {"zone": "UTC"},
        ],
    )
    def test_a_bad_wish_changes_nothing(self, as_alice: Client, body: dict[str, object]) -> None:
        answer = as_alice.patch(
            "/api/account", {"mail": {"approval_asked": False}} | body, content_type="application/json"
        )
        assert (answer.status_code, list(answer.json()["errors"])) == (400, list(body))
        assert not Preferences.objects.exists()
        assert not MutedMail.objects.exists()

    def test_mail_is_muted_once_and_wanted_again(self, alice: User, bob: User) -> None:
        for _ in range(2):
            change_preferences(alice, mail={"approval_asked": False})
        assert [row["user"] for row in muting_users("approval_asked")] == [alice.pk]  # type: ignore[index]
        change_preferences(alice, mail={"approval_asked": True})
        assert not muting_users("approval_asked").exists()

    def test_are_nobodys_without_a_user(self, client: Client) -> None:
        assert client.get("/api/account").status_code == 401
        assert client.get(KEYS).status_code == 401
