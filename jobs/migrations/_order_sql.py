"""The expressions of two indexes that 0013 made, and 0019 drops: a key of one piece that ends with the id."""

from __future__ import annotations

from typing import Any, ClassVar

from django.db.models import CharField, Func

#: Of milliseconds: thirty thousand years.
DIGITS = 15


class WrittenOut(Func):
    """An SQL template without bound parameters, which an index would not recognize."""

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
