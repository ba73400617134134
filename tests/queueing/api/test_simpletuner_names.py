"""The queue's limits and figures under SimpleTuner's names."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from django.contrib.auth.models import User
from rest_framework.test import APIClient

from cloudtrain_site.audit.models import AuditRecord
from queueing.models import QueueEntry

pytestmark = [pytest.mark.slow, pytest.mark.django_db, pytest.mark.usefixtures("scripted")]
Enqueue = Callable[..., QueueEntry]
ClientOf = Callable[[User | None], APIClient]


def test_they_are_given_and_taken(client_of: ClientOf, root: User) -> None:
    client = client_of(root)
    body = {"max_concurrent": 7, "user_max_concurrent": 3, "team_max_concurrent": 5, "enable_fair_share": True}
    answer = client.post("/api/queue/concurrency", body).json()
    assert {name: answer[name] for name in body} == body
    ours = ("max_running", "max_running_per_user", "max_running_per_organization", "fair_share")
    assert tuple(answer[name] for name in ours) == (7, 3, 5, True)
    assert client.get("/api/queue/concurrency").json() == answer
    assert set(AuditRecord.objects.get().after or {}) == set(ours)


def test_two_names_of_one_limit_must_agree(client_of: ClientOf, root: User) -> None:
    client = client_of(root)
    answer = client.post("/api/queue/concurrency", {"max_concurrent": 7, "max_running": 8})
    assert answer.status_code == 400
    assert "max_concurrent and max_running" in answer.json()["detail"]
    assert not AuditRecord.objects.exists()
    assert client.post("/api/queue/concurrency", {"max_concurrent": 9, "max_running": 9}).json()["max_running"] == 9


def test_a_researcher_changes_none_by_another_name(client_of: ClientOf, alice: User) -> None:
    assert client_of(alice).post("/api/queue/concurrency", {"user_max_concurrent": 50}).status_code == 403


def test_of_others_only_numbers_that_name_nobody(enqueue: Enqueue, client_of: ClientOf, charlie: User) -> None:
    enqueue()
    answer = client_of(charlie).get("/api/queue/stats").json()
    assert (answer["queue_depth"], answer["by_status"]["pending"], answer["by_user"]) == (1, 0, [])
