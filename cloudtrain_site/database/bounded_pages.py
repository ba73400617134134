"""Pages of large tables."""

from __future__ import annotations

from functools import cached_property
from typing import Any, ClassVar

from django.core.paginator import Paginator
from django.db.models import QuerySet


class BoundedPaginator(Paginator[Any]):
    """Counts no more rows than anybody pages through: to count millions takes longer than to show a page of them."""

    MAX_COUNT: ClassVar[int] = 2_000

    @cached_property
    def count(self) -> int:
        """Return the number of rows, at most MAX_COUNT."""
        rows: QuerySet[Any] = self.object_list  # type: ignore[assignment]
        return rows.order_by()[: self.MAX_COUNT].count()
