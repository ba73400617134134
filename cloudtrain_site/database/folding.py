"""Texts as a search compares them: upper and lower case alike, and composed letters like those in parts.

The same on both databases: by itself SQLite's LIKE knows the capitals of ASCII alone, and neither database takes a
letter with its accent for the same letter followed by the accent.
"""

from __future__ import annotations

from typing import Any
from unicodedata import normalize

from django.db.backends.signals import connection_created
from django.db.models import CharField, TextField, Transform

SQLITE_FUNCTION = "cloudtrain_folded"


def folded(text: str) -> str:
    """Return `text` as it is compared: Unicode's caseless matching, with compatible letters for one (NFKC)."""
    if text.isascii():
        return text.lower()
    return normalize("NFKC", normalize("NFKC", text).casefold())


class Folded(Transform):
    """`name__folded` of a column, for tables of people and the like: it is worked out for each row.

    PostgreSQL's own functions come close to `folded`; the letters that casefold makes two of are only ß here.
    """

    lookup_name = "folded"
    function = SQLITE_FUNCTION
    output_field = TextField()

    def as_postgresql(self, compiler: Any, connection: Any, **context: Any) -> Any:
        template = "REPLACE(REPLACE(NORMALIZE(LOWER(NORMALIZE(%(expressions)s, NFKC)), NFKC), 'ß', 'ss'), 'ς', 'σ')"
        return self.as_sql(compiler, connection, template=template, **context)


def register_folding() -> None:
    """Make `folded` a transform of text columns, and a function of each SQLite connection."""
    for field in (CharField, TextField):
        field.register_lookup(Folded)
    connection_created.connect(_give_function, dispatch_uid="cloudtrain.folded")


def _give_function(connection: Any, **kwargs: Any) -> None:
    # Given once more, it would have SQLite compile all statements anew.
    if connection.vendor == "sqlite" and not getattr(connection, "is_reused", False):
        connection.connection.create_function(
            SQLITE_FUNCTION, 1, lambda text: None if text is None else folded(text), deterministic=True
        )
