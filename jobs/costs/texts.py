"""What a job has cost, and is expected to cost, as its pages say it."""

from __future__ import annotations

from cloudtrain_site.wording.values import money
from jobs.models import Job

NOTHING_SPENT = "$0.00"
#: Instead of a cost of 0.
OWN_HARDWARE = "own hardware"


def unknown_cost(job: Job) -> str:
    """Return that its cost is not known, and the part of it that is."""
    return f"Not known, at least {money(job.cost_usd)}" if job.cost_usd > 0 else "Not known"


def is_on_own_hardware(job: Job) -> bool:
    """Whether its time has the price 0: it is expected to cost nothing, or did so though it ran."""
    if job.cost_doubt is not None or job.cost_usd > 0:
        return False
    return job.estimated_cost_usd == 0 or (job.is_terminal and job.started_at is not None)


def expected_cost(job: Job) -> str:
    """Return its expected cost, as a range where the ends differ; empty when it is not known, or nothing."""
    low, high = job.estimated_cost_low_usd, job.estimated_cost_usd
    if not high:
        return ""
    return money(high) if low is None or money(low) == money(high) else f"{money(low)} to {money(high)}"


def cost_texts(job: Job) -> tuple[str, str]:
    """Return its cost, or that it is not known, and the expected cost; each empty if there is none."""
    expected = expected_cost(job)
    beside = f"about {expected} expected" if expected else ""
    if job.cost_doubt is not None:
        return unknown_cost(job), beside
    if job.cost_usd > 0:
        return money(job.cost_usd) + ("" if job.is_terminal else " so far"), beside
    if is_on_own_hardware(job):
        return NOTHING_SPENT, OWN_HARDWARE
    if job.is_terminal:
        return NOTHING_SPENT, beside
    return "", beside
