"""The statements of every change of a status: one row is updated, a few others are inserted.

Django assembles each statement anew, which takes several times as long as the database takes to execute it, while other
requests wait for both. Here the SQL is assembled once for each set of columns; Django still prepares the values. It is
for `change_state`, for the inserts of a unit of work and of a submission, and for a write of which QuerySet.update is
more than a tenth of the cost; elsewhere the ORM writes.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from decimal import Decimal
from functools import lru_cache
from typing import Any, TypeVar

from django.db import DEFAULT_DB_ALIAS, connections, models
from django.db.backends.base.base import BaseDatabaseWrapper

Model = type[models.Model]
Row = TypeVar("Row", bound=models.Model)

#: What Django would return as it is, at ten times the cost. Of these classes alone: a subclass may change its values.
PLAIN: Mapping[type, tuple[type, ...]] = {
    models.CharField: (str,),
    models.TextField: (str,),
    models.IntegerField: (int,),
    models.PositiveIntegerField: (int,),
    models.PositiveSmallIntegerField: (int,),
    models.BigIntegerField: (int,),
    models.FloatField: (float,),
    models.BooleanField: (bool,),
    models.ForeignKey: (int, str),
}
#: What psycopg takes as it is.
PLAIN_OF_POSTGRESQL: Mapping[type, tuple[type, ...]] = {
    **PLAIN,
    models.DecimalField: (Decimal,),
    models.DateField: (date,),
    models.DateTimeField: (datetime,),
}
#: What stores the row's own value, but for `auto_now`.
KEEPING = (models.Field.pre_save, models.DateField.pre_save, models.DateTimeField.pre_save)
#: The texts of these types need no quotes in an array.
UNQUOTED = {int, float, bool, Decimal, date, datetime, type(None)}
#: So few rows are inserted as single values: a change of one thing is a row or a few of each kind.
ROWS_OF_VALUES = range(1, 5)
#: Of these the rows of one statement have few values, which are converted once each.
REPEATED = (models.DateField, models.DateTimeField)


def executed(connection: BaseDatabaseWrapper, sql: str, params: Sequence[Any]) -> Any:
    """Execute a statement whose text is the same each time. Returns the cursor, whose rows must be read at once."""
    if connection.vendor == "postgresql":
        return connection.execute_kept(sql, params)  # type: ignore[attr-defined]  # of our own backend
    cursor = connection.cursor()
    cursor.execute(sql, params)
    return cursor


def update_if(model: Model, read: Mapping[str, Any], values: Mapping[str, Any]) -> bool:
    """Write `values`, by field, into the row of `model` whose fields equal `read`, which must identify one row.

    False: there is no such row any more, and nothing was written.
    """
    connection = _connection()
    statement = _update_statement(
        connection.vendor, model, (*values,), tuple((name, read[name] is None) for name in read)
    )
    not_null = {name: value for name, value in read.items() if value is not None}
    params = [
        _field(model, name).get_db_prep_save(value, connection)
        for part in (values, not_null)
        for name, value in part.items()
    ]
    return bool(executed(connection, statement, params).rowcount)


def unsaved(model: type[Row], **values: Any) -> Row:
    """Return a new object, as its class would make it of these values.

    For each field Django's constructor looks whether it was given, and asks it for its default, which takes three times
    as long. Raises FieldDoesNotExist for a name that is no field's.
    """
    blank = _blank(model)
    columns = {**blank.values, **{name: default() for name, default in blank.defaults if name not in values}, **values}
    made = model(*[columns[name] for name in blank.names])
    for name in values.keys() - blank.values.keys():
        setattr(made, _field(model, name).name, values[name])
    return made


def insert_one(row: models.Model, reading: tuple[str, ...] = ()) -> None:
    """Insert the row, which gets what the database generates. It is `save`, for a model whose saving nobody hears.

    It gets the fields `reading` too, as the database has them.
    """
    model, connection = type(row), _connection()
    values = _row_values(row, model, connection)
    returned = _returned(connection.vendor, model, reading)
    cursor = executed(connection, _insert_statement(connection.vendor, model) + returned.sql, values)
    for (field, column, converters), value in zip(
        returned.fields, cursor.fetchone() if returned.fields else (), strict=True
    ):
        for convert in converters:
            value = convert(value, column, connection)
        setattr(row, field.attname, field.to_python(value))
    row._state.adding, row._state.db = False, DEFAULT_DB_ALIAS


def insert(rows: Sequence[Any], model: Model | None = None) -> None:
    """Insert `rows`, all of one model, in as few statements as possible. Their primary keys are not set.

    With `model`, they are any objects that have its fields as attributes.
    """
    _insert_with(rows, model or type(rows[0]), "")


@dataclass(frozen=True, slots=True)
class OnConflict:
    """What becomes of a row whose `unique` fields are a stored one's: fields are replaced, or added up, or nothing."""

    unique: tuple[str, ...]
    replaced: tuple[str, ...] = ()
    added: tuple[str, ...] = ()


def upsert(rows: Sequence[Any], conflict: OnConflict, model: Model | None = None) -> None:
    """Insert `rows` as `insert` does, or change the stored ones as `conflict` says. No two may be of one key."""
    model = model or type(rows[0])
    table = _quoted(model._meta.db_table)
    replaced = [f"{_column(model, name)} = excluded.{_column(model, name)}" for name in conflict.replaced]
    added = [
        f"{_column(model, name)} = {table}.{_column(model, name)} + excluded.{_column(model, name)}"
        for name in conflict.added
    ]
    keys = ", ".join(_column(model, name) for name in conflict.unique)
    changes = ", ".join([*replaced, *added])
    _insert_with(rows, model, f" ON CONFLICT ({keys}) DO {f'UPDATE SET {changes}' if changes else 'NOTHING'}")


def update_rows(rows: Sequence[models.Model], names: Sequence[str], among: Mapping[str, Collection[Any]]) -> int:
    """Write the fields `names` of stored `rows`, but only where what is stored in other fields is `among` the values.

    Returns how many were written. QuerySet.bulk_update takes several times as long, here and in PostgreSQL.
    """
    connection, model = _connection(), type(rows[0])
    table, key = _quoted(model._meta.db_table), _column(model, model._meta.pk.name)
    fields = [*(_field(model, name) for name in names), model._meta.pk]
    columns = [_values(rows, _stored_column(connection.vendor, field), connection) for field in fields]
    allowed = [value for values in among.values() for value in values]
    conditions = [f"{table}.{_column(model, name)} IN ({', '.join(['%s'] * len(among[name]))})" for name in among]
    with connection.cursor() as cursor:
        if connection.vendor != "postgresql":
            setting = ", ".join(f"{_column(model, name)} = %s" for name in names)
            where = " AND ".join([f"{key} = %s", *conditions])
            each = [(*values, *allowed) for values in zip(*columns, strict=True)]
            cursor.executemany(f"UPDATE {table} SET {setting} WHERE {where}", each)  # noqa: S608
        else:
            setting = ", ".join(f"{_column(model, name)} = new.{_column(model, name)}" for name in names)
            source = f"{_arrays(fields)} AS new ({', '.join([*(_column(model, name) for name in names), key])})"
            where = " AND ".join([f"{table}.{key} = new.{key}", *conditions])
            values = [*map(array, columns), *allowed]
            cursor.execute(f"UPDATE {table} SET {setting} FROM {source} WHERE {where}", values)  # noqa: S608
        return int(cursor.rowcount)


def _insert_with(rows: Sequence[Any], model: Model, ending: str) -> None:
    connection = _connection()
    if len(rows) in ROWS_OF_VALUES:
        values = [value for row in rows for value in _row_values(row, model, connection)]
        executed(connection, _insert_statement(connection.vendor, model, len(rows)) + ending, values)
        return
    columns = [_values(rows, column, connection) for column in _columns(connection.vendor, model)]
    if connection.vendor != "postgresql":
        with connection.cursor() as cursor:
            values = list(zip(*columns, strict=True))
            cursor.executemany(_insert_statement(connection.vendor, model) + ending, values)
    else:
        # An array a column: the server reads a statement of thousands of values for longer than it inserts them.
        executed(connection, _insert_of_arrays(model) + ending, list(map(array, columns)))


def array(values: list[Any]) -> Any:
    """Return the values as PostgreSQL writes an array: psycopg examines each of them for longer."""
    kinds = set(map(type, values))
    if kinds <= UNQUOTED:
        texts = ["NULL" if value is None else str(value) for value in values]
    elif kinds <= {str, type(None)}:
        texts = ["NULL" if value is None else _quoted_item(value) for value in values]
    else:
        from psycopg.types.json import Jsonb  # processes on SQLite load no psycopg

        if not kinds <= {Jsonb, type(None)}:
            return values
        texts = ["NULL" if value is None else _quoted_item(value.dumps(value.obj)) for value in values]
    return f"{{{','.join(texts)}}}"


def _quoted_item(text: str) -> str:
    if "\\" in text:
        text = text.replace("\\", r"\\")
    if '"' in text:
        text = text.replace('"', r"\"")
    return f'"{text}"'


@dataclass(frozen=True, slots=True)
class _Blank:
    """A new object of a model: the names of its columns, the values of all, and the defaults to ask for each time."""

    names: list[str]
    values: dict[str, Any]
    defaults: list[tuple[str, Callable[[], Any]]]


@lru_cache(maxsize=64)
def _blank(model: Model) -> _Blank:
    values, defaults = {}, []
    for field in model._meta.concrete_fields:
        values[field.attname] = models.DEFERRED if field.generated else None
        if callable(field.default) if field.has_default() else field.has_db_default():
            defaults.append((field.attname, field.get_default))
        elif not field.generated:
            values[field.attname] = field.get_default()
    return _Blank(list(values), values, defaults)


@dataclass(frozen=True, slots=True)
class _StoredColumn:
    field: Any
    attname: str
    #: Whether the row's own value is stored: `auto_now` sets one as it is stored, and a field of our own may.
    is_own: bool
    #: The types whose values are stored as they are.
    plain: frozenset[type]


def _stored_column(vendor: str, field: Any) -> _StoredColumn:
    is_own = type(field).pre_save in KEEPING and not (
        getattr(field, "auto_now", False) or getattr(field, "auto_now_add", False)
    )
    kinds = (PLAIN_OF_POSTGRESQL if vendor == "postgresql" else PLAIN).get(type(field), ())
    return _StoredColumn(field, field.attname, is_own, frozenset({*kinds, type(None)} if is_own else ()))


@lru_cache(maxsize=128)
def _columns(vendor: str, model: Model) -> list[_StoredColumn]:
    return [_stored_column(vendor, field) for field in _fields(model)]


def _values(rows: Sequence[Any], column: _StoredColumn, connection: BaseDatabaseWrapper) -> list[Any]:
    """Return what is stored in the column, of each row."""
    values = [getattr(row, column.attname) for row in rows]
    if column.plain.issuperset(map(type, values)):
        return values
    if column.is_own and type(column.field) in REPEATED:
        stored = {value: column.field.get_db_prep_save(value, connection) for value in set(values)}
        return [stored[value] for value in values]
    return [_stored(row, value, column, connection) for row, value in zip(rows, values, strict=True)]


def _row_values(row: Any, model: Model, connection: BaseDatabaseWrapper) -> list[Any]:
    """Return what `_values` does, of one row."""
    values = []
    for column in _columns(connection.vendor, model):
        value = getattr(row, column.attname)
        values.append(value if type(value) in column.plain else _stored(row, value, column, connection))
    return values


def _stored(row: Any, value: Any, column: _StoredColumn, connection: BaseDatabaseWrapper) -> Any:
    """Return what Django would store of the row's `value` in the column."""
    field = column.field
    if column.is_own and type(field) is models.DecimalField and (value is None or type(value) is Decimal):
        return _decimal(value, field, connection)
    return field.get_db_prep_save(value if column.is_own else field.pre_save(row, add=True), connection)


def _decimal(value: Decimal | None, field: models.DecimalField[Any, Any], connection: BaseDatabaseWrapper) -> Any:
    """Return what Django would, without its conversion of what is a number already."""
    if value is not None and not value.is_finite():
        return field.get_db_prep_save(value, connection)
    return connection.ops.adapt_decimalfield_value(value, field.max_digits, field.decimal_places)


def _connection() -> BaseDatabaseWrapper:
    """Return this thread's connection. Django's `connection` looks for it at each access, several times for a value."""
    return connections[DEFAULT_DB_ALIAS]


def _field(model: Model, name: str) -> Any:
    return model._meta.get_field(name)


@lru_cache(maxsize=256)
def _update_statement(vendor: str, model: Model, written: tuple[str, ...], read: tuple[tuple[str, bool], ...]) -> str:
    """Build the UPDATE. `read` has each field with whether it must be NULL. The vendors' quotes differ."""
    setting = ", ".join(f"{_column(model, name)} = %s" for name in written)
    condition = " AND ".join(f"{_column(model, name)} {'IS NULL' if null else '= %s'}" for name, null in read)
    return f"UPDATE {_quoted(model._meta.db_table)} SET {setting} WHERE {condition}"  # noqa: S608


@lru_cache(maxsize=64)
def _insert_statement(vendor: str, model: Model, rows: int = 1) -> str:
    values = f"({', '.join(['%s'] * len(_fields(model)))})"
    return f"{_insert_into(model)} VALUES {', '.join([values] * rows)}"


@dataclass(frozen=True, slots=True)
class _Returned:
    sql: str
    #: Each with its column and what makes its value of the database's.
    fields: list[tuple[Any, Any, list[Any]]]


@lru_cache(maxsize=64)
def _returned(vendor: str, model: Model, reading: tuple[str, ...]) -> _Returned:
    fields, connection = [*_generated(model), *(_field(model, name) for name in reading)], _connection()
    columns = [field.get_col(model._meta.db_table) for field in fields]
    converters = [
        [*connection.ops.get_db_converters(column), *column.get_db_converters(connection)] for column in columns
    ]
    names = ", ".join(_quoted(field.column) for field in fields)
    return _Returned(f" RETURNING {names}" if names else "", list(zip(fields, columns, converters, strict=True)))


@lru_cache(maxsize=64)
def _insert_of_arrays(model: Model) -> str:
    return f"{_insert_into(model)} SELECT * FROM {_arrays(_fields(model))}"  # noqa: S608


def _arrays(fields: Sequence[Any]) -> str:
    # Without their lengths: a cast to varchar(40) cuts what is longer, where the column refuses it.
    kinds = [re.sub(r"\(.*?\)", "", str(field.db_type(_connection()))) for field in fields]
    return f"unnest({', '.join(f'%s::{kind}[]' for kind in kinds)})"


def _insert_into(model: Model) -> str:
    columns = ", ".join(_quoted(field.column) for field in _fields(model))
    return f"INSERT INTO {_quoted(model._meta.db_table)} ({columns})"


@lru_cache(maxsize=64)
def _fields(model: Model) -> list[Any]:
    """Return the fields whose values the database doesn't generate."""
    return [field for field in model._meta.concrete_fields if field not in _generated(model)]


@lru_cache(maxsize=64)
def _generated(model: Model) -> list[Any]:
    return [field for field in model._meta.concrete_fields if isinstance(field, models.AutoField) or field.generated]


def _column(model: Model, name: str) -> str:
    return _quoted(_field(model, name).column)


def _quoted(name: str) -> str:
    return _connection().ops.quote_name(name)
