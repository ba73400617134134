"""What happens once all of a budget is spent: its jobs are warned, or cancelled."""

from __future__ import annotations

from django.db.models import Exists, OuterRef, Q

from cloudtrain_site.database.unit_of_work import unit_of_work
from cloudtrain_site.events.publish import Event, publish
from cloudtrain_site.notices import outbox
from cloudtrain_site.states import Actor, Source
from jobs import lifecycle
from jobs.fuses.watch import WARNING
from jobs.models import Job, JobEvent, JobQuerySet
from queueing.budgets import sentences
from queueing.budgets.held_back import entries_of
from queueing.budgets.sums import BudgetState
from queueing.models import Action, Budget
from queueing.statuses import TAKES_SLOT

BUDGETS = Actor(name="budgets")


def act(state: BudgetState) -> dict[str, int]:
    """Do what the used-up budget says. Returns how many jobs were warned, and how many were asked to stop.

    Any number of processes may do it at once, and again: each job is warned once a period, and cancelled once.
    """
    action = Action(state.budget.action)
    return {
        "warned": _warn(state) if action == Action.FINISH else 0,
        "cancelled": _cancel(state) if action == Action.CANCEL else 0,
    }


def running_jobs(budget: Budget) -> JobQuerySet:
    """Return the jobs that take a slot, cost something, and were not asked to stop."""
    entries = entries_of(budget).filter(status__in=TAKES_SLOT)
    costly = Q(account__spent__gt=0) | Q(account__held__gt=0) | Q(account__is_unpriced=True)
    return Job.objects.active().filter(costly, pk__in=entries.values("job_id"), cancel_requested_at=None)


def _cancel(state: BudgetState) -> int:
    reason = sentences.used_up(state)
    jobs = running_jobs(state.budget)
    return sum(lifecycle.request_cancel(job, actor=BUDGETS, source=Source.LOOP, reason=reason) for job in jobs)


def _warn(state: BudgetState) -> int:
    message = f"{sentences.used_up(state)}. This job can finish, but no more jobs start."
    unwarned = running_jobs(state.budget).filter(~_has_note(message))
    return sum(_warn_of(state, job, message) for job in unwarned.defer("config", "dataloader_config"))


def _has_note(message: str) -> Exists:
    """Return the condition that a job's history has the note."""
    return Exists(JobEvent.objects.filter(job=OuterRef("pk"), reason=message))


def _warn_of(state: BudgetState, job: Job, message: str) -> bool:
    """Warn of one job. False: it has ended, or another process has warned of it."""
    with unit_of_work():
        # Whoever waits for this lock finds the note, in a query of its own.
        if not Job.objects.active().select_for_update(no_key=True).filter(pk=job.pk).exists():
            return False
        if Job.objects.filter(_has_note(message), pk=job.pk).exists():
            return False
        job.record_note(BUDGETS, Source.LOOP, message)
        data = {"job_id": job.pk, "cost_usd": float(job.cost_usd), "budget_id": state.budget.pk, "message": message}
        publish(Event(WARNING, job.channel, data))
        outbox.store(
            WARNING,
            key=f"{WARNING}:{job.pk}:budget:{state.budget.pk}:{state.window.start}",
            subject=f"{job.config_name}: {message}",
            audience=outbox.Audience(users=[job.submitted_by_id] if job.submitted_by_id else []),
            link=f"/jobs/{job.pk}",
            job_id=job.pk,
            data=data,
        )
    return True
