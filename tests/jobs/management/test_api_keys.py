"""`manage.py create_api_key` and `revoke_api_key`."""

from __future__ import annotations

from io import StringIO

import pytest
from django.contrib.auth.models import User
from django.core.management import CommandError, call_command
from django.test import Client

from cloudtrain_site.audit.models import AuditRecord
from cloudtrain_site.models import ApiKey

pytestmark = pytest.mark.django_db


def run(*words: str) -> str:
    out = StringIO()
    call_command(*words, stdout=out)
    return out.getvalue().strip()


def test_a_key_has_all_scopes_unless_some_are_named(alice: User) -> None:
    key = run("create_api_key", "alice")
    assert Client(headers={"X-API-Key": key}).get("/api/cloud/jobs").status_code == 200
    assert ApiKey.objects.get().scopes == ["read", "submit", "decide", "administer"]
    run("create_api_key", "alice", "--scope", "read", "--scope", "decide", "--organization", "acme")
    newest = ApiKey.objects.order_by("created").last()
    assert (newest.scopes, newest.organization.name) == (["read", "decide"], "acme")
    assert set(AuditRecord.objects.values_list("action", "actor", "source")) == {("key_made", "operator", "command")}


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (["nobody"], "There is no user 'nobody'"),
        (["alice", "--days", "0"], "--days must be at least 1"),
        (["alice", "--organization", "other"], "alice isn't a member of an organization called 'other'"),
        (["alice", "--scope", "everything"], "invalid choice"),
    ],
)
def test_a_bad_word_makes_none(alice: User, charlie: User, words: list[str], complaint: str) -> None:
    with pytest.raises(CommandError, match=complaint):
        run("create_api_key", *words)
    assert not ApiKey.objects.exists()


def test_one_or_all_of_a_persons_are_revoked(alice: User, bob: User) -> None:
    keys = [ApiKey.objects.create(user=user)[0] for user in (alice, alice, alice, bob)]
    assert run("revoke_api_key", keys[0].token_key) == f"The key {keys[0].token_key} of alice is revoked."
    with pytest.raises(CommandError, match="There is no key that begins"):
        run("revoke_api_key", keys[0].token_key)
    assert run("revoke_api_key", "--user", "alice") == "2 keys of alice revoked."
    assert ApiKey.objects.get().user == bob
    for words in ([], ["x", "--user", "bob"], ["--user", "nobody"]):
        with pytest.raises(CommandError):
            run("revoke_api_key", *words)
    assert ApiKey.objects.count() == 1
