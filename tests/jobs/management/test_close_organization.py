"""The command that closes an organization and reopens it."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from django.contrib.auth.models import User
from django.core.management import CommandError, call_command

from cloudtrain_site.audit.models import AuditRecord
from jobs.models import Job, Organization

pytestmark = pytest.mark.django_db


def test_it_closes_and_reopens(
    acme: Organization, alice: User, make_job: Callable[..., Job], capsys: pytest.CaptureFixture[str]
) -> None:
    make_job(), make_job(status="running")
    call_command("close_organization", "acme", running="cancel")
    assert capsys.readouterr().out == "acme is closed. Cancelled jobs: 2.\n"
    with pytest.raises(CommandError, match="acme is already closed"):
        call_command("close_organization", "acme")
    call_command("close_organization", "acme", reopen=True)
    assert capsys.readouterr().out == "acme is open again.\n"
    with pytest.raises(CommandError, match="acme is already open"):
        call_command("close_organization", "acme", reopen=True)
    rows = AuditRecord.objects.order_by("id").values_list("action", "actor", "source")
    assert list(rows) == [
        ("organization_closed", "operator", "command"),
        ("organization_reopened", "operator", "command"),
    ]


def test_an_unknown_one_is_named(acme: Organization) -> None:
    with pytest.raises(CommandError, match="There is no organization 'labs'"):
        call_command("close_organization", "labs")
    acme.refresh_from_db()
    assert not acme.is_closed
