"""Each change of a stored config or of a provider's settings is on record."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from django.contrib.auth.models import User
from django.core.management import call_command
from rest_framework.test import APIClient

from cloudtrain_site.audit.models import AuditRecord
from jobs.models import Organization

pytestmark = pytest.mark.django_db
ClientOf = Callable[[User | None], APIClient]


def test_a_config_without_what_it_says(client_of: ClientOf, alice: User, acme: Organization) -> None:
    for config in ({"steps": 1}, {"steps": 2}):
        client_of(alice).put("/api/configs/flux", {"config": config})
    client_of(alice).delete("/api/configs/flux")
    rows = AuditRecord.objects.order_by("id").values_list("action", "subject", "actor", "organization", "after")
    assert list(rows) == [
        (f"config_{change}", "flux", "alice", "acme", None) for change in ("made", "changed", "removed")
    ]


def test_a_providers_settings(client_of: ClientOf, root: User, acme: Organization, bob: User) -> None:
    body = {"enabled": False, "discovery_organization": "acme"}
    for _ in range(2):  # the second time nothing differs
        assert client_of(root).put("/api/cloud/providers/replicate", body).status_code == 200
    row = AuditRecord.objects.get()
    assert (row.action, row.subject, row.actor) == ("provider_changed", "replicate", "root")
    assert (row.before, row.after) == (
        {"enabled": True, "discovery_organization": ""},
        {"enabled": False, "discovery_organization": "acme"},
    )
    assert client_of(bob).put("/api/cloud/providers/replicate", {"enabled": True}).status_code == 403
    assert AuditRecord.objects.count() == 1


def test_members_that_a_command_adds(acme: Organization) -> None:
    new = ["zoe", "labs", "admin", "--create", "--password", "three unlikely words"]
    call_command("add_member", *new)
    call_command("add_member", "zoe", "acme", "lead")
    call_command("add_member", "zoe", "acme", "viewer")
    rows = AuditRecord.objects.order_by("id").values_list("action", "subject", "organization", "actor", "source")
    assert list(rows) == [
        ("user_made", "zoe", "", "operator", "command"),
        ("organization_made", "labs", "labs", "operator", "command"),
        ("member_added", "zoe", "labs", "operator", "command"),
        ("member_added", "zoe", "acme", "operator", "command"),
        ("role_changed", "zoe", "acme", "operator", "command"),
    ]
