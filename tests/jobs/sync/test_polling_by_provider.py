"""Who is polled: where webhooks tell of nothing, whatever they do elsewhere."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from examples.fake_replicate import FakeReplicate
from jobs.models import Job, ProviderConfig
from jobs.statuses import JobStatus
from jobs.tasks import poll_jobs, polling_enabled
from tests.accounts import Accounts, declared
from tests.configuration import WriteConfig

pytestmark = pytest.mark.django_db
MakeJob = Callable[..., Job]
POLLING = "background:\n  job_status_polling:\n    enabled: {}\n"


def set_webhook(name: str, url: str = "https://train.example.org", **fields: object) -> None:
    ProviderConfig.objects.update_or_create(name=name, defaults={"webhook_url": url, **fields})


def running_at(server: FakeReplicate, name: str, make_job: MakeJob) -> Job:
    """A job that is queued here, and runs at its account."""
    (prediction,) = server.fill(1)
    server.update(prediction.id, "processing")
    return make_job(provider=name, external_id=prediction.id, status=JobStatus.QUEUED)


def statuses() -> dict[str, str]:
    return dict(Job.objects.values_list("provider", "status"))


def test_with_one_account_an_address_for_webhooks_is_enough(write_config: WriteConfig, db: None) -> None:
    write_config("background:\n")
    assert polling_enabled()
    set_webhook("replicate")
    assert not polling_enabled()
    set_webhook("replicate", enabled=False)
    assert polling_enabled()


def test_with_two_each_needs_one(accounts: Accounts) -> None:
    set_webhook("replicate")
    assert polling_enabled()
    set_webhook("studio")
    assert not polling_enabled()


def test_an_address_at_what_sends_no_webhooks_is_none(accounts: Accounts) -> None:
    for name in ("replicate", "local", "gone"):
        set_webhook(name)
    assert polling_enabled()


def test_only_those_that_no_webhook_tells_of_are_asked(accounts: Accounts, make_job: MakeJob) -> None:
    for name, server in accounts.items():
        running_at(server, name, make_job)
    set_webhook("replicate")
    assert poll_jobs()["refreshed"] == 1
    assert statuses() == {"replicate": "queued", "studio": "running"}


@pytest.mark.parametrize(("setting", "expected"), [("true", True), ("false", False)])
def test_what_the_file_says_counts_for_all(
    accounts: Accounts, write_config: WriteConfig, make_job: MakeJob, setting: str, expected: bool
) -> None:
    for name, server in accounts.items():
        running_at(server, name, make_job)
    set_webhook("replicate")
    write_config(POLLING.format(setting) + declared(accounts["studio"]))
    assert polling_enabled() is expected
    if expected:
        assert poll_jobs()["refreshed"] == 2
        assert statuses() == {"replicate": "running", "studio": "running"}


def test_a_job_of_one_that_is_no_more_stays_and_is_followed_when_it_is_back(
    accounts: Accounts, write_config: WriteConfig, make_job: MakeJob
) -> None:
    job = running_at(accounts["studio"], "studio", make_job)
    path = write_config("background:\n")
    assert poll_jobs() == {"refreshed": 0, "failed": 1}
    job.refresh_from_db()
    assert (job.status, job.sync_error) == (JobStatus.QUEUED, "There is no provider “studio” any more.")
    write_config(declared(accounts["studio"]))
    assert path.exists()
    assert poll_jobs() == {"refreshed": 1, "failed": 0}
    job.refresh_from_db()
    assert (job.status, job.sync_error) == (JobStatus.RUNNING, "")
