"""Each change of a limit is on record."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from django.contrib.auth.models import User
from rest_framework.test import APIClient

from cloudtrain_site.audit.models import AuditRecord
from jobs.models import Organization

pytestmark = pytest.mark.django_db


def test_of_the_site_a_provider_and_an_organization(
    client_of: Callable[[User | None], APIClient], root: User, acme: Organization
) -> None:
    body = {"max_running": 7, "providers": {"replicate": {"max_running": 2}}, "organizations": {"acme": 3}}
    for _ in range(2):  # the second time nothing differs
        assert client_of(root).post("/api/queue/concurrency", body).status_code == 200
    rows = AuditRecord.objects.order_by("id").values_list("action", "subject", "organization", "after")
    assert list(rows)[1:] == [
        ("limit_changed", "replicate", "", {"max_running": 2}),
        ("limit_changed", "acme", "acme", {"max_running": 3}),
    ]
    first = AuditRecord.objects.order_by("id")[0]
    assert (first.actor, first.after, first.organization_id) == ("root", {"max_running": 7}, None)


def test_a_refused_one_leaves_no_record(
    client_of: Callable[[User | None], APIClient], bob: User, acme: Organization
) -> None:
    assert client_of(bob).post("/api/queue/concurrency", {"organizations": {"acme": 3}}).status_code == 403
    assert not AuditRecord.objects.exists()
