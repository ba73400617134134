"""The numbers of an organization's jobs."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from importlib import import_module
from threading import Barrier, Thread

import pytest
from django.contrib.auth.models import User
from django.db import OperationalError, connection, connections
from rest_framework.exceptions import PermissionDenied

from approvals import intake
from approvals.intake import SubmissionRequest
from cloudtrain_site.database.unit_of_work import unit_of_work
from cloudtrain_site.limits.errors import LimitReachedError
from cloudtrain_site.states import Actor, Source
from jobs import lifecycle
from jobs.configs.submission import Submission
from jobs.finding.search import matching
from jobs.models import Job, Membership, Organization, RunCounter
from jobs.organizations import discovered
from jobs.runs.numbers import number_ahead
from jobs.statuses import JobStatus
from tests import factories
from tests.limits import SetLimits
from tests.wait import PATIENCE_SECONDS

pytestmark = pytest.mark.django_db
MakeJob = Callable[..., Job]


SUBMISSION = Submission(provider="local", config={"max_train_steps": 10}, config_name="flux", hardware_profile="cpu")


def submit(user: User, name: str = "flux") -> Job:
    submission = replace(SUBMISSION, config_name=name)
    organization = Membership.objects.get(user=user).organization
    return intake.submit(SubmissionRequest(user, organization, submission, Source.API)).job


def stored_number(job: Job) -> int | None:
    return Job.objects.values_list("number", flat=True).get(pk=job.pk)


def test_each_organization_counts_its_own_jobs(alice: User, bob: User, charlie: User) -> None:
    Membership.objects.filter(user=charlie).update(role="lead")
    jobs = [submit(alice), submit(charlie), submit(bob)]
    assert [job.number for job in jobs] == [1, 1, 2]
    assert [stored_number(job) for job in jobs] == [1, 1, 2]


def test_the_number_of_a_deleted_job_is_not_given_again(alice: User) -> None:
    job = submit(alice)
    lifecycle.request_cancel(job, actor=Actor.of(alice), source=Source.API)
    assert lifecycle.delete(Job.objects.get(pk=job.pk), actor=Actor.of(alice), source=Source.API)
    assert submit(alice).number == 2
    Job.objects.filter(pk=job.pk).delete()
    assert submit(alice).number == 3


def test_a_submission_that_fails_takes_no_number(alice: User) -> None:
    with pytest.raises(ZeroDivisionError), unit_of_work():
        submit(alice)
        raise ZeroDivisionError
    assert submit(alice).number == 1


def test_a_discovered_job_is_numbered_when_an_organization_takes_it(alice: User, root: User) -> None:
    acme = Membership.objects.get(user=alice).organization
    submit(alice)
    job = factories.make_job(
        organization=None, submitted_by=None, metadata={"discovered": True}, status=JobStatus.COMPLETED
    )
    assert job.number is None
    discovered.take_job(job, acme, by=root)
    assert stored_number(job) == 2
    discovered.give_to_member(job, alice, by=root)
    assert stored_number(job) == 2


def test_a_job_is_found_by_its_number(alice: User) -> None:
    submit(alice, "one")
    second = submit(alice, "two")
    assert list(Job.objects.filter(matching("#2").walked)) == [second]
    assert not list(Job.objects.filter(matching("#22").walked))


def test_the_migration_numbers_old_jobs_in_their_order(acme: Organization, make_job: MakeJob) -> None:
    other = Organization.objects.create(name="other")
    old = [make_job(), make_job(), factories.make_job(organization=other), factories.make_job(organization=None)]
    migration = import_module("jobs.migrations.0049_number_old_jobs")
    with connection.cursor() as cursor:
        cursor.execute(migration.NUMBER)
        cursor.execute(migration.COUNT)
    assert [stored_number(job) for job in old] == [1, 2, 1, None]
    assert dict(RunCounter.objects.values_list("organization__name", "last")) == {"acme": 2, "other": 1}


@pytest.mark.slow
@pytest.mark.django_db(transaction=True)
def test_simultaneous_submissions_get_different_numbers(alice: User, bob: User) -> None:
    begin = Barrier(2)
    failures: list[Exception] = []

    def submit_several(user: User) -> None:
        try:
            begin.wait(10)
            for _ in range(5):
                submit(user)
        except Exception as failure:
            failures.append(failure)
        finally:
            connections.close_all()

    threads = [Thread(target=submit_several, args=(user,)) for user in (alice, bob)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert not failures
    assert set(Job.objects.values_list("number", flat=True)) == set(range(1, 11))


@pytest.mark.slow
@pytest.mark.django_db(transaction=True)
def test_an_organization_that_was_just_deleted_is_one_to_submit_no_longer_for(alice: User, acme: Organization) -> None:
    Membership.objects.all().delete()
    Organization.objects.get(pk=acme.pk).delete()
    with pytest.raises(PermissionDenied, match="no longer submit"):
        intake.submit(SubmissionRequest(alice, acme, SUBMISSION, Source.API))


@pytest.mark.slow
@pytest.mark.skipif("connection.vendor != 'postgresql'")
@pytest.mark.django_db(transaction=True)
def test_nobody_waits_for_a_colleagues_submission_that_is_being_stored(
    alice: User, bob: User, acme: Organization
) -> None:
    def submit_elsewhere() -> Job:
        try:
            return submit(bob)
        finally:
            connection.close()

    with number_ahead(acme.pk) as number, unit_of_work():
        stored = lifecycle.create(
            SUBMISSION, organization=acme, user=alice, source=Source.API, estimated_cost=None, number=number
        )
        with ThreadPoolExecutor() as others:
            other = others.submit(submit_elsewhere).result(PATIENCE_SECONDS)
    assert (stored.number, other.number) == (1, 2)
    assert set(Job.objects.values_list("number", flat=True)) == {1, 2}


@pytest.mark.slow
@pytest.mark.django_db(transaction=True)
def test_a_refused_submission_gives_its_number_back(alice: User, bob: User, set_limits: SetLimits) -> None:
    set_limits(open_jobs=1)
    submit(alice)
    for _ in range(3):
        with pytest.raises(LimitReachedError):
            submit(alice)
    assert submit(bob).number == 2


@pytest.mark.slow
@pytest.mark.skipif("connection.vendor != 'postgresql'")
@pytest.mark.django_db(transaction=True)
def test_a_number_behind_which_another_was_taken_stays_away(alice: User, bob: User, acme: Organization) -> None:
    with pytest.raises(PermissionDenied), number_ahead(acme.pk) as number:
        assert (number, submit(bob).number) == (1, 2)
        raise PermissionDenied
    with pytest.raises(OperationalError), number_ahead(acme.pk) as number:
        raise OperationalError("The connection was lost during the commit.")
    assert (number, submit(alice).number) == (3, 4)
