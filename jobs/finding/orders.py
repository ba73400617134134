"""The orders of the list, each by an index, and where in it a page begins: after the job `cursor`, however far down.

A cursor that the list doesn't have has nothing after it. The indexes are each organization's: what the lists of several
begin with is put together here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import reduce
from math import inf
from operator import or_
from typing import Any

from django.core.exceptions import EmptyResultSet
from django.db import connection
from django.db.models import BooleanField, F, Func, Q, QuerySet, Value
from django.db.models.functions import Coalesce
from django.utils import timezone

from cloudtrain_site.database.batches import in_batches
from jobs.identifiers import EVER, Span
from jobs.models import Job, JobQuerySet, Membership, RunCounter
from jobs.snapshot_fields import A_MILLISECOND, milliseconds_between

NEWEST, OLDEST, NAME, STATUS, COST, DURATION = "newest", "oldest", "name", "status", "cost", "duration"
LOSS = "loss"
SORTS = (
    (NEWEST, "Newest first"),
    (OLDEST, "Oldest first"),
    (NAME, "By name"),
    # By its letters from the end, the words of the statuses happen to go from what is at work to what was cancelled.
    (STATUS, "By status"),
    (COST, "Most expensive first"),
    (DURATION, "Longest first"),
    (LOSS, "Lowest last loss first"),
)


class Order:
    """An order of the list: its parts are read one by one, each by an index of its own, and put together."""

    #: The columns that a job's place is made of, besides its id.
    columns: tuple[str, ...] = ()
    #: What each part is ordered by.
    parts: tuple[tuple[str, ...], ...]
    #: Whether the highest place comes first.
    descends = True

    def place(self, pk: str, *values: Any) -> Any:
        """Return a job's place, by its id and the values of the columns."""
        return pk

    def after(self, jobs: JobQuerySet, cursor: str) -> Sequence[Q]:
        """Return a condition for each part: its jobs that come after the cursor."""
        raise NotImplementedError

    def before(self, row: tuple[Any, ...]) -> Sequence[Q]:
        """Return a condition for each part that all jobs meet which come before a job, by its id and columns."""
        raise NotImplementedError

    def values_at(self, jobs: JobQuerySet, cursor: str) -> tuple[Any, ...] | None:
        """Return the columns of the job `cursor`; None: it is not one of `jobs`."""
        return jobs.order_by().filter(pk=cursor).values_list(*self.columns).first()


class ByAge(Order):
    """By the ids, which sort by time."""

    def __init__(self, *, descends: bool) -> None:
        self.descends = descends
        self.parts = (("-id",) if descends else ("id",),)

    def after(self, jobs: JobQuerySet, cursor: str) -> Sequence[Q]:
        beyond = Q(pk__lt=cursor) if self.descends else Q(pk__gt=cursor)
        return (beyond if cursor else Q(),)

    def before(self, row: tuple[Any, ...]) -> Sequence[Q]:
        return (Q(pk__gt=row[0]) if self.descends else Q(pk__lt=row[0]),)


class ByColumn(Order):
    """By a column, and of the jobs with one value by their ids."""

    def __init__(self, column: str, *, descends: bool) -> None:
        self.columns, self.descends = (column,), descends
        sign = "-" if descends else ""
        self.parts = ((f"{sign}{column}", f"{sign}id"),)

    def place(self, pk: str, *values: Any) -> Any:
        return *values, pk

    def after(self, jobs: JobQuerySet, cursor: str) -> Sequence[Q]:
        if not cursor:
            return (Q(),)
        values = self.values_at(jobs, cursor)
        if values is None or values[0] is None:
            return (NOTHING,)
        return (_comes_after(self.columns[0], values[0], cursor, descends=self.descends),)

    def before(self, row: tuple[Any, ...]) -> Sequence[Q]:
        _, value = row
        # Without the id: a filter on the same column is then answered by the index, too.
        return (Q() if value is None else Q(**{f"{self.columns[0]}__{'gte' if self.descends else 'lte'}": value}),)


class ByDuration(Order):
    """The longest first, as they are now: what runs is counted up to this moment, what has not begun comes last.

    One index holds how long the ended ones took, another when the others began, and a third those without a start.
    Between two pages a job that runs may grow past their border: it is then on neither.
    """

    columns = ("completed_at", "started_at", "duration_ms")
    parts = (("-duration_ms", "-id"), ("started_at", "-id"), ("started_at", "-id"))

    def __init__(self) -> None:
        self.now = timezone.now()

    def place(self, pk: str, *values: Any) -> tuple[int, str]:
        """The milliseconds that it ran, or has run by now, and its id; -1 for one that has not begun."""
        completed_at, started_at, duration_ms = values
        ran = milliseconds_between(started_at, self.now) if completed_at is None else duration_ms
        return -1 if ran is None else ran, pk

    def after(self, jobs: JobQuerySet, cursor: str) -> Sequence[Q]:
        ended = Q(duration_ms__isnull=False)
        running = Q(completed_at=None, started_at__isnull=False)
        not_begun = Q(started_at=None)
        if not cursor:
            return ended, running, not_begun
        values = self.values_at(jobs, cursor)
        if values is None:
            return NOTHING, NOTHING, NOTHING
        completed_at, started_at, _ = values
        ran, _ = self.place(cursor, *values)
        if ran < 0:
            return NOTHING, NOTHING, not_begun & Q(pk__lt=cursor)
        # When a job would have begun that runs for as long as this one did.
        began = started_at if completed_at is None else self.now - ran * A_MILLISECOND
        ended &= _comes_after("duration_ms", ran, cursor, descends=True)
        running &= Q(started_at__gt=began) | Q(started_at=began, pk__lt=cursor)
        return ended, running, not_begun

    def before(self, row: tuple[Any, ...]) -> Sequence[Q]:
        ran, pk = self.place(*row)
        if ran < 0:
            return Q(), Q(), Q(pk__gt=pk)
        return Q(duration_ms__gte=ran), Q(started_at__lte=self.now - ran * A_MILLISECOND), NOTHING


class ByLoss(Order):
    """The lowest last loss first, then the jobs without one, the newest first."""

    columns = ("last_loss",)
    # Of those without one, too: PostgreSQL would not see that the index has them by their ids.
    parts = (("last_loss", "-id"), ("last_loss", "-id"))

    def place(self, pk: str, *values: Any) -> tuple[float, str]:
        """The loss turned round, since the highest place comes first."""
        [loss] = values
        return -inf if loss is None else -loss, pk

    def after(self, jobs: JobQuerySet, cursor: str) -> Sequence[Q]:
        with_loss, without = Q(last_loss__isnull=False), Q(last_loss=None)
        if not cursor:
            return with_loss, without
        values = self.values_at(jobs, cursor)
        if values is None:
            return NOTHING, NOTHING
        [loss] = values
        if loss is None:
            return NOTHING, without & Q(pk__lt=cursor)
        # The bound by itself too, from which on the index is read.
        beyond = Q(last_loss__gt=loss) | Q(pk__lt=cursor)
        return Q(last_loss__gte=loss) & beyond, without

    def before(self, row: tuple[Any, ...]) -> Sequence[Q]:
        pk, loss = row
        return (Q(), Q(pk__gt=pk)) if loss is None else (Q(last_loss__lte=loss), NOTHING)


NOTHING = Q(pk__in=[])
ORDERS: Mapping[str, Callable[[], Order]] = {
    NEWEST: lambda: ByAge(descends=True),
    OLDEST: lambda: ByAge(descends=False),
    NAME: lambda: ByColumn("name_key", descends=False),
    STATUS: lambda: ByColumn("status", descends=True),
    COST: lambda: ByColumn("cost_usd", descends=True),
    DURATION: ByDuration,
    LOSS: ByLoss,
}


def those_after(jobs: JobQuerySet, sort: str, cursor: str) -> JobQuerySet:
    """Return the `jobs` that come after `cursor` in the order called `sort`, in no order yet."""
    return jobs.filter(reduce(or_, ORDERS[sort]().after(jobs, cursor)))


def first_ids(jobs: JobQuerySet, sort: str, cursor: str, count: int, *, are_few: bool = False) -> list[str]:
    """Return the ids of the first `count` of `jobs` after `cursor`, in the order called `sort`.

    `are_few`: all are read and sorted here. By the database the wrong index would be walked for them.
    """
    order = ORDERS[sort]()
    conditions, found = order.after(jobs, cursor), list[tuple[Any, ...]]()
    if are_few:
        # All parts at once: of one by itself, SQLite can take an index that has this part of all jobs.
        conditions = [reduce(or_, conditions)]
    for condition, columns in zip(conditions, order.parts, strict=not are_few):
        part = jobs.filter(condition).order_by().values_list("pk", *order.columns)
        found += part if are_few else part.order_by(*columns)[:count]
    return _first(found, order, count)


def first_ids_of_each(
    jobs: JobQuerySet,
    organizations: Sequence[int | None],
    sort: str,
    cursor: str,
    count: int,
    span: Span = EVER,
    people: Sequence[int] = (),
) -> list[str]:
    """Return the same of the `jobs` of these organizations (None: of none) within `span`.

    Where most are, they are read first: in the largest organization or, of jobs of `people`, in theirs. The others are
    then read only as far as their jobs come before the last that was found.
    """
    order = ORDERS[sort]()
    within = span.of("pk")
    are_many = connection.vendor == "sqlite" and within != Q() and Job.objects.filter(within)[: MANY + 1].count() > MANY
    seen = jobs.filter(of_organizations(organizations))
    groups = _groups([pk for pk in organizations if pk is not None], people)
    found: list[tuple[Any, ...]] = []
    for number, (condition, columns) in enumerate(zip(order.after(seen, cursor), order.parts, strict=True)):
        is_other = are_many and columns[0].strip("-") not in ("id", "started_at")
        made = jobs.filter(condition)
        if is_other:
            made = made.alias(id_alone=Coalesce("id", Value(""))).filter(span.of("id_alone"))
        else:
            made = made.filter(within)
        part = made.order_by(*columns).values_list("pk", *order.columns)
        found += part.filter(organization=None)[:count] if None in organizations else []
        for group in groups:
            found = _sorted(found, order)[:count]
            nearer = order.before(found[-1])[number] if len(found) == count else Q()
            found += _first_rows(part.filter(nearer), group, count)
    return _first(found, order, count)


def of_organizations(organizations: Sequence[int | None]) -> Q:
    named = Q(organization__in=[pk for pk in organizations if pk is not None])
    return named | Q(organization=None) if None in organizations else named


def _first(found: list[tuple[Any, ...]], order: Order, count: int) -> list[str]:
    return [pk for pk, *_ in _sorted(found, order)[:count]]


def _sorted(found: list[tuple[Any, ...]], order: Order) -> list[tuple[Any, ...]]:
    return sorted(found, key=lambda row: order.place(*row), reverse=order.descends)


def _groups(organizations: Sequence[int], people: Sequence[int]) -> list[Sequence[int]]:
    """Return the organizations that are read first, and all others."""
    if len(organizations) < 2:
        return [organizations] if organizations else []
    first: QuerySet[Any, Any] = Membership.objects.filter(user__in=people, organization__in=organizations)
    if not people:
        first = RunCounter.objects.filter(organization__in=organizations).order_by("-last")[:1]
    found = set(first.values_list("organization", flat=True))
    groups = [[pk for pk in organizations if (pk in found) == is_first] for is_first in (True, False)]
    return [group for group in groups if group]


#: If more were made within a span, an index of another order is walked past all others. SQLite would read and sort
#: all of them, so it doesn't see that their ids are meant.
MANY = 5000
#: Stands for an organization in a statement that is repeated for each.
ANY_ORGANIZATION = -987_654_321
ORGANIZATION = '"jobs_job"."organization_id"'
#: SQLite takes no more than 500.
STATEMENTS_AT_ONCE = 100
#: SQLite takes no more than 32,766; the ids that a search found are in the statement of each organization.
VALUES_AT_ONCE = 30_000


def _first_rows(part: QuerySet[Job, Any], organizations: Sequence[int], count: int) -> Iterator[tuple[Any, ...]]:
    """Yield the first `count` rows of each organization. For all at once no index has the order.

    Django has no UNION of queries with a limit on SQLite, and to compile one for each takes longer than to run it.
    """
    compiler = part.filter(organization=ANY_ORGANIZATION)[:count].query.get_compiler(connection=connection)
    try:
        statement, params = compiler.as_sql()
    except EmptyResultSet:
        return
    converters = compiler.get_converters([expression for expression, *_ in compiler.select])
    of_some = _of_each_on_sqlite if connection.vendor == "sqlite" else _of_each_on_postgresql
    at_once = max(1, min(STATEMENTS_AT_ONCE, VALUES_AT_ONCE // len(params)))
    for some in in_batches(organizations, at_once):
        with connection.cursor() as cursor:
            cursor.execute(*of_some(statement, params, some))
            yield from map(tuple, compiler.apply_converters(cursor.fetchall(), converters))


def _of_each_on_sqlite(statement: str, params: Sequence[Any], organizations: Sequence[int]) -> tuple[str, list[Any]]:
    # Not by the index of a person: all jobs of the person would be read for each organization.
    statement = statement.replace('"jobs_job"."submitted_by_id"', '+"jobs_job"."submitted_by_id"')
    parts = (f"SELECT * FROM ({statement}) AS part_{place}" for place in range(len(organizations)))  # noqa: S608
    values = [pk if value == ANY_ORGANIZATION else value for pk in organizations for value in params]
    return " UNION ALL ".join(parts), values


def _of_each_on_postgresql(
    statement: str, params: Sequence[Any], organizations: Sequence[int]
) -> tuple[str, list[Any]]:
    """Of many in one part, which is planned once: for fifty that takes as long as to execute it."""
    if len(organizations) == 1:
        return statement, [organizations[0] if value == ANY_ORGANIZATION else value for value in params]
    of_each = statement.replace(f"{ORGANIZATION} = %s", f"{ORGANIZATION} = of_each.id")
    sql = f"SELECT part.* FROM unnest(%s::bigint[]) AS of_each (id), LATERAL ({of_each}) AS part"  # noqa: S608
    return sql, [[*organizations], *(value for value in params if value != ANY_ORGANIZATION)]


def _comes_after(column: str, value: object, cursor: str, *, descends: bool) -> Q:
    field: Any = Job._meta.get_field(column)
    bounds = Value(value, field), Value(cursor, Job._meta.pk)
    return Q(PairComesAfter(F(column), F("id"), *bounds, descends=descends))


class PairComesAfter(Func):
    """Whether a pair of columns, the first two given, comes after a pair of values in the order.

    As a comparison of rows, which an index answers in one step, however many have the same first half. Django's own
    TupleLessThan and TupleGreaterThan are none on SQLite: it would read all that have the same.
    """

    output_field = BooleanField()
    arity = 4

    def __init__(self, *pairs: Any, descends: bool) -> None:
        super().__init__(*pairs)
        self.sign = "<" if descends else ">"

    def as_sql(self, compiler: Any, connection: Any, *_: Any, **__: Any) -> tuple[str, tuple[str | int, ...]]:
        parts = [compiler.compile(part) for part in self.get_source_expressions()]
        first, second, *others = (sql for sql, _ in parts)
        compared = f"({first}, {second}) {self.sign} ({', '.join(others)})"
        return compared, tuple(value for _, params in parts for value in params)
