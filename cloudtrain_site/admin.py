"""The background loops with their runs of the last day, and the audit record. Read-only, for superusers."""

from __future__ import annotations

from typing import Any, Generic, TypeVar

from allauth.account import admin as _account_admin  # noqa: F401 - registers what is taken away below
from allauth.account.models import EmailAddress
from allauth.mfa import admin as _factors_admin  # noqa: F401 - registers what is taken away below
from allauth.mfa.models import Authenticator
from allauth.socialaccount import admin as _social_admin  # noqa: F401 - registers what is taken away below
from allauth.socialaccount.models import SocialAccount, SocialApp, SocialToken
from allauth.usersessions import admin as _sessions_admin  # noqa: F401 - registers what is taken away below
from allauth.usersessions.models import UserSession
from django.contrib import admin
from django.db.models import Model
from django.http import HttpRequest
from django.urls import reverse
from django.utils import timezone
from django.utils.html import format_html
from django_q.admin import QueueAdmin

from cloudtrain_site.audit.models import AuditRecord
from cloudtrain_site.database.bounded_pages import BoundedPaginator
from cloudtrain_site.models import Loop, LoopRun

M = TypeVar("M", bound=Model)

# A task is in the queue for milliseconds: between Django's two counts it comes or goes, and the list's script fails.
QueueAdmin.show_full_result_count = False

# Addresses are confirmed by who reads their mail, sessions are ended and second factors kept on the account page, and
# links to an identity provider are made by signing in there: the library's pages would let an admin forge each by hand.
admin.site.unregister([EmailAddress, UserSession, Authenticator, SocialAccount, SocialApp, SocialToken])


class ReadOnlyAdmin(admin.ModelAdmin[M], Generic[M]):
    """A model that superusers see and no user changes."""

    list_per_page = 50
    show_full_result_count = False
    paginator = BoundedPaginator
    actions = None

    def has_module_permission(self, request: HttpRequest) -> bool:
        return bool(request.user.is_active and request.user.is_superuser)

    def has_view_permission(self, request: HttpRequest, obj: M | None = None) -> bool:
        return self.has_module_permission(request)

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """The beat creates the rows."""
        return False

    def has_change_permission(self, request: HttpRequest, obj: M | None = None) -> bool:
        """The runs write them."""
        return False

    def has_delete_permission(self, request: HttpRequest, obj: M | None = None) -> bool:
        """The housekeeping removes them."""
        return False


@admin.register(Loop)
class LoopAdmin(ReadOnlyAdmin[Loop]):
    list_display = (
        *("name", "is_on_time", "state", "every", "last_started_at"),
        *("duration", "last_outcome", "last_result", "last_machine", "runs_of_the_day"),
    )

    @admin.display(description="on time", boolean=True)
    def is_on_time(self, loop: Loop) -> bool | None:
        """Return the value of a green or a red mark; None: the loop is switched off."""
        return not loop.is_late(timezone.now()) if loop.enabled else None

    @admin.display
    def state(self, loop: Loop) -> str:
        now = timezone.now()
        if not loop.enabled:
            return "switched off"
        if loop.is_running(now):
            return "running"
        return "late" if loop.is_late(now) else "waiting"

    @admin.display(ordering="interval_seconds")
    def every(self, loop: Loop) -> str:
        return f"{loop.interval_seconds:g} s"

    @admin.display(description="took", ordering="last_duration_ms")
    def duration(self, loop: Loop) -> str:
        return "" if loop.last_duration_ms is None else f"{loop.last_duration_ms:.0f} ms"

    @admin.display(description="runs")
    def runs_of_the_day(self, loop: Loop) -> str:
        return format_html(
            '<a href="{}?loop__name__exact={}">show</a>', reverse("admin:cloudtrain_site_looprun_changelist"), loop.name
        )


class LoopFilter(admin.RelatedFieldListFilter):
    """By loop. Django calls the columns of the counts by the keys: a loop's has blanks, and a column's name may not."""

    def get_facet_counts(self, pk_attname: str, filtered_qs: Any) -> dict[str, Any]:
        """The counts, by number instead of key."""
        return {f"{index}__c": count for index, count in enumerate(self._by_key(pk_attname, filtered_qs).values())}

    def get_facet_queryset(self, changelist: Any) -> dict[str, Any]:
        """The counts by key, as the page's lines ask for them."""
        counts = super().get_facet_queryset(changelist)
        keys = self._by_key(changelist.pk_attname, None)
        return {key: counts[f"{index}__c"] for index, key in enumerate(keys)}

    def _by_key(self, pk_attname: str, filtered_qs: Any) -> dict[str, Any]:
        counts: dict[str, Any] = super().get_facet_counts(pk_attname, filtered_qs)
        return counts


@admin.register(LoopRun)
class LoopRunAdmin(ReadOnlyAdmin[LoopRun]):
    """The runs of the last day. Of the runs without work, one a minute is kept."""

    list_display = ("started_at", "loop", "outcome", "took", "result", "short_error", "machine", "correlation_id")
    list_filter = (("loop", LoopFilter), "outcome", "machine")
    list_select_related = ("loop",)
    search_fields = ("correlation_id", "error")
    ordering = ("-started_at",)

    @admin.display(ordering="duration_ms")
    def took(self, run: LoopRun) -> str:
        return f"{run.duration_ms:.0f} ms"

    @admin.display(description="error")
    def short_error(self, run: LoopRun) -> str:
        return run.error[:100]


@admin.register(AuditRecord)
class AuditRecordAdmin(ReadOnlyAdmin[AuditRecord]):
    """Who changed which right, rule, limit, key or setting."""

    list_display = ("at", "actor", "action", "subject", "organization", "source", "address", "correlation_id")
    list_filter = ("source", "action")
    search_fields = ("actor", "subject", "organization", "=correlation_id", "=address")
    ordering = ("-id",)
