"""Limits and drains are by a provider's name: a declared one's limit comes from the file, or else from an operator."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from django.contrib.auth.models import User
from rest_framework.test import APIClient

from cloudtrain_site.audit.models import AuditRecord
from cloudtrain_site.states import SYSTEM, Source
from queueing import claims, operations
from queueing.limits import current_limits, queue_state
from queueing.models import ProviderLimit, QueueEntry
from queueing.operations import ChangedBy, LimitError
from tests.accounts import Accounts, declared
from tests.configuration import WriteConfig

pytestmark = pytest.mark.django_db
Enqueue = Callable[..., QueueEntry]
ClientOf = Callable[[User], APIClient]
BY = ChangedBy(SYSTEM, Source.COMMAND)


def limits() -> dict[str, int]:
    return dict(current_limits(queue_state()).providers)


def test_the_files_limit_counts_whatever_was_set_before(accounts: Accounts, write_config: WriteConfig) -> None:
    operations.set_provider("studio", {"max_running": 7}, BY)
    assert limits() == {"local": 1, "studio": 7}
    write_config(declared(accounts["studio"], "    max_running: 2\n"))
    assert limits() == {"local": 1, "studio": 2}


def test_a_limit_of_the_file_is_changed_there_alone(accounts: Accounts, write_config: WriteConfig) -> None:
    write_config(declared(accounts["studio"], "    max_running: 2\n"))
    with pytest.raises(LimitError) as caught:
        operations.set_provider("studio", {"max_running": 7}, BY)
    assert str(caught.value) == (
        "Set how many trainings The studio's account runs in the configuration file: providers.studio.max_running."
    )
    assert not AuditRecord.objects.exists()
    assert operations.set_provider("studio", {"drained": True}, BY) == 1


def test_the_api_tells_the_limits_in_force(
    accounts: Accounts, write_config: WriteConfig, client_of: ClientOf, root: User
) -> None:
    body: dict[str, Any] = {
        "providers": {"studio": {"max_running": 7, "drained": True}, "replicate": {"max_running": 3}}
    }
    answer = client_of(root).post("/api/queue/concurrency", body, format="json").json()
    assert answer["providers"]["studio"] == {"max_running": 7, "drained": True}
    write_config(declared(accounts["studio"], "    max_running: 2\n"))
    answer = client_of(root).get("/api/queue/concurrency").json()
    assert answer["providers"] == {
        "studio": {"max_running": 2, "drained": True},
        "replicate": {"max_running": 3, "drained": False},
    }
    assert client_of(root).post("/api/queue/concurrency", body, format="json").status_code == 400


def test_one_accounts_limit_and_drain_leave_the_others_jobs_alone(
    accounts: Accounts, write_config: WriteConfig, enqueue: Enqueue
) -> None:
    write_config(declared(accounts["studio"], "    max_running: 1\n"))
    entries = [enqueue(provider=name) for name in ("studio", "studio", "replicate")]
    assert {entry.pk for entry in claims.claim_next(5)} == {entries[0].pk, entries[2].pk}
    ProviderLimit.objects.create(provider="replicate", drained=True)
    enqueue(provider="replicate")
    assert claims.claim_next(5) == []
