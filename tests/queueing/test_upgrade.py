"""Changes of limits of the version that kept them in a table of their own, brought to this one."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.utils import timezone

from cloudtrain_site.audit.models import AuditRecord
from cloudtrain_site.audit.recording import Subject, record
from jobs.models import Organization
from queueing.models import ProviderLimit
from tests.old_migrations import go_back_to, upgrade

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.slow]
BEFORE = ("queueing", "0008_needs_of_waiting_entries")


@pytest.fixture
def former(transactional_db: None) -> Iterator[Any]:
    """The models of the version before; the test upgrades, or this does it at the end."""
    yield go_back_to(BEFORE)
    upgrade()


def test_they_are_on_the_audit_record_each_once(former: Any, root: User, acme: Organization) -> None:
    ProviderLimit.objects.create(provider="replicate")
    at = timezone.now() - timedelta(days=3)

    def change(name: str, old: str, new: str, correlation_id: str, **more: str) -> None:
        fields = {"actor": "root", "actor_user_id": root.pk, "source": "api", "at": at, **more}
        former.get_model("queueing", "LimitChange").objects.create(
            name=name, old=old, new=new, correlation_id=correlation_id, **fields
        )

    change("max_running", "5", "7", "a", reason="grown")
    change("paused", "false", "true", "b", source="poll")
    change("replicate max_running", "none", "3", "c")
    change("acme max_running", "4", "none", "d")
    change("max_running", "7", "8", "e")
    twin = record("limit_changed", Subject("limits", "1", "Limits of the queue"), by=root, after={"max_running": 8})
    former.get_model("queueing", "LimitChange").objects.filter(correlation_id="e").update(
        correlation_id=twin.correlation_id
    )
    upgrade()
    rows = AuditRecord.objects.exclude(pk=twin.pk).order_by("id")
    assert [(one.subject_kind, one.subject, one.organization, one.before, one.after) for one in rows] == [
        ("limits", "Limits of the queue", "", {"max_running": 5}, {"max_running": 7, "reason": "grown"}),
        ("limits", "Limits of the queue", "", {"paused": False}, {"paused": True}),
        ("provider limit", "replicate", "", {"max_running": None}, {"max_running": 3}),
        ("organization", "acme", "acme", {"max_running": 4}, {"max_running": None}),
    ]
    assert {(one.actor, one.actor_user_id, one.source, one.at) for one in rows} == {("root", root.pk, "api", at)}
