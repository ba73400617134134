"""A provider that does not take the job: what becomes of it, and what is kept of its words."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from asgiref.sync import sync_to_async
from django.utils import timezone

from cloudtrain_site.states import SYSTEM, Source
from jobs import lifecycle, providers
from jobs.configs.secrets import sealed_columns
from jobs.models import Job, JobEvent
from jobs.providers.base import ProviderError, Snapshot, TrainingSpec
from jobs.statuses import JobStatus
from queueing import claims, dispatch
from queueing.models import QueueEntry, QueueState
from queueing.statuses import EntryStatus
from tests.events import published_events
from tests.providers import ScriptedProvider
from tests.queueing.entries import refusal, state

pytestmark = pytest.mark.django_db
Enqueue = Callable[..., QueueEntry]


class CancelledDuringCall(ScriptedProvider):
    """Somebody cancels the job while it is being asked for."""

    async def submit(self, spec: TrainingSpec) -> Snapshot:
        job = await Job.objects.aget(pk=spec.job_id)
        await sync_to_async(lifecycle.request_cancel)(job, actor=SYSTEM, source=Source.API)
        return await super().submit(spec)


@pytest.mark.parametrize(
    ("refusals", "ended"),
    [
        ([refusal()], (JobStatus.CANCELLED, EntryStatus.CANCELLED)),
        ([refusal(permanent=True)], (JobStatus.CANCELLED, EntryStatus.CANCELLED)),
        # It may run all the same.
        ([ProviderError("lost")], (JobStatus.PENDING, EntryStatus.DISPATCHING)),
        ([], (JobStatus.QUEUED, EntryStatus.RUNNING)),
    ],
)
def test_a_job_cancelled_during_its_call_ends_cancelled_if_nothing_was_made(
    enqueue: Enqueue, monkeypatch: pytest.MonkeyPatch, refusals: list[Exception], ended: tuple[str, str]
) -> None:
    provider = CancelledDuringCall(refusals=refusals)
    monkeypatch.setattr(providers, "_PROVIDERS", {"scripted": lambda: provider})
    enqueue()
    dispatch.run_pass()
    assert len(provider.specs) == 1
    assert state() == ended
    assert Job.objects.get().cancel_requested_at is not None


SECRET = "plain-words-as-secret"


@pytest.mark.parametrize(
    "error",
    [
        ProviderError(f"no {SECRET} here", nothing_created=True, permanent=True),
        ProviderError(f"no {SECRET} here", nothing_created=True),
        ProviderError(f"no {SECRET} here", nothing_created=True, retry_after=9),
        ProviderError(f"no {SECRET} here"),
    ],
    ids=["fails", "tries again", "waits", "looks"],
)
def test_a_refusal_that_repeats_a_secret_is_kept_without_it(
    enqueue: Enqueue, scripted: ScriptedProvider, caplog: pytest.LogCaptureFixture, error: ProviderError
) -> None:
    scripted.refusals = [error]
    enqueue(**sealed_columns(config={"hub_token": SECRET}, dataloader_config=[]))
    with caplog.at_level("DEBUG"):
        dispatch.run_pass()
    assert len(scripted.specs) == 1
    texts = [
        *(Job.objects.get().error_message, QueueEntry.objects.get().last_error),
        *JobEvent.objects.values_list("reason", flat=True),
        *published_events().values_list("data", flat=True),
        *(str(record.__dict__) for record in caplog.records),
    ]
    assert not any(SECRET in text for text in texts)
    assert any(f"no {'*' * len(SECRET)} here" in text for text in texts)


def test_a_provider_that_asks_for_time_at_the_last_attempt_fails_no_job(
    enqueue: Enqueue, scripted: ScriptedProvider
) -> None:
    enqueue()
    QueueEntry.objects.update(attempts=claims.MAX_ATTEMPTS - 1)
    scripted.refusals = [ProviderError("too many requests", nothing_created=True, retry_after=30)]
    dispatch.run_pass()
    assert state() == (JobStatus.PENDING, EntryStatus.PENDING)
    not_before = QueueEntry.objects.get().not_before
    assert not_before is not None
    assert 25 < (not_before - timezone.now()).total_seconds() <= 30


def test_a_slot_that_a_refusal_frees_is_used_in_the_same_pass(enqueue: Enqueue, scripted: ScriptedProvider) -> None:
    QueueState.objects.update_or_create(pk=1, defaults={"max_running": 1})
    scripted.refusals = [refusal(permanent=True)]
    enqueue(), enqueue(), enqueue()
    assert dispatch.run_pass() == 1
    assert sorted(QueueEntry.objects.values_list("status", flat=True)) == ["failed", "pending", "running"]
