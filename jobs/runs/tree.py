"""The tree of runs that were made from one job: their numbers, their order, and a name for the next one."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from django.db.models import Q

from jobs.models import Job, JobQuerySet
from jobs.permissions import AnyUser, visible_jobs
from jobs.runs.changes import change_text
from jobs.validators import NAME_LIMIT

#: Of a larger tree the newest are shown, and those from which the run itself comes.
MAX_RUNS = 50
#: Changes of one run in one line; the run's own page has all.
MAX_NAMED = 3
#: A tree that is deeper is shown as if it were flat from there on.
MAX_DEPTH = 8
RETRIED = "Retried with nothing changed"


@dataclass(frozen=True, slots=True)
class Run:
    """One run of a tree."""

    job: Job
    #: Counted from 1, by submission.
    number: int
    depth: int
    #: The job that it was made from, by a change or a retry; None for the first one.
    made_from: str | None
    text: str


@dataclass(frozen=True, slots=True)
class Tree:
    """A tree as far as one reader may see it."""

    #: The name of its first run.
    name: str
    #: Each before the runs that were made from it.
    runs: Sequence[Run]
    #: How many there are, with those that are not among `runs`.
    total: int


def root_of(job: Job) -> str:
    return job.root_id or job.pk


def jobs_in_tree(root: str) -> JobQuerySet:
    return Job.objects.filter(Q(root=root) | Q(pk=root))


def number_of(job: Job) -> int:
    """Return the number of the run in its tree. Deleted runs keep theirs."""
    return 1 if job.root_id is None else Job.objects.filter(root=job.root_id, pk__lte=job.pk).count() + 1


def next_name(parent: Job) -> str:
    """Return a name for a run of `parent`: that of the tree's first run with the next number."""
    root = Job.objects.filter(pk=root_of(parent)).only("config_name").first()
    name = root.config_name if root else parent.config_name
    if not re.fullmatch(rf"{re.escape(name)}(-[0-9]+)?", parent.config_name):
        name = parent.config_name  # somebody gave it another one
    number = f"-{jobs_in_tree(root_of(parent)).count() + 1}"
    return name[: NAME_LIMIT - len(number)] + number


def tree_of(job: Job, reader: AnyUser) -> Tree:
    """Return the tree of `job` as far as the reader may see it, in a fixed number of queries."""
    root = root_of(job)
    ids = list(jobs_in_tree(root).order_by("pk").values_list("pk", flat=True))
    numbers = {pk: number for number, pk in enumerate(ids, start=1)}
    # A retry of an older version knows its origin and no tree.
    shown = {root, *ids[-MAX_RUNS:], job.pk, made_from(job)} & numbers.keys()
    rows = visible_jobs(reader).filter(pk__in=shown).select_related("submitted_by")
    visible = {row.pk: row for row in rows.defer("config", "dataloader_config", "sealed").order_by("pk")}
    named = visible.get(root) or Job.objects.filter(pk=root).only("config_name").first()
    return Tree(named.config_name if named else "", _ordered(visible, numbers), len(ids))


def made_from(job: Job) -> str | None:
    return job.parent_id or job.retry_of_id


def _ordered(visible: dict[str, Job], numbers: dict[str, int]) -> list[Run]:
    children: dict[str | None, list[str]] = {}
    for pk, row in visible.items():
        source = made_from(row)
        children.setdefault(source if source in visible else None, []).append(pk)
    runs: list[Run] = []
    rest = [(pk, 0) for pk in reversed(children.get(None, []))]
    while rest:
        pk, depth = rest.pop()
        row = visible[pk]
        runs.append(Run(row, numbers[pk], min(depth, MAX_DEPTH), made_from(row), summary_of(row)))
        rest.extend((child, depth + 1) for child in reversed(children.get(pk, [])))
    return runs


def summary_of(job: Job) -> str:
    """Return what differs from the run that it was made from, in one line; empty for the first one."""
    if job.retry_of_id:
        return RETRIED
    if job.changes is None:
        return ""
    items: list[dict[str, Any]] = job.changes["items"]
    total: int = job.changes["total"]
    if not total:
        return "Nothing changed"
    more = total - len(items[:MAX_NAMED])
    return ", ".join([*map(change_text, items[:MAX_NAMED]), *([f"and {more} more"] if more else [])])
