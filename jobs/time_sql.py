"""Days and spans as the database itself reckons them.

Django's own functions for them call back into Python on SQLite, once a row: half a second for the jobs of a season.
"""

from __future__ import annotations

from typing import Any

from django.db.models import CharField, FloatField, Func


class UtcDay(Func):
    """The day of a moment as people write it: 2026-03-10."""

    output_field = CharField()
    arity = 1
    template = "to_char(%(expressions)s AT TIME ZONE 'UTC', 'YYYY-MM-DD')"

    def as_sqlite(self, compiler: Any, connection: Any, **context: Any) -> Any:
        """There a moment is kept as its text, in UTC."""
        return self.as_sql(compiler, connection, template="substr(%(expressions)s, 1, 10)", **context)


class Seconds(Func):
    """A moment as seconds, to be subtracted from another."""

    output_field = FloatField()
    arity = 1
    template = "EXTRACT(EPOCH FROM %(expressions)s)::double precision"

    def as_sqlite(self, compiler: Any, connection: Any, **context: Any) -> Any:
        """There the days since long ago are what can be had of a moment."""
        return self.as_sql(compiler, connection, template="(julianday(%(expressions)s) * 86400.0)", **context)
