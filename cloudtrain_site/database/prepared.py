"""Queries of hot paths whose SQL Django assembles once for each kind of arguments, and not each time anew.

Django takes several times as long to assemble such a query as SQLite takes to answer it. The ORM still writes the SQL,
converts the values and makes the objects; only what a query of the same shape had before is kept.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import Any, Generic, TypeVar

from django.db import DEFAULT_DB_ALIAS, connections
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.models import Count, QuerySet, Value
from django.db.models.query import FlatValuesListIterable, ModelIterable, get_related_populators

from cloudtrain_site.database.fast_sql import executed

Row = TypeVar("Row")
Argument = int | str | datetime | None

#: These and the texts of `_marker` stand for the arguments while the SQL is assembled. No query has them as values.
_FIRST_NUMBER = 2_000_000_000
_FIRST_TIME = datetime(1971, 2, 3, 4, 5, 6, tzinfo=UTC)
#: Numbers of arguments of an IN.
_SIZES = (1, 5, 25, 100)


@dataclass(frozen=True, slots=True)
class _Assembled:
    """A query with its SQL, and for each parameter the number of its argument, or None and the query's own value."""

    sql: str
    params: tuple[tuple[int | None, Any], ...]
    #: Makes what the query returns of rows as the database has them.
    make: Callable[[list[Any]], Iterable[Any]]


@dataclass(frozen=True, slots=True)
class _Answered:
    """As much of a compiler as Django needs to make objects of rows that were read already."""

    select: Any
    klass_info: Any
    annotation_col_map: Any
    rows: list[Any]

    def execute_sql(self, **options: Any) -> list[Any]:
        return self.rows

    def results_iter(self, results: Any = None, **options: Any) -> Iterator[Any]:
        return iter(self.rows)


class Prepared(Generic[Row]):
    """A query, as `build` makes it from the arguments, by their positions.

    `build` must use each argument as it is, to compare a column with it, and nothing else that may differ from one call
    to the next. Not for a column of a small number, nor for an argument within a pattern: the first call raises.
    """

    def __init__(self, build: Callable[..., QuerySet[Any, Row]]) -> None:
        self._build = build
        self._assembled: dict[tuple[object, ...], _Assembled] = {}

    def __call__(self, *arguments: Argument) -> list[Row]:
        """Return the rows."""
        connection = connections[DEFAULT_DB_ALIAS]
        shape = (connection.vendor, *map(type, arguments))
        assembled = self._assembled.get(shape)
        if assembled is None:
            assembled = self._assembled[shape] = self._assemble(arguments, connection)
        values = [_stored(argument, connection) for argument in arguments]
        params = tuple(own if number is None else values[number] for number, own in assembled.params)
        rows = executed(connection, assembled.sql, params).fetchall()
        return list(assembled.make(rows)) if rows else []

    def first(self, *arguments: Argument) -> Row | None:
        """Return the first row; None: there is none. `build` says how many are read at most."""
        return next(iter(self(*arguments)), None)

    def of_each(self, arguments: Sequence[Argument]) -> list[Row]:
        """Return the rows of a query whose arguments are those of an IN, with any number of these.

        They come by the hundred, so `build`'s order is kept among the rows of one argument alone.
        """
        most = _SIZES[-1]
        parts = [arguments[first : first + most] for first in range(0, len(arguments), most)]
        return [row for part in parts for row in self(*padded(part))]

    def _assemble(self, arguments: tuple[Argument, ...], connection: BaseDatabaseWrapper) -> _Assembled:
        markers = [_marker(argument, number) for number, argument in enumerate(arguments)]
        queryset = self._build(*markers)
        compiler = queryset.query.get_compiler(using=DEFAULT_DB_ALIAS, elide_empty=False)
        sql, values = compiler.as_sql()
        numbers = {_stored(marker, connection): number for number, marker in enumerate(markers) if marker is not None}
        params = tuple((numbers.get(value), value) for value in values)
        if not set(numbers.values()) <= {number for number, _ in params}:
            raise ValueError(f"An argument is not among the parameters of {sql}")
        return _Assembled(sql, params, _maker(queryset, compiler))


def padded(arguments: Collection[Row]) -> list[Row]:
    """Return the arguments of an IN with one repeated, so that up to a hundred only a few numbers are assembled."""
    filled = list(arguments)
    size = next((size for size in _SIZES if size >= len(filled)), len(filled))
    return filled + filled[:1] * (size - len(filled))


def counted(rows: QuerySet[Any, Any]) -> QuerySet[Any, int]:
    """Return the query whose one row is the number of `rows`, which QuerySet.count would execute at once."""
    numbers: QuerySet[Any, int] = rows.order_by().values(one=Value(1)).annotate(number=Count("pk"))
    return numbers.values_list("number", flat=True)


def _marker(argument: Argument, number: int) -> Argument:
    kind = type(argument)
    if kind is int:
        return _FIRST_NUMBER + number
    if kind is str:
        return f"argument {number} of a prepared query"
    if kind is datetime:
        return _FIRST_TIME.replace(microsecond=number)
    if argument is None:
        return None
    raise TypeError(f"A prepared query has no arguments of {kind}")


def _stored(argument: Argument, connection: BaseDatabaseWrapper) -> Any:
    return connection.ops.adapt_datetimefield_value(argument) if type(argument) is datetime else argument


def _maker(queryset: Any, compiler: Any) -> Callable[[list[Any]], Iterable[Any]]:
    """Return what makes the query's objects of its rows.

    Single values and models are made here: Django would prepare what is the same for each query anew, at the cost of
    another model.
    """
    make: Callable[[list[Any]], Iterable[Any]] = partial(_by_django, queryset, compiler)
    if queryset._iterable_class is FlatValuesListIterable:
        make = _first_values
    elif queryset._iterable_class is ModelIterable and not (
        queryset._prefetch_related_lookups or queryset._known_related_objects
    ):
        related = get_related_populators(compiler.klass_info, compiler.select, DEFAULT_DB_ALIAS)  # type: ignore[call-arg]  # the stubs are of Django 6
        make = partial(_models, compiler, related)
    converters = compiler.get_converters([column for column, _, _ in compiler.select])
    if not converters:
        return make
    return lambda rows: make(list(map(tuple, compiler.apply_converters(rows, converters))))


def _first_values(rows: list[Any]) -> Iterable[Any]:
    return [row[0] for row in rows]


def _models(compiler: Any, related: Sequence[Any], rows: list[Any]) -> Iterator[Any]:
    """Yield the models, as Django's ModelIterable does."""
    model, positions = compiler.klass_info["model"], compiler.klass_info["select_fields"]
    own = slice(positions[0], positions[-1] + 1)
    names = [column.target.attname for column, _, _ in compiler.select[own]]
    for row in rows:
        made = model.from_db(DEFAULT_DB_ALIAS, names, row[own])
        for populator in related:
            populator.populate(row, made)
        for name, position in compiler.annotation_col_map.items():
            setattr(made, name, row[position])
        yield made


def _by_django(original: Any, compiler: Any, rows: list[Any]) -> Any:
    """Return the query, whose rows are these."""
    queryset = _copy(original)
    queryset._query = _copy(queryset.query)
    answered = _Answered(compiler.select, compiler.klass_info, compiler.annotation_col_map, rows)
    queryset._query.get_compiler = lambda using: answered
    return queryset


def _copy(original: Any) -> Any:
    """Return a shallow copy. `copy.copy` of a query would execute it."""
    copied = object.__new__(type(original))
    copied.__dict__.update(original.__dict__)
    return copied
