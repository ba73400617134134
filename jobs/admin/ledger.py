"""The ledger in the admin, read-only: quick with millions of entries."""

from __future__ import annotations

from datetime import time, timedelta
from typing import Any, ClassVar
from zoneinfo import ZoneInfo

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest
from django.urls import reverse
from django.utils import timezone
from django.utils.html import format_html

from cloudtrain_site.wording.admin_pages import NOTHING
from cloudtrain_site.wording.values import day_in_words, duration, isolated, price
from jobs.admin_base import SHOWN, OfJobAdmin, ProviderFilter
from jobs.costs.accounting import A_MICROSECOND
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

    why_nothing = "What a job reserves, spends or gives back appears here."
    list_display = (
        *("kind_and_day", "amount", "at", "organization", "user", "provider", "hardware", "named"),
        *("by", "shown_reason"),
    )
    list_filter = ("kind", DayFilter, ProviderFilter, "organization")
    list_select_related = ("organization", "user", "job")
    search_fields = ("=job__id",)
    search_help_text = "Id of a job"
    ordering = ("-id",)
    about = "The entry that was recorded last comes first. Days are those of the organization."
    sortable_by = ()
    actions = None
    fields = (
        ("kind", "amount", "at", "day"),
        ("job", "organization", "user", "sequence"),
        ("provider", "hardware", "seconds"),
        ("per_second", "priced_on", "source"),
        ("by", "reason"),
    )
    labels: ClassVar = {"seconds": "time", "per_second": "price", "priced_on": "price of"}
    shown: ClassVar = {**SHOWN, "seconds": duration, "per_second": price}

    def get_queryset(self, request: HttpRequest) -> QuerySet[LedgerEntry]:
        return super().get_queryset(request).defer("job__config", "job__dataloader_config")

    @admin.display(description="kind")
    def kind_and_day(self, entry: LedgerEntry) -> str:
        """Return its kind and its day in the organization: a cost over midnight has an entry for each day."""
        return f"{entry.get_kind_display()}, {day_in_words(entry.day)}"

    @admin.display(description="reason")
    def shown_reason(self, entry: LedgerEntry) -> str:
        """Return why it was corrected, or that the rest of its cost is in the next day's entry."""
        zone = ZoneInfo(entry.organization.time_zone if entry.organization else "UTC")
        is_last_of_day = (entry.at + A_MICROSECOND).astimezone(zone).time() == time()
        return entry.reason or ("The part until midnight" if is_last_of_day else NOTHING)

    @admin.display(description="job")
    def named(self, entry: LedgerEntry) -> str:
        page = reverse("admin:jobs_job_change", args=[entry.job_id])
        return format_html('<a href="{}">{}</a>', page, isolated(entry.job))

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[LedgerEntry], search_term: str
    ) -> tuple[QuerySet[LedgerEntry], bool]:
        """Find by the index: Django's `=` compares without regard to case, and so reads all entries."""
        job_id = search_term.strip().lower()
        return (queryset.filter(job_id=job_id) if job_id else queryset), False
