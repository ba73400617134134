"""What was approved is what runs."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from asgiref.sync import async_to_sync
from django.contrib.auth.models import User
from django.utils import timezone

from approvals import decisions
from approvals.approved_terms import differences, digest_of_terms, still_covers, stored_terms
from approvals.intake import Outcome, SubmissionRequest, submit
from approvals.models import ApprovalRequest, ApprovalRule
from approvals.submissions import repeat_submission
from cloudtrain_site.states import Actor, Source
from jobs import lifecycle
from jobs.models import DatasetUpload, Job, JobEvent, ProviderConfig
from jobs.statuses import JobStatus
from queueing import claims, dispatch, staging
from queueing.models import QueueEntry
from tests.providers import ScriptedProvider

pytestmark = [pytest.mark.slow, pytest.mark.django_db]
MakeRequest = Callable[..., SubmissionRequest]


@pytest.fixture
def approved(held: Outcome, request_: ApprovalRequest, bob: User) -> Job:
    """A job of alice's that bob has approved."""
    decisions.approve(request_, user=bob, source=Source.ADMIN)
    return held.job


def go() -> bool:
    """Claim what may go, and dispatch it."""
    (entry,) = claims.claim_next()
    return dispatch.dispatch(entry)


def test_what_was_approved_goes(approved: Job, provider: ScriptedProvider) -> None:
    assert go()
    assert ApprovalRequest.objects.get().status == "approved"


CHANGES: list[tuple[dict[str, Any], str]] = [
    ({"config": {"max_train_steps": 5000, "learning_rate": 1e-4}}, "config.max_train_steps: 10 → 5000"),
    ({"config": {"max_train_steps": 10}}, "config.learning_rate: 0.0001 → nothing"),
    ({"dataloader_config": [{"id": "other"}]}, "dataloader_config.0.id: nothing → other"),
    ({"provider": "replicate"}, "Provider: Scripted → Scripted"),
    ({"hardware_profile": "gpu-h100"}, "Hardware: CPU → gpu-h100"),
    ({"estimated_cost_usd": Decimal(900)}, "Estimated cost: nothing → $900.00"),
]


@pytest.mark.parametrize(("fields", "text"), CHANGES)
def test_a_job_that_was_changed_behind_its_approval_does_not_run(
    approved: Job, provider: ScriptedProvider, fields: dict[str, Any], text: str
) -> None:
    Job.objects.update(**fields)
    assert not go()
    assert provider.specs == []
    void, renewed = ApprovalRequest.objects.order_by("id")
    assert (void.status, renewed.status) == ("cancelled", "pending")
    assert text in renewed.reason
    assert renewed.reason.startswith("Changed after its approval by bob: ")
    assert (QueueEntry.objects.get().status, Job.objects.get().status) == ("blocked", "pending")
    assert JobEvent.objects.filter(subject="approval", old="approved", new="cancelled").count() == 1


@pytest.fixture
def datasets(alice: User, approved: Job, provider: ScriptedProvider) -> list[DatasetUpload]:
    """Two of alice's; the job has the first, and was approved with it."""
    columns: dict[str, Any] = {
        "organization_id": approved.organization_id,
        "uploaded_by": alice,
        "kind": "zip",
        "size": 9,
    }
    columns |= {"sha256": "0" * 64, "files": 1, "unpacked_size": 9, "stored_on": "here"}
    made = [DatasetUpload.objects.create(name=name, **columns) for name in ("toys", "tools")]
    Job.objects.update(dataset=made[0])
    request = ApprovalRequest.objects.get()
    terms = stored_terms(approved)
    ApprovalRequest.objects.filter(pk=request.pk).update(terms=terms, config_digest=digest_of_terms(terms))
    return made


def test_a_job_goes_with_the_dataset_it_was_approved_with(datasets: list[DatasetUpload]) -> None:
    assert not go()  # it is brought to the provider first
    assert (ApprovalRequest.objects.get().status, Job.objects.get().status) == ("approved", "uploading")


def test_another_dataset_voids_the_approval(datasets: list[DatasetUpload]) -> None:
    Job.objects.update(dataset=datasets[1])
    assert not go()
    void, renewed = ApprovalRequest.objects.order_by("id")
    assert (void.status, renewed.status) == ("cancelled", "pending")
    assert f"Uploaded dataset: {datasets[0].pk} → {datasets[1].pk}" in renewed.reason


def test_a_dataset_changed_on_its_way_voids_it_too(datasets: list[DatasetUpload], provider: ScriptedProvider) -> None:
    go()
    (entry,) = staging.waiting()
    assert staging.claim_staging(entry)
    Job.objects.update(dataset=datasets[1])
    assert not async_to_sync(dispatch.submit)(entry, dispatch.Staged(datasets[0].pk, "https://there/toys"))
    assert provider.specs == []
    assert ApprovalRequest.objects.filter(status="pending").count() == 1
    assert QueueEntry.objects.get().status == "blocked"


def test_a_changed_job_runs_when_it_is_approved_as_it_is_now(
    approved: Job, provider: ScriptedProvider, bob: User
) -> None:
    Job.objects.update(hardware_profile="gpu-h100")
    go()
    again = ApprovalRequest.objects.select_related("job").latest("id")
    assert decisions.approve(again, user=bob, source=Source.API)
    assert go()
    assert len(provider.specs) == 1


@pytest.mark.parametrize("status", ["pending", "rejected"])
def test_an_entry_that_was_let_go_without_an_approval_is_held_again(
    held: Outcome, provider: ScriptedProvider, status: str
) -> None:
    ApprovalRequest.objects.update(status=status, reviewed_at=None if status == "pending" else timezone.now())
    QueueEntry.objects.update(status="pending")
    assert not go()
    assert provider.specs == []
    assert QueueEntry.objects.get().status == "blocked"
    assert ApprovalRequest.objects.filter(status="pending").count() == 1


def renewed_rules() -> list[tuple[str, int]]:
    """The rules of the request that waits, and how many approvals each needs."""
    requirements = ApprovalRequest.objects.get(status="pending").requirements.all()
    assert [item.position for item in requirements] == list(range(len(requirements)))
    assert {item.approvals_given for item in requirements} == {0}
    return [(item.rule_name, item.approvals_needed) for item in requirements]


class TestTheRulesOfNow:
    """A job that is held again is held by what the rules say now as well."""

    @pytest.fixture(autouse=True)
    def _change_the_job(self, approved: Job, provider: ScriptedProvider) -> None:
        Job.objects.update(hardware_profile="gpu-h100")

    def test_as_they_were(self) -> None:
        assert not go()
        assert renewed_rules() == [("first_job", 1)]

    def test_one_that_was_added_since(self) -> None:
        ApprovalRule.objects.create(name="gpus", hardware="gpu-*", approvals_needed=2, priority=1)
        ApprovalRule.objects.create(name="cpus", hardware="cpu", priority=2)
        assert not go()
        assert renewed_rules() == [("gpus", 2), ("first_job", 1)]

    def test_one_of_another_organization_is_none(self, charlie: User) -> None:
        ApprovalRule.objects.create(
            name="theirs", organization=charlie.memberships.get().organization, provider="local"
        )
        assert not go()
        assert renewed_rules() == [("first_job", 1)]

    def test_one_that_was_changed_since_says_what_it_says_now(self) -> None:
        ApprovalRule.objects.update(approvals_needed=3)
        assert not go()
        assert renewed_rules() == [("first_job", 3)]

    @pytest.mark.parametrize("change", ["disabled", "deleted", "met no more"])
    def test_one_that_holds_it_no_more_is_still_asked_about(self, change: str) -> None:
        ApprovalRule.objects.create(name="gpus", hardware="gpu-*")
        if change == "disabled":
            ApprovalRule.objects.filter(name="first_job").update(enabled=False)
        elif change == "deleted":
            ApprovalRule.objects.filter(name="first_job").delete()
        else:
            ApprovalRule.objects.filter(name="first_job").update(first_job=False, provider="replicate")
        assert not go()
        assert renewed_rules() == [("gpus", 1), ("first_job", 1)]

    def test_a_request_that_waits_keeps_what_it_said(self) -> None:
        ApprovalRequest.objects.update(status="pending", reviewed_at=None)
        ApprovalRule.objects.create(name="gpus", hardware="gpu-*")
        assert not go()
        assert [item.rule_name for item in ApprovalRequest.objects.get().requirements.all()] == ["first_job"]

    @pytest.mark.parametrize(
        ("steps", "stored", "holds"), [(50, 1, True), (5, 50, True), (5, 1, False), ("?", 1, True)]
    )
    def test_its_cost_is_that_of_its_config_or_the_stored_one(self, steps: Any, stored: int, holds: bool) -> None:
        prices = {"gpu-h100": 1}
        ProviderConfig.objects.update_or_create(name="local", defaults={"cost_per_second": prices})
        ApprovalRule.objects.create(name="dear", cost_exceeds=20)
        Job.objects.update(config={"max_train_steps": steps}, estimated_cost_usd=stored)
        assert not go()
        assert ("dear" in dict(renewed_rules())) is holds

    def test_neither_the_job_itself_nor_old_ones_count_as_further_jobs(self) -> None:
        ApprovalRule.objects.create(name="many", jobs_in_day_exceed=1)
        Job.objects.update(submission_started_at=timezone.now())
        assert not go()
        assert renewed_rules() == [("first_job", 1)]


def test_a_claim_that_was_lost_meanwhile_voids_nothing(approved: Job, provider: ScriptedProvider) -> None:
    Job.objects.update(hardware_profile="gpu-h100")
    (entry,) = claims.claim_next()
    QueueEntry.objects.update(claim_token="another")
    assert not dispatch.dispatch(entry)
    assert ApprovalRequest.objects.get().status == "approved"


def test_an_approval_is_not_taken_back_like_a_question(approved: Job, alice: User) -> None:
    request = ApprovalRequest.objects.select_related("job").get()
    assert not decisions.cancel(request, actor=Actor.of(alice), source=Source.API)
    assert ApprovalRequest.objects.get().status == "approved"


@pytest.fixture
def failed(approved: Job) -> Job:
    """The approved job, when it has failed before its provider took it."""
    approved.refresh_from_db()
    lifecycle.finish(approved, JobStatus.FAILED, actor=claims.DISPATCHER, source=Source.DISPATCHER, reason="no room")
    claims.end(approved)
    return approved


def retry(user: User, job: Job, **changed: Any) -> Outcome:
    for name, value in changed.items():
        setattr(job, name, value)
    return submit(repeat_submission(user, job, source=Source.API, idempotency_key=""))


def test_an_identical_retry_keeps_its_approval_and_goes(failed: Job, alice: User, provider: ScriptedProvider) -> None:
    outcome = retry(alice, failed)
    kept = outcome.approval
    assert kept is not None
    assert (kept.status, kept.reviewed_by, kept.kept_from_id is not None) == ("approved", "bob", True)
    assert "identical retry of" in JobEvent.objects.filter(job=outcome.job, subject="approval").get().reason
    assert go()


def test_a_retry_of_a_retry_still_keeps_it_but_not_longer(failed: Job, alice: User) -> None:
    second = retry(alice, failed).job
    lifecycle.finish(second, JobStatus.FAILED, actor=claims.DISPATCHER, source=Source.DISPATCHER, reason="no room")
    claims.end(second)
    assert retry(alice, second).approval.status == "approved"  # type: ignore[union-attr]
    ApprovalRequest.objects.filter(reviewed_at__isnull=False).update(reviewed_at=timezone.now() - timedelta(hours=25))
    assert retry(alice, second).approval.status == "pending"  # type: ignore[union-attr]


@pytest.mark.parametrize(
    "changed", [{"config": {"max_train_steps": 11}}, {"dataloader_config": [{"id": "b"}]}], ids=["config", "data"]
)
def test_a_retry_that_changes_anything_is_asked_about(failed: Job, alice: User, changed: dict[str, Any]) -> None:
    assert retry(alice, failed, **changed).approval.status == "pending"  # type: ignore[union-attr]


def test_somebody_elses_retry_is_asked_about(failed: Job, bob: User) -> None:
    assert retry(bob, failed).approval.status == "pending"  # type: ignore[union-attr]


def test_another_rule_asks_for_itself(failed: Job, alice: User) -> None:
    ApprovalRule.objects.create(name="local", provider="local", priority=1)
    assert retry(alice, failed).approval.status == "pending"  # type: ignore[union-attr]


@pytest.mark.parametrize(
    ("old", "new", "covered"),
    [("5.0000", "5.0000", True), ("5.0000", "4.0000", True), ("5.0000", "5.0001", False), (None, "1.0000", False),
     ("1.0000", None, False), (None, None, True)],
)  # fmt: skip
def test_a_retry_may_be_estimated_to_cost_less_not_more(old: str | None, new: str | None, covered: bool) -> None:
    assert still_covers({"estimated_cost_usd": old}, {"estimated_cost_usd": new}) is covered


def test_a_secret_that_changed_is_not_told() -> None:
    old, new = {"config": {"api_key": "r8_aaaaaaaaaaaa"}}, {"config": {"api_key": "r8_bbbbbbbbbbbb"}}
    assert differences(old, new) == "a secret in it has changed"


def test_what_is_not_in_the_config_is_called_by_its_label() -> None:
    old, new = {"hardware_profile": "cpu", "dataset": None}, {"hardware_profile": "gpu-t4", "dataset": "01k"}
    assert differences(old, new) == "Hardware: CPU → gpu-t4; Uploaded dataset: nothing → 01k"


def test_many_differences_are_counted() -> None:
    text = differences({"config": {}}, {"config": {f"k{n}": "x" * 500 for n in range(100)}})
    assert text.endswith("more")
    assert len(text) < 2000
