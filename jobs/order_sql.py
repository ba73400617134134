"""What lists are ordered by, as the database itself reckons it.

Indexes hold these very expressions (Job.Meta): a change of one is a new index. Those of one piece end with the id, so
that no two rows have the same: an index then leads to any place in one step, which SQLite can't with an expression and
a column beside it.
"""

from __future__ import annotations

from typing import Any, ClassVar

from django.db.models import BooleanField, CharField, Func

#: Of milliseconds: thirty thousand years.
DIGITS = 15


class WrittenOut(Func):
    """An expression with a place for each of what it is given; no values in it, which an index would not recognize."""

    postgresql: ClassVar[str]
    sqlite: ClassVar[str]

    def as_postgresql(self, compiler: Any, connection: Any, **_: Any) -> tuple[str, tuple[str | int, ...]]:
        """In the order of the letters' numbers, whatever the database's own language is."""
        return self._written(compiler, self.postgresql)

    def as_sqlite(self, compiler: Any, connection: Any, **_: Any) -> tuple[str, tuple[str | int, ...]]:
        """There no other order is known."""
        return self._written(compiler, self.sqlite)

    def _written(self, compiler: Any, template: str) -> tuple[str, tuple[str | int, ...]]:
        return template.format(*(compiler.compile(part)[0] for part in self.get_source_expressions())), ()


class NameKey(WrittenOut):
    """A name, A to Z without their case, and the id: ordered alike in every database and browser."""

    output_field = CharField()
    arity = 2
    # No name has a character before the blank: what is longer comes later, whatever its id is.
    postgresql = '(lower({0} COLLATE "C") || chr(1) || {1}) COLLATE "C"'
    sqlite = "lower({0}) || char(1) || {1}"


class RanKey(WrittenOut):
    """From an end, a start and the id: the milliseconds between the two and one, 0 without a start, and the id."""

    output_field = CharField()
    arity = 3
    postgresql = (
        "(lpad((CASE WHEN ({0} - {1}) IS NULL THEN 0 "
        "ELSE GREATEST(0, ROUND(EXTRACT(EPOCH FROM ({0} - {1})) * 1000))::bigint + 1 END)::text, "
        f"{DIGITS}, '0') || {{2}}) COLLATE \"C\""
    )
    # A moment is kept as its text there.
    sqlite = (
        f"substr('{'0' * DIGITS}' || (CASE WHEN (julianday({{0}}) - julianday({{1}})) IS NULL THEN 0 "
        "ELSE MAX(0, CAST(ROUND((julianday({0}) - julianday({1})) * 86400000.0) AS INTEGER)) + 1 END), "
        f"-{DIGITS}) || {{2}}"
    )


class PairComesAfter(Func):
    """Whether a pair of columns, the first two given, comes after another in the order.

    As a comparison of rows, which an index answers in one step, however many have the same first half.
    """

    output_field = BooleanField()
    arity = 4

    def __init__(self, *pairs: Any, is_descending: bool) -> None:
        self.sign = "<" if is_descending else ">"
        super().__init__(*pairs)

    def as_sql(self, compiler: Any, connection: Any, *_: Any, **__: Any) -> tuple[str, tuple[str | int, ...]]:
        """Alike on every database."""
        parts = [compiler.compile(part) for part in self.get_source_expressions()]
        first, second, *others = (sql for sql, _ in parts)
        compared = f"({first}, {second}) {self.sign} ({', '.join(others)})"
        return compared, tuple(value for _, params in parts for value in params)
