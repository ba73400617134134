"""A provider that is no more: its jobs stay, say so, and can be read and deleted."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from django.contrib.auth.models import User
from rest_framework.test import APIClient

from cloudtrain_site.states import Source
from jobs import logs, maintenance
from jobs.models import Job
from jobs.providers import UnknownProviderError, get_provider, kinds_by_name
from jobs.providers.base import Snapshot
from jobs.statuses import JobStatus
from jobs.sync import refresh

pytestmark = pytest.mark.django_db
MakeJob = Callable[..., Job]
GONE = "There is no provider “gone” any more."


@pytest.fixture
def running(make_job: MakeJob) -> Job:
    job = make_job(provider="gone", status=JobStatus.RUNNING, hardware_profile="h100")
    Job.objects.filter(pk=job.pk).update(external_id="t-1")
    job.refresh_from_db()
    return job


def test_each_provider_of_the_start_has_a_kind_of_its_own_name() -> None:
    assert kinds_by_name() == {"local": "local", "replicate": "replicate"}
    assert [get_provider(name).name for name in kinds_by_name()] == ["local", "replicate"]


def test_asking_for_one_that_is_no_more_is_an_error_that_made_nothing_and_may_end() -> None:
    with pytest.raises(UnknownProviderError, match=GONE) as caught:
        get_provider("gone")
    assert not caught.value.permanent
    assert caught.value.nothing_created


def test_its_running_job_stays_running_and_says_why_it_is_not_heard_of(running: Job, make_job: MakeJob) -> None:
    assert refresh.refresh([running], source=Source.POLL).failed == 1
    running.refresh_from_db()
    assert (running.status, running.sync_error) == (JobStatus.RUNNING, GONE)


def test_its_log_can_not_be_read_and_says_why(running: Job) -> None:
    assert logs.read_log(running).text == f"[the log can't be read now: {GONE}]\n"


def test_the_copy_of_its_log_can_still_be_read(make_job: MakeJob) -> None:
    job = make_job(provider="replicate", status=JobStatus.RUNNING)
    logs.store_log(job, Snapshot("t-2", JobStatus.RUNNING, log="step 1\n"))
    Job.objects.filter(pk=job.pk).update(provider="gone", external_id="t-2")
    job.refresh_from_db()
    assert logs.read_log(job).text == "step 1\n"


def test_a_cancel_that_nobody_could_be_asked_for_is_not_believed(running: Job) -> None:
    running.cancel_requested_at = running.created_at
    assert refresh.cancel_at_providers([running]) == []


def test_the_files_of_its_deleted_job_are_left_until_it_is_back(running: Job) -> None:
    running.status, running.deleted_at = JobStatus.FAILED, running.created_at
    assert maintenance.remove_files(running) is False


@pytest.mark.parametrize("page", ["/", "/jobs/{id}", "/queue"])
def test_the_pages_show_its_jobs(running: Job, alice: User, client: APIClient, page: str) -> None:
    client.force_login(alice)
    assert client.get(page.format(id=running.pk), follow=True).status_code == 200


def test_the_api_shows_its_job(running: Job, alice: User, client_of: Callable[[User], APIClient]) -> None:
    answer = client_of(alice).get(f"/api/cloud/jobs/{running.pk}").json()
    job = answer.get("job", answer)
    assert (job["provider"], job["status"]) == ("gone", "running")


def test_its_job_can_not_be_run_again_and_the_answer_says_why(
    make_job: MakeJob, alice: User, client_of: Callable[[User], APIClient]
) -> None:
    failed = make_job(provider="gone", status=JobStatus.FAILED)
    answer = client_of(alice).post(f"/api/cloud/jobs/{failed.pk}/retry")
    assert answer.status_code == 400
    assert GONE in answer.content.decode()
    assert Job.objects.count() == 1
