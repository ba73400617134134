"""A provider that is switched off or taken away while jobs wait for it: they wait, say why, and go when it is back."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from django.contrib.auth.models import User
from rest_framework.test import APIClient

from jobs import providers
from jobs.models import Job, ProviderConfig
from jobs.statuses import JobStatus
from queueing import dispatch
from queueing.models import QueueEntry
from queueing.statuses import EntryStatus
from tests.providers import ScriptedProvider

pytestmark = pytest.mark.django_db
Enqueue = Callable[..., QueueEntry]
ClientOf = Callable[[User | None], APIClient]


def switch(*, on: bool) -> None:
    ProviderConfig.objects.update_or_create(name="scripted", defaults={"enabled": on})


def states() -> tuple[str, str]:
    return Job.objects.get().status, QueueEntry.objects.get().status


def test_the_job_waits_until_it_is_on_again(enqueue: Enqueue, scripted: ScriptedProvider) -> None:
    enqueue()
    switch(on=False)
    assert dispatch.run_pass() == 0
    assert (states(), scripted.specs) == ((JobStatus.PENDING, EntryStatus.PENDING), [])
    switch(on=True)
    assert dispatch.run_pass() == 1
    assert states() == (JobStatus.QUEUED, EntryStatus.RUNNING)


def test_so_it_says(enqueue: Enqueue, scripted: ScriptedProvider, alice: User, client_of: ClientOf) -> None:
    entry = enqueue()
    switch(on=False)
    answer = client_of(alice).get(f"/api/queue/position/{entry.job_id}").json()
    sentence = "Scripted is disabled. The job starts when it is enabled again."
    assert answer["waiting_reason"] == sentence
    assert answer["estimated_wait_seconds"] is None
    (blocker,) = answer["blockers"]
    assert (blocker["kind"], blocker["lifted_by"]) == ("switched_off", "An admin can enable the provider.")
    assert client_of(alice).get(f"/api/cloud/jobs/{entry.job_id}").json()["job"]["waiting_reason"] == sentence
    switch(on=True)
    answer = client_of(alice).get(f"/api/queue/position/{entry.job_id}").json()
    assert answer["waiting_reason"] == "Starts in a moment."


def test_what_runs_there_runs_on(enqueue: Enqueue, scripted: ScriptedProvider) -> None:
    enqueue()
    dispatch.run_pass()
    switch(on=False)
    dispatch.run_pass()
    assert states() == (JobStatus.QUEUED, EntryStatus.RUNNING)


def test_a_job_of_one_that_is_taken_away_waits_until_it_is_back(
    enqueue: Enqueue, scripted: ScriptedProvider, alice: User, client_of: ClientOf, monkeypatch: pytest.MonkeyPatch
) -> None:
    entry = enqueue()
    with monkeypatch.context() as away:
        away.setattr(providers, "_PROVIDERS", {})
        assert dispatch.run_pass() == 0
        assert states() == (JobStatus.PENDING, EntryStatus.PENDING)
        answer = client_of(alice).get(f"/api/queue/position/{entry.job_id}").json()
        (blocker,) = answer["blockers"]
        assert blocker["kind"] == "gone"
        sentence = "There is no provider “scripted” any more. The job starts when the provider is back."
        assert sentence in blocker.values()
        assert answer["waiting_reason"] == sentence
    assert dispatch.run_pass() == 1
    assert states() == (JobStatus.QUEUED, EntryStatus.RUNNING)


def test_a_job_of_one_that_is_taken_away_can_be_cancelled(enqueue: Enqueue, alice: User, client_of: ClientOf) -> None:
    entry = enqueue(provider="gone")
    assert client_of(alice).post(f"/api/cloud/jobs/{entry.job_id}/cancel").status_code == 200
    assert Job.objects.get().status == JobStatus.CANCELLED
