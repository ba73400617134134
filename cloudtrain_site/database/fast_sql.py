"""The statements that every change of a status consists of: one row is updated, a few others are inserted.

Django puts each statement together anew, which takes several times as long as the database takes to carry it out, and
everybody else waits for both. Here the words are put together once for each set of columns; the values stay Django's
to prepare. For `change_state`, for what a unit of work inserts, and for where QuerySet.update costs more than a tenth
of the whole; elsewhere the ORM writes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

from django.db import connection, models

Model = type[models.Model]

#: Databases have a limit to the values of one statement.
ROWS_AT_ONCE = 100


def update_if(model: Model, read: Mapping[str, Any], values: Mapping[str, Any]) -> bool:
    """Write `values`, by field, into the row of `model` whose fields are as in `read`, which must tell one row.

    False: there is none any more, and nothing was written.
    """
    words = _update_words(connection.vendor, model, (*values,), tuple((name, read[name] is None) for name in read))
    known = {name: value for name, value in read.items() if value is not None}
    params = [_prepared(model, name, value) for part in (values, known) for name, value in part.items()]
    with connection.cursor() as cursor:
        cursor.execute(words, params)
        return bool(cursor.rowcount)


def insert(rows: Sequence[models.Model]) -> None:
    """Insert `rows`, all of one model, as few statements. They are not told what keys the database gave them."""
    model = type(rows[0])
    fields = _fields(model)
    with connection.cursor() as cursor:
        for start in range(0, len(rows), ROWS_AT_ONCE):
            some = rows[start : start + ROWS_AT_ONCE]
            params = [
                field.get_db_prep_save(field.pre_save(row, add=True), connection) for row in some for field in fields
            ]
            cursor.execute(_insert_words(connection.vendor, model, len(some)), params)


def _prepared(model: Model, name: str, value: Any) -> Any:
    return _field(model, name).get_db_prep_save(value, connection)


def _field(model: Model, name: str) -> Any:
    return model._meta.get_field(name)


@lru_cache(maxsize=256)
def _update_words(vendor: str, model: Model, written: tuple[str, ...], read: tuple[tuple[str, bool], ...]) -> str:
    """In `read`, each field comes with whether it must be NULL. Each database has its own quotes."""
    setting = ", ".join(f"{_column(model, name)} = %s" for name in written)
    condition = " AND ".join(f"{_column(model, name)} {'IS NULL' if null else '= %s'}" for name, null in read)
    return f"UPDATE {_quoted(model._meta.db_table)} SET {setting} WHERE {condition}"  # noqa: S608


@lru_cache(maxsize=256)
def _insert_words(vendor: str, model: Model, count: int) -> str:
    columns = [_quoted(field.column) for field in _fields(model)]
    row = f"({', '.join(['%s'] * len(columns))})"
    table = _quoted(model._meta.db_table)
    return f"INSERT INTO {table} ({', '.join(columns)}) VALUES {', '.join([row] * count)}"  # noqa: S608


@lru_cache(maxsize=64)
def _fields(model: Model) -> list[Any]:
    """Those whose values the database doesn't give."""
    return [field for field in model._meta.concrete_fields if not (field.primary_key or field.generated)]


def _column(model: Model, name: str) -> str:
    return _quoted(_field(model, name).column)


def _quoted(name: str) -> str:
    return connection.ops.quote_name(name)
