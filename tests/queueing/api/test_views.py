"""The queue over HTTP: what each may see and do."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.utils import timezone
from django_q.models import OrmQ
from rest_framework.test import APIClient

from cloudtrain_site.audit.models import AuditRecord
from jobs.models import Job, JobEvent, Organization
from jobs.providers.base import Snapshot
from jobs.roles import Role
from jobs.statuses import JobStatus
from queueing import claims, dispatch
from queueing.models import ProviderLimit, QueueEntry, QueueState
from queueing.statuses import EntryStatus
from tests import factories
from tests.providers import ScriptedProvider

pytestmark = [pytest.mark.slow, pytest.mark.django_db, pytest.mark.usefixtures("scripted")]
Enqueue = Callable[..., QueueEntry]
ClientOf = Callable[[User | None], APIClient]


def finish_some(make_job: Callable[..., Job], *seconds: int) -> None:
    now = timezone.now()
    for length in seconds:
        fields = {"started_at": now - timedelta(seconds=length), "completed_at": now}
        make_job(provider="scripted", status=JobStatus.COMPLETED, **fields)


def make_unconfirmed(scripted: ScriptedProvider, enqueue: Enqueue) -> QueueEntry:
    scripted.lose_answers = 1
    enqueue()
    dispatch.run_pass()
    scripted.trainings.clear()
    long_ago = timezone.now() - timedelta(minutes=11)
    QueueEntry.objects.update(lease_until=long_ago, dispatched_at=long_ago)
    dispatch.run_pass()
    return QueueEntry.objects.get()


class TestPosition:
    def test_it_names_the_holders_and_what_would_lift_each_limit(
        self, enqueue: Enqueue, client_of: ClientOf, alice: User
    ) -> None:
        enqueue(config_name="job A"), enqueue(config_name="job B")
        dispatch.run_pass()
        waiting = enqueue(config_name="job C")
        answer = client_of(alice).get(f"/api/queue/position/{waiting.job_id}").json()
        sentence = "Your limit is reached: 2 of 2 jobs are running (job A, job B)."
        assert answer["position"] == 1
        assert answer["waiting_reason"] == sentence
        (blocker,) = answer["blockers"]
        assert blocker["kind"] == "user"
        assert [holder["config_name"] for holder in blocker["holders"]] == ["job A", "job B"]
        assert "per-user limit is raised" in blocker["lifted_by"]

    @pytest.mark.parametrize(
        ("running", "sentence"),
        [
            (1, "Your limit is reached: 1 of 1 job is running (A)."),
            (2, "Your limit is reached: 2 of 1 jobs are running (A, B)."),
        ],
    )
    def test_a_limit_of_one_is_told_in_words_that_fit_one(
        self, enqueue: Enqueue, client_of: ClientOf, alice: User, running: int, sentence: str
    ) -> None:
        for name in "AB"[:running]:
            enqueue(config_name=name)
        dispatch.run_pass()
        QueueState.objects.update_or_create(pk=1, defaults={"max_running_per_user": 1})
        waiting = enqueue()
        assert client_of(alice).get(f"/api/queue/position/{waiting.job_id}").json()["waiting_reason"] == sentence

    def test_a_job_of_another_organization_is_counted_and_not_named(
        self, enqueue: Enqueue, client_of: ClientOf, alice: User, charlie: User
    ) -> None:
        QueueState.objects.update_or_create(pk=1, defaults={"max_running": 1})
        other = Organization.objects.get(name="other")
        enqueue(config_name="secret", organization=other, submitted_by=charlie)
        dispatch.run_pass()
        waiting = enqueue()
        answer = client_of(alice).get(f"/api/queue/position/{waiting.job_id}")
        assert "secret" not in answer.content.decode()
        assert answer.json()["waiting_reason"].startswith("The total limit is reached: 1 of 1 job is running.")

    def test_nothing_like_it_ended_yet_so_no_time_is_told(
        self, enqueue: Enqueue, client_of: ClientOf, alice: User
    ) -> None:
        waiting = enqueue()
        answer = client_of(alice).get(f"/api/queue/position/{waiting.job_id}").json()
        assert (answer["estimated_wait_seconds"], answer["estimated_wait_range"]) == (None, None)

    def test_the_wait_is_a_range_of_what_similar_jobs_took(
        self, enqueue: Enqueue, client_of: ClientOf, alice: User, make_job: Callable[..., Job]
    ) -> None:
        finish_some(make_job, 100, 200, 300, 400, 500)
        enqueue(), enqueue()
        dispatch.run_pass()
        waiting = enqueue()
        answer = client_of(alice).get(f"/api/queue/position/{waiting.job_id}").json()
        assert answer["estimated_wait_seconds"] == pytest.approx(300, abs=30)
        assert answer["estimated_wait_range"]["low"] == pytest.approx(200, abs=30)
        assert answer["estimated_wait_range"]["high"] == pytest.approx(400, abs=30)

    def test_no_time_is_told_of_what_no_ended_job_would_start(
        self, enqueue: Enqueue, client_of: ClientOf, alice: User, make_job: Callable[..., Job]
    ) -> None:
        finish_some(make_job, 100)
        QueueState.objects.update_or_create(pk=1, defaults={"max_running_per_user": 0})
        answer = client_of(alice).get(f"/api/queue/position/{enqueue().job_id}").json()
        assert answer["waiting_reason"] == "Your limit is 0, so no job can start."
        assert answer["estimated_wait_seconds"] is None

    def test_a_strangers_job_is_not_there(self, enqueue: Enqueue, client_of: ClientOf, charlie: User) -> None:
        assert client_of(charlie).get(f"/api/queue/position/{enqueue().job_id}").status_code == 404

    def test_a_job_page_tells_the_wait_too(
        self, enqueue: Enqueue, client_of: ClientOf, alice: User, make_job: Callable[..., Job]
    ) -> None:
        finish_some(make_job, 100)
        QueueState.objects.update_or_create(pk=1, defaults={"max_running_per_user": 1})
        enqueue()
        dispatch.run_pass()
        job = client_of(alice).get(f"/api/cloud/jobs/{enqueue().job_id}").json()["job"]
        assert job["estimated_wait_seconds"] == pytest.approx(100, abs=30)


class TestLists:
    def test_the_queue_is_told_in_its_order_with_what_each_waits_for(
        self, enqueue: Enqueue, client_of: ClientOf, alice: User, charlie: User
    ) -> None:
        running, second, held, first = enqueue(), enqueue(), enqueue(held=True), enqueue(role=Role.LEAD)
        QueueState.objects.update_or_create(pk=1, defaults={"max_running_per_user": 0})
        QueueEntry.objects.filter(pk=running.pk).update(turn=0.0)
        answer = client_of(alice).get("/api/queue").json()
        assert (answer["depth"], answer["running"]) == (4, 0)
        places = {entry["job_id"]: entry["position"] for entry in answer["entries"]}
        assert places == {running.job_id: 1, first.job_id: 2, second.job_id: 3, held.job_id: None}
        assert all(entry["waiting_reason"] for entry in answer["entries"])
        only = client_of(alice).get("/api/queue?status=blocked&limit=1").json()["entries"]
        assert [entry["job_id"] for entry in only] == [held.job_id]
        assert client_of(charlie).get("/api/queue").json()["entries"] == []

    @pytest.mark.parametrize("query", ["status=lost", "limit=0", "limit=501"])
    def test_what_cannot_be_asked_is_refused(self, client_of: ClientOf, alice: User, query: str) -> None:
        assert client_of(alice).get(f"/api/queue?{query}").status_code == 400

    def test_me_is_ones_own_alone(
        self, enqueue: Enqueue, client_of: ClientOf, alice: User, bob: User, acme: Organization
    ) -> None:
        mine = enqueue()
        enqueue(submitted_by=bob)
        answer = client_of(alice).get("/api/queue/me").json()["entries"]
        assert [entry["job_id"] for entry in answer] == [mine.job_id]

    def test_a_deleted_job_is_nowhere(self, enqueue: Enqueue, client_of: ClientOf, bob: User) -> None:
        entry = enqueue()
        client_of(bob).post(f"/api/queue/{entry.job_id}/cancel")
        assert client_of(bob).delete(f"/api/cloud/jobs/{entry.job_id}").status_code == 200
        assert client_of(bob).get(f"/api/queue/position/{entry.job_id}").status_code == 404
        body = {"priority": 5, "reason": "x"}
        assert client_of(bob).post(f"/api/queue/{entry.job_id}/priority", body, format="json").status_code == 404


class TestPriority:
    @pytest.mark.parametrize(
        "body", [{"priority": 51, "reason": "x"}, {"priority": -1, "reason": "x"}, {"priority": 5}]
    )
    def test_bad_input_changes_nothing(
        self, enqueue: Enqueue, client_of: ClientOf, bob: User, body: dict[str, Any]
    ) -> None:
        entry = enqueue()
        answer = client_of(bob).post(f"/api/queue/{entry.job_id}/priority", body, format="json")
        assert answer.status_code == 400
        assert QueueEntry.objects.get().priority_override is None

    def test_a_lead_overrides_with_a_reason(self, enqueue: Enqueue, client_of: ClientOf, bob: User) -> None:
        first, second = enqueue(), enqueue()
        body = {"priority": 50, "reason": "deadline"}
        assert client_of(bob).post(f"/api/queue/{second.job_id}/priority", body, format="json").status_code == 200
        assert list(QueueEntry.objects.in_order()) == [second, first]
        assert JobEvent.objects.filter(actor="bob", reason__contains="10 -> 50: deadline").exists()

    def test_nobody_raises_their_own_without_leading(self, enqueue: Enqueue, client_of: ClientOf, alice: User) -> None:
        body = {"priority": 50, "reason": "mine"}
        assert client_of(alice).post(f"/api/queue/{enqueue().job_id}/priority", body, format="json").status_code == 403

    def test_a_lead_of_another_organization_finds_no_such_job(
        self, enqueue: Enqueue, client_of: ClientOf, charlie: User
    ) -> None:
        body = {"priority": 50, "reason": "x"}
        answer = client_of(charlie).post(f"/api/queue/{enqueue().job_id}/priority", body, format="json")
        assert answer.status_code == 404

    def test_an_entry_that_left_the_queue_is_a_conflict(self, enqueue: Enqueue, client_of: ClientOf, bob: User) -> None:
        entry = enqueue()
        assert client_of(bob).post(f"/api/queue/{entry.job_id}/cancel").status_code == 200
        claims.end(Job.objects.get(pk=entry.job_id))
        body = {"priority": 50, "reason": "late"}
        assert client_of(bob).post(f"/api/queue/{entry.job_id}/priority", body, format="json").status_code == 409


class TestLimits:
    def test_a_superuser_changes_them_on_record_and_a_pass_follows(
        self, client_of: ClientOf, root: User, django_capture_on_commit_callbacks: Any
    ) -> None:
        body = {"max_running": 7, "fair_share": True, "providers": {"replicate": {"max_running": 3}}, "reason": "grown"}
        with django_capture_on_commit_callbacks(execute=True):
            answer = client_of(root).post("/api/queue/concurrency", body, format="json").json()
        assert answer["max_running"] == 7
        assert answer["providers"] == {"replicate": {"max_running": 3, "drained": False}}
        changes = AuditRecord.objects.order_by("id").values_list("subject", "actor", "before", "after")
        assert list(changes) == [
            (
                "Limits of the queue",
                "root",
                {"max_running": 5, "fair_share": False},
                {"max_running": 7, "fair_share": True, "reason": "grown"},
            ),
            ("replicate", "root", {"max_running": None}, {"max_running": 3, "reason": "grown"}),
        ]
        assert OrmQ.objects.count() == 1

    def test_what_is_as_it_was_leaves_no_line(self, client_of: ClientOf, root: User) -> None:
        client_of(root).post("/api/queue/concurrency", {"max_running": 5}, format="json")
        assert not AuditRecord.objects.exists()

    @pytest.mark.parametrize(
        "body",
        [
            {"max_running": -1},
            {"max_runing": 3},
            {"providers": {"nowhere": {"max_running": 1}}},
            {"providers": {"local": {"max_running": 4}}},
            {"max_running": 9, "organizations": {"unknown": 2}},
        ],
    )
    def test_bad_input_changes_nothing(self, client_of: ClientOf, root: User, body: dict[str, Any]) -> None:
        assert client_of(root).post("/api/queue/concurrency", body, format="json").status_code == 400
        assert not AuditRecord.objects.exists()
        assert not ProviderLimit.objects.exists()

    def test_a_lead_may_not(self, client_of: ClientOf, bob: User) -> None:
        assert client_of(bob).post("/api/queue/concurrency", {"max_running": 50}, format="json").status_code == 403

    def test_an_admin_sets_the_organizations_own_number_up_to_the_general_one(
        self, client_of: ClientOf, acme: Organization, charlie: User
    ) -> None:
        admin = client_of(factories.make_user("ada", acme, Role.ADMIN))
        answer = admin.post("/api/queue/concurrency", {"organizations": {"acme": 3}}, format="json")
        assert answer.json()["organizations"] == {"acme": 3}
        more = admin.post("/api/queue/concurrency", {"organizations": {"acme": 11}}, format="json")
        assert more.status_code == 400
        assert admin.post("/api/queue/concurrency", {"max_running": 9}, format="json").status_code == 403

    def test_the_admin_of_the_only_organization_runs_the_queue(self, client_of: ClientOf, acme: Organization) -> None:
        admin = client_of(factories.make_user("ada", acme, Role.ADMIN))
        assert admin.post("/api/queue/concurrency", {"max_running": 9}, format="json").status_code == 200

    def test_the_next_pass_obeys(self, enqueue: Enqueue, client_of: ClientOf, root: User) -> None:
        for _ in range(4):
            enqueue()
        assert dispatch.run_pass() == 2
        client_of(root).post("/api/queue/concurrency", {"max_running_per_user": 3}, format="json")
        assert dispatch.run_pass() == 1

    def test_a_paused_queue_starts_nothing_until_it_is_resumed(
        self, enqueue: Enqueue, client_of: ClientOf, root: User, alice: User
    ) -> None:
        entry = enqueue()
        assert client_of(root).post("/api/queue/pause").json()["paused"]
        assert dispatch.run_pass() == 0
        answer = client_of(alice).get(f"/api/queue/position/{entry.job_id}").json()
        assert [blocker["kind"] for blocker in answer["blockers"]] == ["paused"]
        assert client_of(alice).post("/api/queue/resume").status_code == 403
        client_of(root).post("/api/queue/resume")
        assert dispatch.run_pass() == 1


class TestUnconfirmed:
    def test_it_is_shown_and_takes_its_slot(self, enqueue: Enqueue, scripted: ScriptedProvider) -> None:
        entry = make_unconfirmed(scripted, enqueue)
        assert entry.unconfirmed_at is not None
        assert entry.status == EntryStatus.DISPATCHING
        assert QueueEntry.objects.taking_slots().count() == 1
        assert JobEvent.objects.filter(reason__startswith="unconfirmed: look at the provider").count() == 1

    def test_a_lead_has_it_submitted_again(
        self, enqueue: Enqueue, scripted: ScriptedProvider, client_of: ClientOf, bob: User
    ) -> None:
        entry = make_unconfirmed(scripted, enqueue)
        body = {"reason": "not in the provider's list"}
        assert client_of(bob).post(f"/api/queue/{entry.job_id}/resubmit", body, format="json").status_code == 200
        assert dispatch.run_pass() == 1
        assert len(scripted.specs) == 2
        assert client_of(bob).post(f"/api/queue/{entry.job_id}/resubmit", body, format="json").status_code == 409

    def test_a_lead_gives_it_up(
        self, enqueue: Enqueue, scripted: ScriptedProvider, client_of: ClientOf, bob: User
    ) -> None:
        entry = make_unconfirmed(scripted, enqueue)
        answer = client_of(bob).post(f"/api/queue/{entry.job_id}/give-up", {"reason": "never came"}, format="json")
        assert answer.json()["status"] == JobStatus.FAILED
        assert QueueEntry.objects.get().status == EntryStatus.FAILED

    def test_it_is_still_looked_for_and_adopted_when_it_turns_up(
        self, enqueue: Enqueue, scripted: ScriptedProvider
    ) -> None:
        entry = make_unconfirmed(scripted, enqueue)
        scripted.trainings[scripted.specs[0].marker] = Snapshot("x-late", JobStatus.RUNNING)
        QueueEntry.objects.update(lease_until=timezone.now() - timedelta(seconds=1))
        dispatch.run_pass()
        entry.refresh_from_db()
        assert (entry.status, entry.unconfirmed_at) == (EntryStatus.RUNNING, None)

    @pytest.mark.parametrize("verb", ["resubmit", "give-up"])
    def test_what_is_not_unconfirmed_is_left_alone(
        self, enqueue: Enqueue, client_of: ClientOf, bob: User, alice: User, verb: str
    ) -> None:
        entry = enqueue()
        address = f"/api/queue/{entry.job_id}/{verb}"
        assert client_of(bob).post(address, {"reason": "x"}, format="json").status_code == 409
        assert client_of(bob).post(address, {}, format="json").status_code == 400
        assert client_of(alice).post(address, {"reason": "x"}, format="json").status_code == 403


class TestUpkeep:
    def test_statistics_tell_of_ones_organizations_alone(
        self, enqueue: Enqueue, client_of: ClientOf, alice: User, charlie: User
    ) -> None:
        for _ in range(3):
            enqueue()
        dispatch.run_pass()
        answer = client_of(alice).get("/api/queue/stats").json()
        assert (answer["depth"], answer["running"]) == (1, 2)
        assert answer["by_user"] == [{"user": "alice", "waiting": 1, "running": 2}]
        assert answer["by_organization"] == [{"organization": "acme", "waiting": 1, "running": 2}]
        assert answer["average_wait_seconds"] >= 0
        assert client_of(charlie).get("/api/queue/stats").json()["by_user"] == []

    def test_clean_up_takes_what_ended_long_ago(self, enqueue: Enqueue, client_of: ClientOf, bob: User) -> None:
        old, new = enqueue(), enqueue()
        for entry in (old, new):
            client_of(bob).post(f"/api/queue/{entry.job_id}/cancel")
            claims.end(Job.objects.get(pk=entry.job_id))
        QueueEntry.objects.filter(pk=old.pk).update(finished_at=timezone.now() - timedelta(days=31))
        assert client_of(bob).post("/api/queue/cleanup?days=30").json() == {"success": True, "deleted": 1}
        assert list(QueueEntry.objects.all()) == [new]
        assert client_of(bob).post("/api/queue/cleanup?days=-1").status_code == 400

    def test_leads_ask_for_a_pass_and_researchers_do_not(self, client_of: ClientOf, alice: User, bob: User) -> None:
        assert client_of(bob).post("/api/queue/process").status_code == 200
        assert client_of(alice).post("/api/queue/process").status_code == 403
        assert client_of(alice).post("/api/queue/cleanup").status_code == 403


def test_a_long_error_of_a_provider_is_cut_in_the_queue(enqueue: Enqueue, client_of: ClientOf, alice: User) -> None:
    entry = enqueue()
    later = timezone.now() + timedelta(minutes=5)
    QueueEntry.objects.filter(pk=entry.pk).update(last_error="x" * 100_000, lease_until=later, attempts=1)
    answer = client_of(alice).get("/api/queue")
    [listed] = answer.json()["entries"]
    assert listed["last_error"] == "x" * 299 + "…"
    assert len(answer.content) < 2000
