"""The limit of open jobs: with whom it counts, what it says, and that no two submissions at once pass it."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest
from django.contrib.auth.models import User
from rest_framework.test import APIClient

from approvals.intake import Outcome, SubmissionRequest, forecast, submit
from approvals.models import ApprovalRequest, ApprovalRule
from cloudtrain_site.limits.errors import LimitReachedError
from cloudtrain_site.models import LimitUse
from cloudtrain_site.states import SYSTEM, Source
from jobs import lifecycle
from jobs.models import Job
from queueing.models import QueueEntry
from tests.limits import SetLimits
from tests.races import at_once

SUBMIT = "/api/cloud/jobs/submit"
BODY = {"config": {"max_train_steps": 10}}
SENTENCE = "You have 2 open jobs, the maximum per user. Cancel some, or wait until one ends."
MakeRequest = Callable[..., SubmissionRequest]


@pytest.fixture(autouse=True)
def two_jobs(set_limits: SetLimits) -> None:
    set_limits(open_jobs=2)


@pytest.mark.django_db
class TestOverHttp:
    def test_one_job_too_many_is_a_429_that_says_what_to_do(
        self, alice: User, client_of: Callable[[User], APIClient]
    ) -> None:
        client = client_of(alice)
        answers = [client.post(SUBMIT, BODY) for _ in range(3)]
        assert [answer.status_code for answer in answers] == [201, 201, 429]
        error = answers[-1].json()
        assert (error["detail"], error["code"]) == (SENTENCE, "limit_reached")
        assert set(error) == {"detail", "code", "correlation_id"}
        assert answers[-1]["Retry-After"] == "60"
        assert (Job.objects.count(), QueueEntry.objects.count()) == (2, 2)
        assert LimitUse.objects.get().limit == "open_jobs"

    def test_held_jobs_count(
        self, alice: User, client_of: Callable[[User], APIClient], first_job_rule: ApprovalRule
    ) -> None:
        client = client_of(alice)
        answers = [client.post(SUBMIT, BODY).status_code for _ in range(3)]
        assert answers == [201, 201, 429]
        assert ApprovalRequest.objects.count() == 2

    def test_a_retry_counts_too(
        self, alice: User, client_of: Callable[[User], APIClient], make_job: Callable[..., Job]
    ) -> None:
        failed = make_job(status="failed")
        make_job()
        make_job()
        assert client_of(alice).post(f"/api/cloud/jobs/{failed.pk}/retry").status_code == 429

    def test_a_dry_run_warns_of_it(self, alice: User, client_of: Callable[[User], APIClient]) -> None:
        client = client_of(alice)
        warnings = [client.post(SUBMIT, {**BODY, "dry_run": True}).json()["warnings"]]
        for _ in range(2):
            client.post(SUBMIT, BODY)
        warnings.append(client.post(SUBMIT, {**BODY, "dry_run": True}).json()["warnings"])
        assert [SENTENCE in text for text in warnings] == [False, True]


@pytest.mark.django_db
class TestWhoIsCounted:
    def test_the_end_of_a_job_makes_room_for_another(self, submission_request: MakeRequest) -> None:
        jobs = [submit(submission_request()).job for _ in range(2)]
        with pytest.raises(LimitReachedError):
            submit(submission_request())
        lifecycle.request_cancel(jobs[0], actor=SYSTEM, source=Source.API)
        assert submit(submission_request()).job.status == "pending"

    def test_other_peoples_jobs_do_not_count(
        self, submission_request: MakeRequest, bob: User, make_job: Callable[..., Job]
    ) -> None:
        make_job(submitted_by=bob)
        make_job(submitted_by=bob)
        assert forecast(submission_request()).warnings == ()
        with pytest.raises(LimitReachedError):
            submit(submission_request(user=bob))

    def test_it_holds_for_superusers(self, submission_request: MakeRequest, alice: User) -> None:
        User.objects.filter(pk=alice.pk).update(is_superuser=True)
        alice.refresh_from_db()
        submit(submission_request())
        submit(submission_request())
        with pytest.raises(LimitReachedError):
            submit(submission_request())

    def test_a_replay_gives_its_job_at_the_limit_too(self, submission_request: MakeRequest) -> None:
        first = submit(submission_request(key="one"))
        submit(submission_request(key="two"))
        again = submit(submission_request(key="one"))
        assert (again.job.pk, again.is_replay) == (first.job.pk, True)


def attempt(request: SubmissionRequest) -> Outcome | str:
    try:
        return submit(request)
    except LimitReachedError as error:
        return str(error.detail)


@pytest.mark.django_db(transaction=True)
class TestAtOnce:
    def test_of_twenty_submissions_with_room_for_one_exactly_one_is_stored(
        self, submission_request: MakeRequest
    ) -> None:
        submit(submission_request())
        results = at_once(*[partial(attempt, submission_request()) for _ in range(20)])
        stored = [result for result in results if isinstance(result, Outcome)]
        assert len(stored) == 1
        assert results.count(SENTENCE) == 19
        assert (Job.objects.count(), QueueEntry.objects.count()) == (2, 2)

    def test_of_ten_with_one_key_and_room_for_one_all_get_its_job(self, submission_request: MakeRequest) -> None:
        submit(submission_request())
        results: list[Any] = at_once(*[partial(attempt, submission_request(key="k")) for _ in range(10)])
        assert len({outcome.job.pk for outcome in results}) == 1
        assert sorted(outcome.is_replay for outcome in results) == [False] + [True] * 9
