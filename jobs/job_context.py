"""The log context of work for one job."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from cloudtrain_site.correlation_ids import correlation
from cloudtrain_site.structured_logging.context import LogContext
from jobs.models import Job


@contextmanager
def job_log_context(job: Job) -> Iterator[None]:
    """Use the correlation id of the job's submission in the block, and log the job's id.

    Work for many jobs at a time (a pass, a poll) has an id of its own for what is not about one job.
    """
    with correlation(job.correlation_id), LogContext(job_id=job.pk, provider=job.provider):
        yield
