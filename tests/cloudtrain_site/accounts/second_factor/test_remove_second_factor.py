"""`manage.py remove_second_factor`."""

from __future__ import annotations

import pytest
from allauth.mfa.models import Authenticator
from allauth.mfa.recovery_codes.internal.auth import RecoveryCodes
from django.contrib.auth.models import User
from django.core.management import CommandError, call_command

from cloudtrain_site.audit.models import AuditRecord, AuditSource
from tests.one_time_codes import app_of


def test_all_of_one_person_is_removed_and_on_record(alice: User, bob: User) -> None:
    app_of(alice)
    RecoveryCodes.activate(alice)
    app_of(bob)
    call_command("remove_second_factor", "alice")
    assert [one.user for one in Authenticator.objects.all()] == [bob]
    row = AuditRecord.objects.get()
    assert (row.action, row.actor, row.subject, row.source) == (
        "second_factor_removed",
        "operator",
        "alice",
        AuditSource.COMMAND,
    )
    assert row.before == {"kinds": ["recovery_codes", "totp"]}


@pytest.mark.parametrize(("name", "sentence"), [("alice", "has no second factor"), ("nobody", "There is no user")])
def test_where_there_is_none_it_says_so(alice: User, name: str, sentence: str) -> None:
    with pytest.raises(CommandError, match=sentence):
        call_command("remove_second_factor", name)
    assert not AuditRecord.objects.exists()
