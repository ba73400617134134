"""A column that follows from another of its row."""

from __future__ import annotations

import string
from typing import Any

from django.db import models

#: Capitals outside ASCII stay: SQLite's own lower() leaves them too, by which the keys of older rows were made.
LOWER = str.maketrans(string.ascii_uppercase, string.ascii_lowercase)


class NameKeyField(models.CharField[str | None, str | None]):
    """The row's `config_name` in lower case, to sort by: in the order of code points on every database.

    Each save of a row writes it, `bulk_create` too. `QuerySet.update` does not, and is not used for it: no job gets
    another name.
    """

    def pre_save(self, model_instance: models.Model, add: bool) -> str:
        key = str(model_instance.config_name).translate(LOWER)  # type: ignore[attr-defined]
        setattr(model_instance, self.attname, key)
        return key

    def db_parameters(self, connection: Any) -> Any:
        """SQLite compares bytes; PostgreSQL would follow the language of its database."""
        parameters = super().db_parameters(connection)
        return {**parameters, "collation": "C"} if connection.vendor == "postgresql" else parameters
