"""A column that follows from another of its row."""

from __future__ import annotations

from typing import Any

from django.db import models

from cloudtrain_site.database.folding import folded


class NameKeyField(models.CharField[str | None, str | None]):
    """The row's `config_name` folded, to sort by and to search: in the order of code points on every database.

    The key of a long name may be longer than the column; then its end is left out.

    Each save of a row writes it, `bulk_create` too. `QuerySet.update` does not, and is not used for it: no job gets
    another name.
    """

    def pre_save(self, model_instance: models.Model, add: bool) -> str:
        key = folded(str(model_instance.config_name))[: self.max_length]  # type: ignore[attr-defined]
        setattr(model_instance, self.attname, key)
        return key

    def db_parameters(self, connection: Any) -> Any:
        """SQLite compares bytes; PostgreSQL would follow the language of its database."""
        parameters = super().db_parameters(connection)
        return {**parameters, "collation": "C"} if connection.vendor == "postgresql" else parameters
