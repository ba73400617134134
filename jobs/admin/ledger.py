"""The ledger in the admin, read-only: quick with millions of entries."""

from __future__ import annotations

from datetime import timedelta
from typing import Any, ClassVar

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest
from django.utils import timezone

from jobs.admin_base import OfJobAdmin, ProviderFilter
from jobs.models import LedgerEntry


class DayFilter(admin.SimpleListFilter):
    title = "day"
    parameter_name = "days"
    DAYS: ClassVar = {"1": "Today", "7": "The last 7 days", "31": "The last 31 days", "366": "The last 366 days"}

    def lookups(self, request: HttpRequest, model_admin: admin.ModelAdmin[Any]) -> list[tuple[str, str]]:
        return list(self.DAYS.items())

    def queryset(self, request: HttpRequest, queryset: QuerySet[LedgerEntry]) -> QuerySet[LedgerEntry]:
        days = self.value()
        if days not in self.DAYS:
            return queryset
        return queryset.filter(day__gt=timezone.now().date() - timedelta(days=int(days)))


@admin.register(LedgerEntry)
class LedgerEntryAdmin(OfJobAdmin[LedgerEntry]):
    """Every amount that was reserved, spent or corrected, the newest first."""

    list_display = (
        *("id", "at", "kind", "amount", "organization", "user", "provider", "hardware", "job_id"),
        *("by", "reason"),
    )
    list_filter = ("kind", DayFilter, ProviderFilter, "organization")
    list_select_related = ("organization", "user")
    search_fields = ("=job__id",)
    search_help_text = "Id of a job"
    ordering = ("-id",)
    sortable_by = ()
    actions = None

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[LedgerEntry], search_term: str
    ) -> tuple[QuerySet[LedgerEntry], bool]:
        """Find by the index: Django's `=` compares without regard to case, and so reads all entries."""
        job_id = search_term.strip().lower()
        return (queryset.filter(job_id=job_id) if job_id else queryset), False
