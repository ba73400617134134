"""A page of a list of jobs, and their number, however many there are and whatever is asked for."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from jobs.finding.orders import (
    COST,
    DURATION,
    NEWEST,
    OLDEST,
    first_ids,
    first_ids_of_each,
    of_organizations,
    those_after,
)
from jobs.finding.search import Criterion
from jobs.identifiers import EVER, Span
from jobs.models import Job, JobQuerySet
from jobs.permissions import AnyUser, Team, is_superuser

#: If no more jobs than this match by their own columns, they are read and sorted here: to walk an order until a page of
#: them is full could read the whole list.
FEW = 500
#: The same of those that have not ended, of which indexes of their own have few: by cost and duration all others come
#: first, and would be read.
MOST_OPEN = 10_000
#: For more organizations one walk through the jobs of all is quicker than one through each one's.
MOST_LISTS = 3000
#: More are not counted: a list may have a million.
MOST_COUNTED = 10_000


Shape = Callable[[JobQuerySet], JobQuerySet]
#: Who looks at a list, and the organizations that are theirs.
Reader = tuple[AnyUser, Sequence[Team]]


@dataclass(frozen=True, slots=True)
class Found:
    """The jobs that match, of any organization, and the organizations whose jobs the reader sees.

    None among these stands for the jobs of no organization.
    """

    #: The jobs that match by their own columns.
    jobs: JobQuerySet
    criteria: Sequence[Criterion]
    organizations: Sequence[int | None]
    sees_all: bool
    #: Whether a filter on their own columns left some out of `jobs`.
    is_narrowed: bool
    #: They were made within.
    span: Span
    #: Whose jobs alone match; empty: anybody's.
    people: Sequence[int] = ()
    #: Whether those alone match that have not ended.
    are_open: bool = False

    @property
    def seen(self) -> JobQuerySet:
        """Return those that are seen, in no order."""
        return self._seen_of(self.jobs.filter(self.span.of("pk"), *(criterion.walked for criterion in self.criteria)))

    @property
    def counted(self) -> JobQuerySet:
        """Return the same, of which all are read."""
        return self._seen_of(self.jobs.filter(self.span.of("pk"), *(criterion.counted for criterion in self.criteria)))

    def _seen_of(self, jobs: JobQuerySet) -> JobQuerySet:
        jobs = jobs.order_by()
        return jobs if self.sees_all else jobs.filter(of_organizations(self.organizations))

    def page(self, shape: Shape, sort: str, cursor: str, count: int, offset: int = 0) -> list[Job]:
        """Return `count` jobs after `cursor` in the order called `sort`, without the first `offset`.

        `shape` says what is read of each.
        """
        is_plain = self._is_one_index and not self.is_narrowed and not self.criteria
        # The ids of what is left out would all be read here, of however many.
        is_far_down = offset > MOST_COUNTED
        if sort in (NEWEST, OLDEST) and (is_plain or is_far_down):
            jobs = those_after(self.seen, sort, cursor).order_by("-id" if sort == NEWEST else "id")
            return list(shape(jobs)[offset : offset + count])
        ids = self._first_ids(sort, cursor, offset + count)[offset:]
        by_id = shape(Job.objects.all()).in_bulk(ids)
        return [by_id[job_id] for job_id in ids if job_id in by_id]

    @property
    def _is_one_index(self) -> bool:
        """Whether one index has them all by age: an organization's, or that of the ids."""
        return self.sees_all or len(self.organizations) == 1

    def _first_ids(self, sort: str, cursor: str, count: int) -> list[str]:
        """Few that match are found by what they match, and sorted; for many the order is walked."""
        few = self._open() if self.are_open and sort in (COST, DURATION) else self._few()
        if few is not None:
            return first_ids(few, sort, cursor, count, are_few=True)
        if len(self.organizations) > MOST_LISTS or (self.sees_all and sort in (NEWEST, OLDEST)):
            return first_ids(self.seen, sort, cursor, count)
        jobs = self.jobs.filter(*(criterion.walked for criterion in self.criteria))
        people = self.people or [pk for criterion in self.criteria for pk in criterion.people]
        return first_ids_of_each(jobs, self.organizations, sort, cursor, count, self.span, people)

    def _open(self) -> JobQuerySet | None:
        """Return all of those that have not ended; None: they may be many."""
        jobs = self.seen.filter(completed_at=None)
        return jobs if jobs.values("pk")[: MOST_OPEN + 1].count() <= MOST_OPEN else None

    def _few(self) -> JobQuerySet | None:
        """Return all of them; None: they may be many."""
        if any(criterion.is_few for criterion in self.criteria):
            return self.seen
        if not self.is_narrowed:
            return None
        ids = list(self._seen_of(self.jobs.filter(self.span.of("pk"))).values_list("pk", flat=True)[: FEW + 1])
        if len(ids) > FEW:
            return None
        return Job.objects.filter(*(criterion.walked for criterion in self.criteria), pk__in=ids)

    def count(self) -> int:
        """Return how many there are; of more than MOST_COUNTED, one more than that."""
        return self.counted.values("pk")[: MOST_COUNTED + 1].count()


def found_for(
    reader: Reader,
    jobs: JobQuerySet,
    criteria: Sequence[Criterion],
    organization: str,
    is_narrowed: bool,
    span: Span = EVER,
    **more: Any,
) -> Found:
    """Return what the reader sees of `jobs` within `span`; with the name of an `organization`, of that one alone.

    `more` are further fields of `Found`.
    """
    sees_all = not organization and is_superuser(reader[0])
    return Found(jobs, criteria, organizations_seen(reader, organization), sees_all, is_narrowed, span, **more)


def organizations_seen(reader: Reader, organization: str) -> Sequence[int | None]:
    """Return the organizations whose jobs the reader sees, or of these the one with this name."""
    user, teams = reader
    if organization:
        return [team.id for team in teams if team.name == organization]
    return [*(team.id for team in teams), *([None] if is_superuser(user) else ())]
