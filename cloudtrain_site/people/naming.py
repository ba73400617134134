"""The places where people's names stand as text, and a pseudonym put in their place."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from typing import Any

from django.apps import apps
from django.db import models
from django.db.models import Q, TextField
from django.db.models.functions import Cast

from cloudtrain_site.audit.retention import opened
from cloudtrain_site.extensions import NamedIn, named_in

#: Rows a transaction: few enough that no other writer waits long.
BATCH = 200
#: What a user's name may consist of: "bob" is no part of "bob2" or "bob@example.org".
_NAME_CHARACTERS = r"\w.@+\-"


@dataclass(frozen=True, slots=True)
class Identity:
    """The texts by which a person is known: the user's name, and mail addresses."""

    texts: tuple[str, ...]

    def replaced(self, value: Any, pseudonym: str) -> Any:
        """Return `value`, a text or what JSON has, with the pseudonym wherever one of the texts stands by itself."""
        if isinstance(value, str):
            return self._pattern.sub(lambda found: pseudonym, value)
        if isinstance(value, dict):
            return {self.replaced(key, pseudonym): self.replaced(item, pseudonym) for key, item in value.items()}
        if isinstance(value, list):
            return [self.replaced(item, pseudonym) for item in value]
        return value

    @property
    def _pattern(self) -> re.Pattern[str]:
        # The longest first: a mail address may begin with the name. A sentence's full stop is no part of a name.
        names = "|".join(re.escape(text) for text in sorted(self.texts, key=len, reverse=True))
        return re.compile(rf"(?<![{_NAME_CHARACTERS}])(?:{names})(?![\w@+\-])(?!\.\w)")

    def anywhere_in(self, column: str) -> Q:
        """Return the condition that a text column may contain one of them. SQLite escapes what is not ASCII in JSON."""
        forms = {form for text in self.texts for form in (text, json.dumps(text)[1:-1])}
        found = Q()
        for form in forms:
            found |= Q(**{f"{column}__contains": form})
        return found


def occurrences(identity: Identity) -> dict[str, int]:
    """Return by table how many rows name the person."""
    counts = {}
    for place in named_in.values():
        count = _rows(place, identity).count()
        if count:
            counts[str(_model(place)._meta.verbose_name_plural)] = count
    return counts


def rename_everywhere(identity: Identity, pseudonym: str) -> int:
    """Put the pseudonym in the place of the person's texts in all registered tables. Returns how many rows changed.

    In short transactions: one that was interrupted is done by a second call.
    """
    return sum(_rename_in(place, identity, pseudonym) for place in named_in.values())


def _rename_in(place: NamedIn, identity: Identity, pseudonym: str) -> int:
    columns, changed, last = (*place.names, *place.sentences), 0, None
    while True:
        rows = _rows(place, identity).order_by("pk")
        batch = list((rows if last is None else rows.filter(pk__gt=last)).values("pk", *columns)[:BATCH])
        if not batch:
            return changed
        with opened():  # some of the tables are closed to everything else
            changed += sum(_rename_row(place, row, identity, pseudonym) for row in batch)
        last = batch[-1]["pk"]


def _rename_row(place: NamedIn, row: dict[str, Any], identity: Identity, pseudonym: str) -> bool:
    def rename(column: str) -> Any:
        if column in place.names:
            return pseudonym if row[column] in identity.texts else row[column]
        return identity.replaced(row[column], pseudonym)

    values = {column: rename(column) for column in (*place.names, *place.sentences)}
    differing = {column: value for column, value in values.items() if value != row[column]}
    if differing:
        models.QuerySet(_model(place)).filter(pk=row["pk"]).update(**differing)
    return bool(differing)


def _model(place: NamedIn) -> type[models.Model]:
    return apps.get_model(place.model)


def _rows(place: NamedIn, identity: Identity) -> models.QuerySet[Any]:
    found = Q()
    as_texts: dict[str, Cast] = {}
    for column in place.names:
        found |= Q(**{f"{column}__in": identity.texts})
    for column in place.sentences:
        as_texts[f"{column}_text"] = Cast(column, TextField())
        found |= identity.anywhere_in(f"{column}_text")
    rows: models.QuerySet[Any] = models.QuerySet(_model(place)).alias(**as_texts).filter(found)
    return rows
