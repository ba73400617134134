"""What runs in the background of a large site: discovery, webhooks, the queue's pass, and how long the upkeep holds."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta
from statistics import median
from typing import Any
from unittest.mock import patch

from bench.stack import percentile

Figures = dict[str, tuple[float, float]]
Work = Callable[[Callable[[], object]], float]
DISCOVERIES, UNKNOWN, PASSES, CLAIMED = 5, 100, 10, 100
UPKEEP_SECONDS = 2.0
#: What the upkeep has to remove, by the age in days.
REMOVED = {"jobs": 300, "audit": 300, "notices": 60}


def background_figures(work_ms: Work) -> Figures:
    """Return the middle and the 99th of a hundred milliseconds, by what is done. `work_ms` measures one action."""
    done = {
        "a webhook": list(_webhooks(work_ms)),
        "discovery of 100": list(_discoveries(work_ms)),
        "a pass of the queue": list(_passes(work_ms)),
        "a transaction of the upkeep": _upkeep(),
    }
    return {name: (median(times), percentile(times, 99)) for name, times in done.items()}


def _webhooks(work_ms: Work) -> Iterator[float]:
    """Every second tells of an end, with a log; the others of a training that goes on."""
    from django.utils import timezone

    from jobs.models import Job, ProviderConfig
    from jobs.webhooks import inbox

    ProviderConfig.objects.filter(pk="replicate").update(signature_required=False)
    now = timezone.now()
    jobs = Job.objects.filter(provider="replicate", completed_at=None).exclude(external_id=None)
    with patch.object(inbox, "BURST_DELIVERIES", 10**9):
        for number, (external_id, marker) in enumerate(list(jobs.values_list("external_id", "submission_marker"))):
            body: dict[str, Any] = {"id": external_id, "status": "processing", "version": "v", "input": {}}
            body |= {"created_at": now.isoformat(), "started_at": now.isoformat(), "output": None}
            if number % 2:
                body |= {"status": "succeeded", "completed_at": now.isoformat(), "logs": "step 1/10\n" * 20}
            request = inbox.WebhookRequest({}, json.dumps(body).encode(), "127.0.0.1", marker or "")
            incoming = inbox.IncomingDelivery(request)
            took = work_ms(lambda: inbox.process_batch([incoming]))  # noqa: B023
            assert incoming.status == 200 and incoming.delivery and incoming.delivery.outcome, incoming
            yield took


def _discoveries(work_ms: Work) -> Iterator[float]:
    from django.utils import timezone

    from jobs.models import Organization, ProviderConfig
    from jobs.providers.base import DiscoveredTraining, Snapshot
    from jobs.statuses import JobStatus
    from jobs.sync import discovery

    ProviderConfig.objects.filter(pk="replicate").update(discovery_organization=Organization.objects.earliest("pk"))
    at = timezone.now() - timedelta(hours=2)
    ended = Snapshot("", JobStatus.COMPLETED, started_at=at, completed_at=at + timedelta(hours=1), hardware="gpu-t4")

    class Provider:
        label = "Replicate"

        def __init__(self, round_: int) -> None:
            self.round = round_

        async def recent(self, limit: int) -> list[DiscoveredTraining]:
            snapshots = [replace(ended, external_id=f"unknown-{self.round}-{number}") for number in range(limit)]
            return [DiscoveredTraining(one, at, "found", {"a": 1}, [], None) for one in snapshots]

    for number in range(DISCOVERIES):
        with patch.object(discovery, "get_provider", lambda name: Provider(number)):  # noqa: B023
            yield work_ms(lambda: discovery.discover("replicate", limit=UNKNOWN, source="loop"))


def _passes(work_ms: Work) -> Iterator[float]:
    from jobs.models import ProviderConfig
    from queueing.claims import choose_entries
    from queueing.models import QueueState

    ProviderConfig.objects.update(enabled=True)
    QueueState.objects.update(**{f"max_running{of}": 10_000 for of in ("", "_per_user", "_per_organization")})
    assert choose_entries(CLAIMED)
    for _ in range(PASSES):
        yield work_ms(lambda: choose_entries(CLAIMED))


def _upkeep() -> list[float]:
    """Return how long each transaction took that removes old things or measures results."""
    from django.utils import timezone
    from django.utils.module_loading import import_string

    from cloudtrain_site.extensions import kept
    from jobs.outputs.measuring import measure_ended

    now = timezone.now()
    with _transactions() as times:
        for name, days in REMOVED.items():
            import_string(kept[name].remove)(now - timedelta(days=days), time.monotonic() + UPKEEP_SECONDS)
        measure_ended(time.monotonic() + UPKEEP_SECONDS)
    return times


@contextmanager
def _transactions() -> Iterator[list[float]]:
    """Collect the milliseconds of each outermost transaction, by the clock: for so long another writer may wait."""
    from django.db import connection, transaction

    times: list[float] = []
    enter, leave = transaction.Atomic.__enter__, transaction.Atomic.__exit__
    began = 0.0

    def begin(self: Any) -> None:
        nonlocal began
        enter(self)
        began = began or time.perf_counter()

    def end(self: Any, *error: Any) -> None:
        nonlocal began
        leave(self, *error)
        if not connection.in_atomic_block:
            times.append((time.perf_counter() - began) * 1000)
            began = 0.0

    with patch.object(transaction.Atomic, "__enter__", begin), patch.object(transaction.Atomic, "__exit__", end):
        yield times
