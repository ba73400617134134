"""The numbers of an organization's jobs, `#1` and on: what people call a job by."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from django.db import IntegrityError, connection
from rest_framework.exceptions import APIException

from cloudtrain_site.database.fast_sql import executed, update_rows
from cloudtrain_site.database.unit_of_work import at_end_of_unit
from jobs.models import Job

#: Adds to an organization's counter, which is made with its first job, and returns its new value; of an organization
#: that was deleted meanwhile nothing.
COUNT = """
INSERT INTO jobs_runcounter (organization_id, last) SELECT id, %s FROM jobs_organization WHERE id = %s
ON CONFLICT (organization_id) DO UPDATE SET last = jobs_runcounter.last + excluded.last RETURNING last
"""
#: Gives a number back, unless a later one was taken.
GIVE_BACK = "UPDATE jobs_runcounter SET last = last - 1 WHERE organization_id = %s AND last = %s"


@contextmanager
def number_ahead(organization: int) -> Iterator[int | None]:
    """Take the number of a job before the transaction that stores it; None on SQLite, which has one writer anyway.

    Within that transaction whoever submits for the organization would wait for the counter until the commit. None also
    when the organization was just deleted, which the transaction finds out. A refusal gives the number back if it is
    the last one; after any other error the job may be stored, as when a connection is lost during the commit.
    """
    if connection.vendor != "postgresql":
        yield None
        return
    counted = executed(connection, COUNT, [1, organization]).fetchone()
    number = None if counted is None else int(counted[0])
    try:
        yield number
    except (APIException, IntegrityError):
        if number is not None and not connection.in_atomic_block:
            executed(connection, GIVE_BACK, [organization, number])
        raise


def next_number(organization: int) -> int:
    """Take the number of a job that is inserted next. Until the commit whoever submits for the organization waits.

    To write it into a row that is there would put that row into each index of PostgreSQL again, which takes as long as
    the insert.
    """
    return _count(organization, 1)


def number_at_commit(job: Job) -> None:
    """Give a stored job of an organization its number, with the open unit of work. One of no organization has none.

    It is done at the unit's end: until its commit, everybody else who submits for the organization waits.
    A number is never given twice; one may be missing, of a submission that failed.
    """
    if job.organization_id is not None and job.number is None:
        at_end_of_unit(job, _number, early=True)


def _number(jobs: Iterable[Job]) -> None:
    by_organization: dict[int, list[Job]] = {}
    for job in jobs:
        if job.organization_id is not None:
            by_organization.setdefault(job.organization_id, []).append(job)
    for organization, its_jobs in sorted(by_organization.items()):  # in one order, so that no two wait for each other
        last = _count(organization, len(its_jobs))
        for number, job in enumerate(sorted(its_jobs, key=lambda one: one.pk), start=last - len(its_jobs) + 1):
            job.number = number
        update_rows(its_jobs, ["number"], among={})


def _count(organization: int, jobs: int) -> int:
    return int(executed(connection, COUNT, [jobs, organization]).fetchone()[0])
