"""The jobs that belong to a text that somebody searches for."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import reduce
from operator import or_
from typing import Any, Self

from django.contrib.auth.models import User
from django.db import connection
from django.db.models import Exists, OuterRef, Q, QuerySet

from cloudtrain_site.database.folding import folded
from jobs.finding.name_index import named
from jobs.identifiers import ID_LENGTH
from jobs.models import Job

#: Up to this many matches are found by their ids. With more, the list is walked in its order until a page is full.
MOST_IDS = 2000
#: The same of rows of another table on SQLite, which looks for them in a statement of its own at no cost.
MOST_ROWS = 4000
#: As a time in the alphabet of ULIDs; anything else is no beginning of an id.
ID_BEGINS = re.compile("[0-7][0-9a-hjkmnp-tv-z]{0,25}")
#: "#12": a job's number in its organization.
RUN_NUMBER = re.compile("#([0-9]{1,18})", re.ASCII)


@dataclass(frozen=True, slots=True)
class Criterion:
    """A condition on more than a job's own columns.

    `walked` is quick where an index is walked job by job, and `counted` where very many jobs are counted. `is_few`: the
    ids of the jobs that meet it are known. `people`: whose jobs most of them are. `has_text`: the names of
    jobs are compared.
    """

    walked: Q
    counted: Q
    is_few: bool
    people: Sequence[int] = ()
    has_text: bool = False

    @classmethod
    def of_few(cls, ids: Iterable[str]) -> Self:
        condition = Q(pk__in=list(dict.fromkeys(ids)))
        return cls(condition, condition, True)


def matching(text: str) -> Criterion:
    """Return the criterion that a job's name contains `text`, or that it belongs to it in another way."""
    key = folded(text)
    people = list(User.objects.filter(username__folded=key).values_list("pk", flat=True))
    ids, ways, people_of_most = named(key, MOST_IDS + 1), [], people
    has_text = ids is None or len(ids) > MOST_IDS
    if ids is None or has_text:
        ids, ways, people_of_most = [], [Q(name_key__contains=key)], []
    for way in _other_ways(text, people):
        found = list(Job.objects.filter(way).order_by().values_list("pk", flat=True)[: MOST_IDS + 1])
        if len(found) > MOST_IDS:
            ways.append(way)
        else:
            ids += found
    few = Criterion.of_few(ids)
    condition = reduce(or_, ways, few.walked)
    return Criterion(condition, condition, False, people_of_most, has_text) if ways else few


def those_with(
    rows: QuerySet[Any, Any], walked: QuerySet[Any, Any] | None = None, counted: Q | None = None
) -> Criterion:
    """Return the criterion that some of `rows`, of a table with jobs, is about a job.

    `walked`: among which rows to look for a job of the list, if these are found more quickly. `counted`: the same
    condition in a way by which very many are counted more quickly.
    """
    rows = rows.order_by()
    among = Q(pk__in=rows.values("job"))
    if connection.vendor == "sqlite":
        if rows.values("pk")[: MOST_ROWS + 1].count() <= MOST_ROWS:
            return Criterion(among, among, True)
    elif len(few := list(rows.values_list("job", flat=True)[: MOST_IDS + 1])) <= MOST_IDS:
        return Criterion.of_few(few)
    return Criterion(
        Q(Exists((rows if walked is None else walked).filter(job=OuterRef("pk")))), counted or among, False
    )


def about_jobs(condition: Q) -> Q:
    """Return the condition that a row's `job` meets `condition`: by the ids of few, or joined with the jobs."""
    few = list(Job.objects.filter(condition).order_by().values_list("pk", flat=True)[: MOST_IDS + 1])
    return Q(job__in=few) if len(few) <= MOST_IDS else _through("job", condition)


def _through(relation: str, condition: Q) -> Q:
    """Return the condition on a row that its `relation` meets `condition`."""
    children: Sequence[Any] = condition.children
    parts = [
        _through(relation, part) if isinstance(part, Q) else (f"{relation}__{part[0]}", part[1]) for part in children
    ]
    return Q(*parts, _connector=condition.connector, _negated=condition.negated)


def _other_ways(text: str, submitters: Sequence[int]) -> Iterator[Q]:
    if ID_BEGINS.fullmatch(text.lower()):
        beginning = text.lower()
        yield Q(pk__range=(beginning, beginning.ljust(ID_LENGTH, "z")))
    if number := RUN_NUMBER.fullmatch(text):
        yield Q(number=int(number[1]))
    yield Q(external_id=text)
    yield Q(correlation_id=text)
    if submitters:
        yield Q(submitted_by__in=submitters)
