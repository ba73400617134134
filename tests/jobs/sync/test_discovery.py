"""Jobs that were made elsewhere are found once, as they are; ours are never doubled."""

from __future__ import annotations

import json
from collections.abc import Callable
from io import StringIO
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.core.management import CommandError, call_command
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from rest_framework.test import APIClient

from cloudtrain_site.states import Source
from examples.fake_replicate import FakeReplicate, Prediction
from jobs.costs import ledger
from jobs.management.commands import sync_jobs
from jobs.models import Job, JobEvent, Organization, ProviderConfig
from jobs.providers.base import ProviderError
from jobs.statuses import JobStatus
from jobs.sync import discovery
from jobs.sync.discovery import DiscoveryResult, discover
from tests.factories import make_user
from tests.races import at_once

pytestmark = [pytest.mark.slow, pytest.mark.django_db]
MakeJob = Callable[..., Job]
ClientOf = Callable[[User | None], APIClient]
MARKER = "ct-" + "0123456789ab" * 2


def elsewhere(fake: FakeReplicate, count: int = 1, **fields: Any) -> list[Prediction]:
    inputs = {"config_json": json.dumps({"tracker_run_name": "night run", "hub_token": "s3cret-value"})}
    defaults = {"model": "simpletuner/advanced-trainer-l40s", "version": "v", "input": inputs}
    made = [Prediction(**{**defaults, **fields}) for _ in range(count)]
    fake.call(fake.predictions.add, *made)
    return made


def found(limit: int = 100) -> DiscoveryResult:
    return discover("replicate", limit=limit, source=Source.API)


def test_an_unknown_training_becomes_a_job(fake: FakeReplicate, acme: Organization, replicate_config: Any) -> None:
    ProviderConfig.objects.filter(pk="replicate").update(discovery_organization=acme)
    (made,) = elsewhere(fake)
    fake.update(made.id, "processing")
    assert found() == DiscoveryResult("Replicate", new=1)
    job = Job.objects.get()
    assert (job.external_id, job.status, job.config_name, job.hardware_profile) == (
        made.id,
        "running",
        "night run",
        "l40s",
    )
    assert (job.organization, job.submitted_by) == (acme, None)
    assert job.config == {"tracker_run_name": "night run", "hub_token": "***"}
    assert JobEvent.objects.values_list("old", "new").get() == ("", "running")


def test_an_ended_training_is_stored_with_its_end_and_cost(fake: FakeReplicate, replicate_config: Any) -> None:
    (made,) = elsewhere(fake)
    fake.update(made.id, "processing")
    fake.update(made.id, "failed", error="out of memory")
    found()
    job = Job.objects.get()
    assert (job.status, job.error_message, job.completed_at is not None) == ("failed", "out of memory", True)
    price = job.metadata["price"]
    assert price["usd_per_second"] == 0.001
    assert float(job.cost_usd) == pytest.approx(price["seconds"] * 0.001, abs=0.0001)


def test_finding_it_again_changes_nothing(fake: FakeReplicate, django_assert_num_queries: Any) -> None:
    elsewhere(fake, 3)
    found()
    assert found() == DiscoveryResult("Replicate")
    assert Job.objects.count() == 3


def test_what_a_known_job_did_meanwhile_is_taken_in(fake: FakeReplicate, at_replicate: MakeJob) -> None:
    job = at_replicate()
    fake.update(job.external_id or "", "processing")
    fake.update(job.external_id or "", "succeeded")
    assert found() == DiscoveryResult("Replicate", updated=1)
    assert Job.objects.get().status == JobStatus.COMPLETED


def test_a_job_that_is_being_submitted_is_not_doubled(fake: FakeReplicate, make_job: MakeJob) -> None:
    make_job(provider="replicate", submission_marker=MARKER, submission_started_at=timezone.now())
    elsewhere(fake, input={"config_json": json.dumps({"tracker_run_name": f"x {MARKER}"})})
    assert found() == DiscoveryResult("Replicate")
    assert Job.objects.count() == 1


@pytest.mark.django_db(transaction=True)
def test_two_discoveries_at_once_find_each_training_once(fake: FakeReplicate) -> None:
    elsewhere(fake, 40)
    outcomes = at_once(found, found)
    assert sum(outcome.new for outcome in outcomes) == 40
    assert Job.objects.count() == JobEvent.objects.count() == 40


def test_more_unknown_ones_cost_no_more_statements(fake: FakeReplicate, acme: Organization) -> None:
    counts = []
    for count in (1, 2, 20):  # the first reads what is remembered
        elsewhere(fake, count)
        with CaptureQueriesContext(connection) as queries:
            assert found().new == count
        counts.append(len(queries))
    assert counts[1] == counts[2]
    assert list(Job.objects.order_by("number").values_list("number", flat=True)) == list(range(1, 24))


def test_one_that_a_webhook_stores_meanwhile_keeps_no_other_away(
    fake: FakeReplicate, make_job: MakeJob, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = elsewhere(fake, 3)

    def being_submitted(name: str) -> Any:
        make_job(provider="replicate", external_id=made[1].id, status=JobStatus.QUEUED)
        return Job.objects.none()

    monkeypatch.setattr(discovery, "_being_submitted", being_submitted)
    assert found() == DiscoveryResult("Replicate", new=2)
    assert set(Job.objects.values_list("external_id", flat=True)) == {one.id for one in made}
    assert JobEvent.objects.count() == 2


def test_more_than_a_page_is_read_when_asked_for(fake: FakeReplicate) -> None:
    elsewhere(fake, 130)
    assert found().new == 100
    assert found(limit=130).new == 30


def test_the_endpoint_answers_as_documented(fake: FakeReplicate, alice: User, client_of: ClientOf) -> None:
    elsewhere(fake, 2)
    answers = [client_of(alice).post("/api/cloud/jobs/sync").json() for _ in range(2)]
    elsewhere(fake)
    answers.append(client_of(alice).post("/api/cloud/jobs/sync?provider=replicate&limit=5").json())
    assert answers == [
        {"synced": 2, "updated": 0, "message": "Discovered 2 new jobs from Replicate"},
        {"synced": 0, "updated": 0, "message": "Discovered 0 new jobs from Replicate"},
        {"synced": 1, "updated": 0, "message": "Discovered 1 new job from Replicate"},
    ]


class TestWhose:
    """The organization of jobs that were made elsewhere."""

    SENTENCE = "Only superusers see 2 jobs created at Replicate directly: no organization is set for them."

    def health(self, client: APIClient) -> tuple[str, str]:
        parts = {part["name"]: part for part in client.get("/api/cloud/health").json()["components"]}
        return parts["discovered jobs"]["status"], parts["discovered jobs"]["message"]

    def test_those_of_a_site_with_one_organization_are_its_own(
        self, fake: FakeReplicate, alice: User, acme: Organization, client_of: ClientOf
    ) -> None:
        elsewhere(fake, 2)
        answer = client_of(alice).post("/api/cloud/jobs/sync").json()
        assert "warnings" not in answer
        assert set(Job.objects.values_list("organization", flat=True)) == {acme.pk}
        assert client_of(alice).get("/api/cloud/jobs").json()["total"] == 2
        assert self.health(client_of(alice)) == ("healthy", "All belong to an organization.")

    def test_of_several_none_gets_them_and_everybody_is_told(
        self, fake: FakeReplicate, alice: User, charlie: User, client_of: ClientOf
    ) -> None:
        elsewhere(fake, 2)
        (warning,) = client_of(alice).post("/api/cloud/jobs/sync").json()["warnings"]
        assert warning.startswith(self.SENTENCE)
        for place in ("Provider configs, replicate, Discovery organization", "PUT /api/cloud/providers/replicate"):
            assert place in warning
        assert self.health(client_of(alice)) == ("degraded", warning)
        assert client_of(alice).get("/api/cloud/jobs").json()["total"] == 0
        assert "warnings" not in client_of(alice).post("/api/cloud/jobs/sync").json(), "nothing new was found"

    def test_once_one_is_named_it_gets_them_all(
        self,
        fake: FakeReplicate,
        alice: User,
        charlie: User,
        root: User,
        client_of: ClientOf,
        monkeypatch: pytest.MonkeyPatch,
    ) -> None:
        elsewhere(fake, 5)
        found()
        sizes, assign = list[int](), ledger.assign

        def assign_counted(ids: list[str], organization: Organization) -> None:
            sizes.append(len(ids))
            assign(ids, organization)

        monkeypatch.setattr(ledger, "assign", assign_counted)
        monkeypatch.setattr(discovery, "JOBS_PER_TRANSACTION", 2)
        named = client_of(root).put("/api/cloud/providers/replicate", {"discovery_organization": "acme"})
        assert named.status_code == 200
        assert self.health(client_of(alice))[0] == "healthy"
        assert found() == DiscoveryResult("Replicate")
        assert sizes == [2, 2, 1]
        assert list(Job.objects.order_by("number").values_list("number", flat=True)) == [1, 2, 3, 4, 5]
        assert client_of(alice).get("/api/cloud/jobs").json()["total"] == 5
        assert client_of(charlie).get("/api/cloud/jobs").json()["total"] == 0

    def test_a_job_of_an_organization_stays_there(
        self, fake: FakeReplicate, at_replicate: MakeJob, charlie: User
    ) -> None:
        other = Organization.objects.get(name="other")
        job = at_replicate(organization=other, metadata={"discovered": True})
        found()
        Organization.objects.exclude(pk=other.pk).update(max_running=3)
        job.refresh_from_db()
        assert job.organization == other


@pytest.mark.slow
@pytest.mark.parametrize("trouble", ["unauthenticated", "no token", "gone"])
def test_a_provider_that_fails_is_told_of(
    fake: FakeReplicate, alice: User, client_of: ClientOf, trouble: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if trouble == "no token":
        monkeypatch.delenv("REPLICATE_API_TOKEN")
    elif trouble == "gone":
        fake.stop()
    else:
        fake.faults.add(trouble)
    answer = client_of(alice).post("/api/cloud/jobs/sync")
    assert (answer.status_code, answer.json()["code"]) == (502, "provider_unavailable")
    with pytest.raises(ProviderError):
        found()


def test_nobody_discovers_anonymously(client_of: ClientOf, db: None) -> None:
    assert client_of(None).post("/api/cloud/jobs/sync").status_code == 401


def command(*arguments: str) -> str:
    out = StringIO()
    call_command("sync_jobs", *arguments, stdout=out)
    return out.getvalue()


def test_the_command_says_it_in_one_line(fake: FakeReplicate) -> None:
    elsewhere(fake)
    assert command() == "Discovered 1 new job from Replicate\n"
    assert json.loads(command("--json")) == {
        "synced": 0,
        "updated": 0,
        "message": "Discovered 0 new jobs from Replicate",
    }


def test_the_command_refreshes_active_jobs(fake: FakeReplicate, at_replicate: MakeJob) -> None:
    job = at_replicate()
    fake.update(job.external_id or "", "processing")
    assert command("--active") == "Synced 1 active jobs\n"
    assert json.loads(command("--active", "--json", "--provider", "replicate")) == {
        "refreshed": 1,
        "failed": 0,
        "moved": 0,
    }


@pytest.mark.parametrize("arguments", [[], ["--active"]])
def test_the_command_fails_with_a_reason(fake: FakeReplicate, at_replicate: MakeJob, arguments: list[str]) -> None:
    at_replicate()
    fake.faults.add("unauthenticated")
    with pytest.raises(CommandError, match=r"token|replicate"):
        command(*arguments)


def test_the_command_fails_when_the_provider_does_on_the_way(
    fake: FakeReplicate, at_replicate: MakeJob, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sync_jobs, "STEP", 1)
    jobs = [at_replicate(), at_replicate()]
    fake.faults.add("unauthenticated", path=jobs[1].external_id or "")
    with pytest.raises(CommandError, match=r"1 of 2 .* Not reachable: replicate"):
        command("--active")


def test_twenty_viewers_cause_one_question(
    fake: FakeReplicate, at_replicate: MakeJob, alice: User, client_of: ClientOf
) -> None:
    job = at_replicate(status=JobStatus.RUNNING)
    fake.update(job.external_id or "", "processing", logs="step 5/10 loss: 0.5\n")
    viewer = client_of(alice)
    seen = [viewer.get(f"/api/cloud/jobs/{job.pk}/inline-progress").json() for _ in range(20)]
    assert {answer["progress"] for answer in seen} == {50.0}
    assert viewer.get(f"/api/cloud/jobs/{job.pk}/logs").json()["logs"] == "step 5/10 loss: 0.5\n"
    assert len(fake.requests) == 1


def test_a_superuser_sets_a_provider(root: User, client_of: ClientOf, acme: Organization) -> None:
    body = {
        "webhook_url": "https://ct.example",
        "webhook_networks": ["10.0.0.0/8"],
        "cost_per_second": {"h100": 0.002},
        "discovery_organization": "acme",
    }
    answer = client_of(root).put("/api/cloud/providers/replicate", body)
    assert answer.status_code == 200, answer.json()
    assert {name: answer.json()[name] for name in body} == body
    assert answer.json()["prices_as_of"] == timezone.now().date().isoformat()
    assert client_of(root).put("/api/cloud/providers/replicate", {"enabled": False}).json()["webhook_url"]


@pytest.mark.parametrize(
    "body",
    [
        {"webhook_url": "nowhere"},
        {"webhook_networks": ["everywhere"]},
        {"default_hardware": "abacus"},
        {"cost_per_second": {"abacus": 1}},
        {"cost_per_second": {"h100": -1}},
        {"discovery_organization": "nobody"},
        {"webhok_url": ""},
    ],
)
def test_a_setting_that_can_not_be_is_refused(root: User, client_of: ClientOf, body: dict[str, Any]) -> None:
    assert client_of(root).put("/api/cloud/providers/replicate", body).status_code == 400


def test_nobody_else_sets_a_provider(bob: User, charlie: User, client_of: ClientOf) -> None:
    for user in (bob, charlie):
        assert client_of(user).put("/api/cloud/providers/replicate", {"enabled": False}).status_code == 403


def test_who_may_submit_nowhere_does_not_look(client_of: ClientOf) -> None:
    assert client_of(make_user("nora")).post("/api/cloud/jobs/sync").status_code == 403
