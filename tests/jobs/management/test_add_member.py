"""The command that puts a user into an organization."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from django.contrib.auth.models import User
from django.core.management import CommandError, ManagementUtility, call_command

from jobs.models import Membership, Organization

pytestmark = pytest.mark.django_db
NEW = ["--create", "--password", "a-long-password"]


@pytest.mark.parametrize("options", [[], NEW])
@pytest.mark.parametrize("name", ["Org / ü", "", "a\u202eb", "a" * 101, "ü"])
def test_an_organization_that_can_have_no_such_name_is_refused(alice: User, name: str, options: list[str]) -> None:
    with pytest.raises(CommandError, match="an organization's name has 1 to 100 letters from a to z"):
        call_command("add_member", "alice", name, "viewer", *options)
    assert Organization.objects.count() == 1


@pytest.mark.parametrize("name", ["al ice", "", "al\u202eice", "a" * 151, "a/b"])
def test_a_user_who_can_have_no_such_name_is_refused(name: str) -> None:
    with pytest.raises(CommandError, match="a user's name has 1 to 150 letters"):
        call_command("add_member", name, "acme", "viewer", *NEW)
    assert not User.objects.exists()
    assert not Organization.objects.exists()


def test_one_sentence_stands_on_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        ManagementUtility([str(Path(sys.argv[0])), "add_member", "al", "Org / ü", "viewer"]).execute()
    output = capsys.readouterr()
    assert end.value.code == 1
    assert output.out == ""
    assert output.err.count("\n") == 1
    assert "'Org / \\xfc' can't be used" in output.err


@pytest.mark.parametrize(("user", "organization"), [("zoë", "team_1-x"), ("a.b@c+d", "A")])
def test_both_are_made(user: str, organization: str) -> None:
    call_command("add_member", user, organization, "viewer", *NEW)
    made = Membership.objects.get()
    assert (made.user.username, made.organization.name, made.role) == (user, organization, "viewer")


def test_names_from_before_can_still_be_given(acme: Organization) -> None:
    Organization.objects.filter(pk=acme.pk).update(name="Org / ü")
    User.objects.create_user("al ice")
    call_command("add_member", "al ice", "Org / ü", "viewer")
    assert Membership.objects.get().organization == acme


@pytest.mark.parametrize(
    ("password", "objection"),
    [("short", "too short"), ("password1234", "too common"), ("271828182845", "entirely numeric"), ("", "empty")],
)
def test_a_password_that_the_site_does_not_take_adds_nobody(password: str, objection: str) -> None:
    with pytest.raises(CommandError, match=objection):
        call_command("add_member", "zoe", "acme", "viewer", "--create", "--password", password)
    assert not User.objects.exists()
    assert not Organization.objects.exists()


def test_a_password_like_the_users_name_is_refused() -> None:
    with pytest.raises(CommandError, match="too similar to the username"):
        call_command("add_member", "francesca.rossi", "acme", "viewer", "--create", "--password", "francesca.rossi1")
    assert not User.objects.exists()


def test_a_new_user_has_the_address_and_can_sign_in() -> None:
    call_command("add_member", "zoe", "acme", "viewer", *NEW, "--email", "zoe@Example.org")
    user = User.objects.get()
    assert (user.email, user.check_password("a-long-password")) == ("zoe@example.org", True)


def test_an_address_that_is_none_adds_nobody() -> None:
    with pytest.raises(CommandError, match="valid email address"):
        call_command("add_member", "zoe", "acme", "viewer", *NEW, "--email", "zoe")
    assert not User.objects.exists()


def test_an_address_for_somebody_who_exists_is_refused(alice: User) -> None:
    with pytest.raises(CommandError, match="alice exists: --email is for a new user"):
        call_command("add_member", "alice", "acme", "lead", "--email", "new@example.org")
    alice.refresh_from_db()
    assert (alice.email, alice.memberships.get().role) == ("alice@example.org", "researcher")


def typed(monkeypatch: pytest.MonkeyPatch, *passwords: str) -> None:
    answers = iter(passwords)
    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    monkeypatch.setattr("getpass.getpass", lambda prompt: next(answers))


def test_a_typed_password_is_asked_for_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    typed(monkeypatch, "a-long-password", "a-long-password")
    call_command("add_member", "zoe", "acme", "viewer", "--create")
    assert User.objects.get().check_password("a-long-password")


def test_two_different_typed_passwords_add_nobody(monkeypatch: pytest.MonkeyPatch) -> None:
    typed(monkeypatch, "a-long-password", "a-long-passwort")
    with pytest.raises(CommandError, match="The two passwords differ"):
        call_command("add_member", "zoe", "acme", "viewer", "--create")
    assert not User.objects.exists()
