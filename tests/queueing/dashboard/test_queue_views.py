"""The page of the queue without a browser: who sees what on it, and what it costs."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.utils import timezone

from cloudtrain_site.states import Actor, Source
from jobs.models import Job, Organization
from queueing import claims, passes
from queueing.dashboard import queue_views
from queueing.dashboard.queue_views import PAGE_SIZE
from queueing.models import QueueEntry, QueueState
from tests.web import queries_of, read_page

pytestmark = [pytest.mark.slow, pytest.mark.django_db]
Enqueue = Callable[..., QueueEntry]


def get(user: User, address: str = "/queue") -> str:
    return read_page(user, address)


def test_nobody_is_sent_to_the_login_and_a_script_is_told(client: Client) -> None:
    assert client.get("/queue")["Location"] == "/login?next=/queue"
    assert client.get("/queue/now").status_code == 401


def test_a_stranger_sees_no_name_but_that_the_places_are_taken(enqueue: Enqueue, charlie: User) -> None:
    enqueue(config_name="alices-own")
    page = get(charlie)
    assert "alices-own" not in page and "acme" not in page
    assert "1 job from another organization is also in this queue." in page


def test_what_is_held_elsewhere_has_no_place_to_count(enqueue: Enqueue, charlie: User) -> None:
    enqueue(held=True)
    page = get(charlie)
    assert "No jobs are waiting" in page and "other organization" not in page


def test_a_lead_has_levers_and_a_researcher_her_own_jobs_alone(enqueue: Enqueue, alice: User, bob: User) -> None:
    enqueue(config_name="alices-own")
    enqueue(config_name="bobs-own", submitted_by=bob)
    leads, researchers = get(bob), get(alice)
    assert leads.count('data-act="priority"') == leads.count('data-act="cancel"') == 2
    assert 'data-act="process"' in leads and 'data-act="pause"' not in leads
    assert researchers.count('data-act="cancel"') == 1
    assert 'data-act="priority"' not in researchers and 'data-act="process"' not in researchers


def test_whoever_runs_the_whole_queue_may_pause_it(root: User, acme: Organization) -> None:
    assert 'data-act="pause"' in get(root)
    QueueState.objects.update_or_create(pk=1, defaults={"paused": True})
    page = get(root)
    assert 'data-act="resume"' in page and "The queue is paused" in page


def test_what_waits_is_in_order_and_paged(enqueue: Enqueue, alice: User) -> None:
    entries = [enqueue(config_name=f"number-{number}-") for number in range(PAGE_SIZE + 2)]
    claims.set_priority(entries[-1], 50, actor=Actor.of(alice), source=Source.API, reason="a demo")
    first, second = get(alice), get(alice, "/queue?page=2")
    assert first.index(f"number-{PAGE_SIZE + 1}-") < first.index("number-0-") < first.index("number-1-")
    assert "number-49-" in second and "number-50-" in second and "number-0-" not in second
    assert "This page is empty now" in get(alice, "/queue?page=77")
    assert "number-0-" in get(alice, "/queue?page=nonsense")


def test_of_many_running_jobs_the_first_are_shown_and_all_are_counted(
    enqueue: Enqueue, alice: User, bob: User, scripted: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, person in (("first-", alice), ("second-", bob)):
        enqueue(config_name=name, submitted_by=person)
        [entry] = claims.claim_next()
        claims.confirm(entry)
    assert "second-" in get(alice) and "List all running jobs" not in get(alice)
    monkeypatch.setattr(queue_views, "MAX_RUNNING_SHOWN", 1)
    page = " ".join(get(alice).split())
    assert "first-" in page and "second-" not in page
    assert "The first 1 of 2 jobs." in page and '<span class="soft figure" data-spoken>2</span>' in page


def test_more_entries_cost_no_more_queries(enqueue: Enqueue, alice: User, bob: User) -> None:
    client, counts = Client(), []
    client.force_login(bob)
    for count in (2, 12):
        for number in range(count):
            enqueue(submitted_by=bob if number % 2 else alice)
        counts.append(queries_of(client, "/queue"))
    assert counts[0] == counts[1]


def test_what_runs_is_held_or_is_stopped_costs_no_more_queries(enqueue: Enqueue, alice: User, scripted: object) -> None:
    client, counts = Client(), []
    client.force_login(alice)
    QueueState.objects.update_or_create(
        pk=1, defaults={"max_running": 50, "max_running_per_user": 50, "max_running_per_organization": 50}
    )
    now = timezone.now()
    of_each = (
        {"status": "running", "started_at": now - timedelta(minutes=9), "progress": 50.0, "progress_told_at": now},
        {"status": "queued", "provider_waiting_reason": "no node is free", "estimated_cost_usd": 2},
        {"status": "running", "cancel_requested_at": now},
    )
    for count in (1, 3):
        for fields in of_each * count:
            enqueue()
            [entry] = claims.claim_next()
            assert claims.confirm(entry)
            Job.objects.filter(pk=entry.job_id).update(**fields)
        for _ in range(count):
            enqueue(held=True)
            waiting = enqueue(estimated_cost_usd=2, estimated_cost_low_usd=1, estimate_source="by its steps")
            QueueEntry.objects.filter(pk=waiting.pk).update(
                not_before=now + timedelta(hours=1), last_error="connection refused"
            )
        counts.append((queries_of(client, "/queue"), queries_of(client, "/api/queue")))
    assert counts[0] == counts[1]


def test_a_reason_is_said_once_for_all_jobs_that_wait_for_it(enqueue: Enqueue, alice: User) -> None:
    QueueState.objects.update_or_create(pk=1, defaults={"paused": True})
    for name in ("first-", "second-", "third-"):
        enqueue(config_name=name)
    page = get(alice)
    assert page.count("line-reason") == 1 and "3 jobs" in page
    assert page.index("line-reason") < page.index("first-") < page.index("second-") < page.index("third-")


def test_a_running_job_has_its_progress_and_when_it_will_probably_end(
    enqueue: Enqueue, make_job: Callable[..., Job], alice: User, bob: User, scripted: object
) -> None:
    def running(**fields: Any) -> None:
        enqueue(**fields)
        [entry] = claims.claim_next()
        claims.confirm(entry)
        Job.objects.filter(pk=entry.job_id).update(status="running")

    now = timezone.now()
    ten_minutes = {"started_at": now - timedelta(minutes=10), "progress_told_at": now}
    running(hardware_profile="first-of-its-kind", **ten_minutes)
    assert "data-expected" not in get(alice)

    running(hardware_profile="paced", progress=50.0, **ten_minutes)
    hour = {"started_at": now - timedelta(minutes=90), "completed_at": now - timedelta(minutes=30)}
    make_job(provider="scripted", hardware_profile="usual", status="completed", **hour)
    running(hardware_profile="usual", submitted_by=bob, **ten_minutes)
    page = get(alice)
    ends = [datetime.fromisoformat(at) for at in re.findall(r'data-expected datetime="([^"]*)"', page)]
    assert [round((end - now).total_seconds() / 60) for end in ends] == [10, 50]
    assert "50 %" in page and 'value="50.00"' in page

    Job.objects.filter(hardware_profile="usual", status="running").update(started_at=now - timedelta(hours=2))
    assert "past its estimate of 1 h" in " ".join(get(alice).split())

    # Its progress stands still at 50 % since it ran for 10 minutes.
    paced = Job.objects.filter(hardware_profile="paced")
    paced.update(started_at=now - timedelta(minutes=35), progress_told_at=now - timedelta(minutes=25))
    page = " ".join(get(alice).split())
    assert "past its estimate of 20 min" in page and "data-expected" not in page


class TestTellingOfRules:
    def test_a_new_priority_is_told_though_the_numbers_are_the_same(
        self, enqueue: Enqueue, alice: User, django_capture_on_commit_callbacks: Any
    ) -> None:
        entry = enqueue()
        assert passes.publish_queue()
        QueueState.objects.update(told_at=None)
        assert not passes.publish_queue()
        with django_capture_on_commit_callbacks(execute=True):
            claims.set_priority(entry, 5, actor=Actor.of(alice), source=Source.API, reason="first")
        assert QueueState.objects.get().pass_requested_at is not None
        assert passes.publish_queue()
