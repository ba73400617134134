"""The waiting list in the admin, its actions, and the pages of the limits."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.utils import timezone

from cloudtrain_site.audit.models import AuditRecord
from jobs.models import JobEvent, Organization
from jobs.statuses import JobStatus
from queueing import dispatch
from queueing.extensions import UNKNOWN_HOLD
from queueing.models import ProviderLimit, QueueEntry, QueueState
from queueing.statuses import EntryStatus

pytestmark = [pytest.mark.slow, pytest.mark.django_db, pytest.mark.usefixtures("scripted")]
Enqueue = Callable[..., QueueEntry]
LIST = "/admin/queueing/queueentry/"


def act(user: User, action: str, *entries: QueueEntry, **answers: Any) -> str:
    """Run an action on entries; the page, or the messages, that follow."""
    client = Client()
    client.force_login(user)
    data = {"action": action, "_selected_action": [entry.pk for entry in entries], **answers}
    return client.post(LIST, data, follow=True).content.decode()


def page(user: User, address: str) -> str:
    client = Client()
    client.force_login(user)
    return client.get(address).content.decode()


def test_the_list_is_in_the_real_order_with_the_reasons(enqueue: Enqueue, bob: User) -> None:
    enqueue(config_name="run-1"), enqueue(config_name="run-2")
    dispatch.run_pass()
    enqueue(config_name="later")
    urgent = enqueue(config_name="urgent")
    act(bob, "set_priority", urgent, answered="yes", priority=50, reason="deadline")
    text = page(bob, f"{LIST}?status__exact=pending")
    assert text.index(">urgent") < text.index(">later")
    assert "2 jobs are running" in text


def test_what_has_not_ended_is_listed_first_and_what_has_ended_on_demand(enqueue: Enqueue, bob: User) -> None:
    for name, day in (("older", 1), ("newer", 2)):
        ended = {"status": EntryStatus.COMPLETED, "finished_at": datetime(2026, 11, day, tzinfo=UTC)}
        QueueEntry.objects.filter(pk=enqueue(config_name=name).pk).update(**ended)
    enqueue(config_name="on-hold", held=True), enqueue(config_name="run-1"), enqueue(config_name="run-2")
    dispatch.run_pass()
    enqueue(config_name="waits")
    text = page(bob, LIST)
    assert text.index(">run-1") < text.index(">waits") < text.index(">on-hold")
    assert ">older" not in text and 'href="?status__exact=ended"' in text
    for query in ("status__exact=ended", "status__exact=completed", "q=er"):
        text = page(bob, f"{LIST}?{query}")
        assert text.index(">newer") < text.index(">older") and ">waits" not in text


def test_the_page_of_a_held_entry_says_why(enqueue: Enqueue, bob: User) -> None:
    entry = enqueue(held=True)
    assert "Why it waits" in (shown := page(bob, f"{LIST}{entry.pk}/change/"))
    assert UNKNOWN_HOLD.split(".")[0] in shown


def test_a_priority_asks_for_its_reason(enqueue: Enqueue, bob: User) -> None:
    entry = enqueue()
    assert "Cancel" in act(bob, "set_priority", entry)
    assert "This field is required" in act(bob, "set_priority", entry, answered="yes", priority=40)
    assert QueueEntry.objects.get().priority_override is None
    assert "1 reordered" in act(bob, "set_priority", entry, answered="yes", priority=40, reason="deadline")
    assert JobEvent.objects.filter(actor="bob", reason__endswith="10 -> 40: deadline").exists()


def test_entries_of_others_are_not_there(enqueue: Enqueue, charlie: User) -> None:
    entry = enqueue(config_name="acme-only")
    assert "acme-only" not in page(charlie, LIST)
    act(charlie, "set_priority", entry, answered="yes", priority=40, reason="mine now")
    assert QueueEntry.objects.get().priority_override is None


def test_a_job_is_cancelled(enqueue: Enqueue, bob: User) -> None:
    assert "1 cancelled" in act(bob, "cancel_entries", enqueue())


@pytest.mark.parametrize(
    ("action", "status", "job_status"),
    [
        ("resubmit_entries", EntryStatus.PENDING, JobStatus.PENDING),
        ("give_up_entries", EntryStatus.FAILED, JobStatus.FAILED),
    ],
)
def test_a_person_settles_what_is_unconfirmed(
    enqueue: Enqueue, bob: User, action: str, status: EntryStatus, job_status: JobStatus
) -> None:
    entry, now = enqueue(), timezone.now()
    fields = {"status": EntryStatus.DISPATCHING, "claim_token": "claim", "lease_until": now, "unconfirmed_at": now}
    QueueEntry.objects.update(**fields)
    assert "This field is required" in act(bob, action, entry, answered="yes")
    assert "1 " in act(bob, action, entry, answered="yes", reason="it is not there")
    entry = QueueEntry.objects.get()
    assert (entry.status, entry.job.status) == (status, job_status)
    assert JobEvent.objects.filter(actor="bob", reason__contains="it is not there").exists()


def test_what_is_not_unconfirmed_is_not_submitted_again(enqueue: Enqueue, bob: User) -> None:
    entry = enqueue()
    assert "not unconfirmed" in act(bob, "resubmit_entries", entry, answered="yes", reason="x")
    assert "not unconfirmed" in act(bob, "give_up_entries", entry, answered="yes", reason="x")
    assert QueueEntry.objects.get().status == EntryStatus.PENDING


def test_the_queue_is_paused_and_resumed_by_a_superuser_alone(enqueue: Enqueue, bob: User, root: User) -> None:
    entry = enqueue()
    assert "Only a superuser can do this" in act(bob, "pause_queue", entry)
    assert "The queue is paused" in act(root, "pause_queue", entry)
    assert "was already paused" in act(root, "pause_queue", entry)
    assert "The queue is running" in act(root, "resume_queue", entry)
    changes = AuditRecord.objects.filter(action="limit_changed").order_by("id").values_list("after", flat=True)
    assert list(changes) == [{"paused": True}, {"paused": False}]


def test_a_pass_is_asked_for(enqueue: Enqueue, bob: User) -> None:
    assert "Eligible jobs start in a moment" in act(bob, "run_pass_now", enqueue())


def test_limits_are_changed_on_record(root: User, bob: User) -> None:
    client = Client()
    client.force_login(root)
    assert client.get("/admin/queueing/queuestate/", follow=True).redirect_chain[-1][0].endswith("/1/change/")
    limits = {"max_running": 8, "max_running_per_user": 2, "max_running_per_organization": 10}
    client.post("/admin/queueing/queuestate/1/change/", limits)
    assert QueueState.objects.get().max_running == 8
    change = AuditRecord.objects.get(action="limit_changed")
    assert (change.actor, change.source) == ("root", "admin")
    assert (change.before, change.after) == ({"max_running": 5}, {"max_running": 8})
    client.force_login(bob)
    assert client.get("/admin/queueing/queuestate/1/change/").status_code == 403


def test_a_provider_is_drained_on_record(root: User) -> None:
    client = Client()
    client.force_login(root)
    client.post("/admin/queueing/providerlimit/add/", {"provider": "local", "drained": "on"})
    assert ProviderLimit.objects.get().drained
    client.post("/admin/queueing/providerlimit/add/", {"provider": "nowhere", "drained": "on"})
    assert AuditRecord.objects.filter(action="limit_changed").count() == 1


def test_a_provider_is_drained_and_let_in_again_and_who_waits_reads_why(
    enqueue: Enqueue, root: User, bob: User
) -> None:
    entry = enqueue(provider="replicate")
    ProviderLimit.objects.create(provider="replicate")

    def switch(user: User, action: str) -> str:
        client = Client()
        client.force_login(user)
        answer = client.post(
            "/admin/queueing/providerlimit/", {"action": action, "_selected_action": ["replicate"]}, follow=True
        )
        return answer.content.decode()

    switch(bob, "drain")
    assert not ProviderLimit.objects.get().drained
    assert "1 drained" in switch(root, "drain")
    assert "1 already drained" in switch(root, "drain")
    assert dispatch.run_pass() == 0
    assert "Replicate is being drained and accepts no new jobs." in page(bob, LIST)
    assert "1 taking jobs again" in switch(root, "let_in")
    assert "drained." not in page(bob, LIST)
    changes = AuditRecord.objects.filter(action="limit_changed").order_by("id")
    assert [(one.subject, one.after, one.actor) for one in changes] == [
        ("replicate", {"drained": True}, "root"),
        ("replicate", {"drained": False}, "root"),
    ]
    assert QueueEntry.objects.get(pk=entry.pk).status == EntryStatus.PENDING


def test_with_fair_share_the_list_is_in_the_order_of_the_shares(enqueue: Enqueue, root: User, charlie: User) -> None:
    QueueState.objects.update_or_create(pk=1, defaults={"fair_share": True, "max_running": 2})
    enqueue(config_name="run-1"), enqueue(config_name="run-2")
    dispatch.run_pass()
    enqueue(config_name="mine")
    enqueue(config_name="theirs", organization=Organization.objects.get(name="other"), submitted_by=charlie)
    text = page(root, LIST)
    assert text.index(">run-1") < text.index(">theirs") < text.index(">mine")
    text = page(root, f"{LIST}?o=9")
    assert text.index(">mine") < text.index(">theirs")
