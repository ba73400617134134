"""One's own account over HTTP: preferences."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from django.contrib.auth.models import User
from django.test import Client

from cloudtrain_site.accounts.preferences import change_preferences, muting_users, preferences_of
from cloudtrain_site.extensions import notice_choices
from cloudtrain_site.models import ApiKey, MutedMail, Preferences

pytestmark = pytest.mark.django_db


@pytest.fixture
def as_alice(alice: User) -> Iterator[Client]:
    """Alice's browser; it has to send what protects a form, as a real one."""
    client = Client()
    client.force_login(alice)
    yield client


class TestPreferences:
    def test_are_out_of_the_box_without_a_row(self, as_alice: Client) -> None:
        assert as_alice.get("/api/account").json() == {
            "username": "alice",
            "email": "alice@example.org",
            "time_zone": "",
            "theme": "",
            "mail": dict.fromkeys(notice_choices(), True),
        }
        assert not Preferences.objects.exists()

    def test_change_only_what_is_given(self, as_alice: Client, alice: User) -> None:
        as_alice.patch("/api/account", {"time_zone": "Asia/Tokyo"}, content_type="application/json")
        mail = {"mail": {"approval_reminder": False}}
        answer = as_alice.patch("/api/account", mail, content_type="application/json").json()
        assert (answer["time_zone"], preferences_of(alice).time_zone) == ("Asia/Tokyo", "Asia/Tokyo")
        assert answer["mail"] == {**dict.fromkeys(notice_choices(), True), "approval_reminder": False}

    @pytest.mark.parametrize(
        "body",
        [
            {"time_zone": "Mars/Base"},
            {"time_zone": "../etc/passwd"},
            {"time_zone": None},
            {"theme": "pink"},
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

    def test_a_key_for_one_organization_is_not_for_the_account(self, alice: User) -> None:
        _, key = ApiKey.objects.create(user=alice, organization=alice.memberships.get().organization)
        holder = Client(headers={"X-API-Key": key})
        assert holder.get("/api/account").status_code == 404
        change = holder.patch("/api/account", {"time_zone": "Asia/Tokyo"}, content_type="application/json")
        assert change.status_code == 404
        assert preferences_of(alice).time_zone == ""
