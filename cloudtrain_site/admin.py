"""The background loops with their runs of the last day, and the audit record. Read-only, for superusers."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, ClassVar, Generic, TypeVar

from allauth.account import admin as _account_admin  # noqa: F401 - registers what is taken away below
from allauth.account.models import EmailAddress
from allauth.mfa import admin as _factors_admin  # noqa: F401 - registers what is taken away below
from allauth.mfa.models import Authenticator
from allauth.socialaccount import admin as _social_admin  # noqa: F401 - registers what is taken away below
from allauth.socialaccount.models import SocialAccount, SocialApp, SocialToken
from allauth.usersessions import admin as _sessions_admin  # noqa: F401 - registers what is taken away below
from allauth.usersessions.models import UserSession
from django.contrib import admin
from django.db.models import Model, QuerySet
from django.http import HttpRequest
from django.urls import reverse
from django.utils import timezone
from django.utils.html import format_html, format_html_join
from django.utils.text import capfirst

from cloudtrain_site.audit.models import AuditRecord
from cloudtrain_site.audit.queries import actions_in
from cloudtrain_site.audit.words import action_in_words, changes
from cloudtrain_site.background_tasks import admin_pages as _tasks_admin  # noqa: F401 - register what they are about
from cloudtrain_site.database.bounded_pages import BoundedPaginator
from cloudtrain_site.extensions import kept, loops
from cloudtrain_site.models import Loop, LoopRun
from cloudtrain_site.retention.runs import LOOP as HOUSEKEEPING
from cloudtrain_site.wording.admin_pages import NOTHING, PlainPages
from cloudtrain_site.wording.values import duration, in_words, took

M = TypeVar("M", bound=Model)

# Addresses are confirmed by who reads their mail, sessions are ended and second factors kept on the account page, and
# links to an identity provider are made by signing in there: the library's pages would let an admin forge each by hand.
admin.site.unregister([EmailAddress, UserSession, Authenticator, SocialAccount, SocialApp, SocialToken])


def result_in_words(loop: str, result: Any) -> str:
    """Return what a run of `loop` did: "jobs refreshed: 2"; what it did nothing of is left out."""
    words = dict(loops[loop].counts) if loop in loops else {}
    if loop == HOUSEKEEPING:
        words |= {name: f"{item.label} removed" for name, item in kept.items()}
    counts = result.items() if isinstance(result, dict) else ()
    said = (f"{words.get(name) or name.replace('_', ' ')}: {in_words(count)}" for name, count in counts if count)
    return ", ".join(said) or "nothing to do"


class ReadOnlyAdmin(PlainPages[M], Generic[M]):
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
    why_nothing = "The background process adds its loops when it first starts."
    list_display = (
        *("name", "is_on_time", "state", "interval_seconds", "last_started_at"),
        *("last_duration_ms", "last_outcome", "did", "last_machine", "runs_of_the_day"),
    )
    fields = (
        ("name", "state", "interval_seconds", "wanted_since"),
        ("last_started_at", "last_finished_at", "last_duration_ms", "last_outcome"),
        ("did", "last_machine", "runs_of_the_day"),
        ("lease_until", "last_recorded_at"),
        "last_error",
    )
    labels: ClassVar = {
        "interval_seconds": "every",
        "wanted_since": "enabled since",
        "last_duration_ms": "took",
        "lease_until": "lease ends",
    }
    shown: ClassVar = {"interval_seconds": duration, "last_duration_ms": took, "last_outcome": capfirst}

    @admin.display(description="on time", boolean=True)
    def is_on_time(self, loop: Loop) -> bool | None:
        """Return the value of a green or a red mark; None: the loop is switched off."""
        return not loop.is_late(timezone.now()) if loop.enabled else None

    @admin.display(description="last result")
    def did(self, loop: Loop) -> str:
        return NOTHING if loop.last_result is None else result_in_words(loop.name, loop.last_result)

    @admin.display
    def state(self, loop: Loop) -> str:
        now = timezone.now()
        if not loop.enabled:
            return "Switched off"
        if loop.is_running(now):
            return "Running"
        return "Late" if loop.is_late(now) else "Waiting"

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


class OutcomeFilter(admin.AllValuesFieldListFilter):
    """By outcome, as the column names it."""

    def choices(self, changelist: Any) -> Iterator[Any]:
        return ({**choice, "display": capfirst(choice["display"])} for choice in super().choices(changelist))


@admin.register(LoopRun)
class LoopRunAdmin(ReadOnlyAdmin[LoopRun]):
    """The runs of the last day. Of the runs without work, one a minute is kept."""

    about = "Of the runs that did nothing, one a minute is kept."
    why_nothing = "A run that did something, or failed, appears here for a day."
    list_display = (
        "started_at",
        "loop",
        "outcome",
        "duration_ms",
        "did",
        "short_error",
        "machine",
        "correlation_id",
    )
    fields = (("loop", "started_at", "duration_ms", "outcome"), "did", "error", ("machine", "correlation_id"))
    labels: ClassVar = {"duration_ms": "took"}
    shown: ClassVar = {"duration_ms": took, "outcome": capfirst}
    list_filter = (("loop", LoopFilter), ("outcome", OutcomeFilter), "machine")
    list_select_related = ("loop",)
    search_fields = ("correlation_id", "error")
    ordering = ("-started_at",)

    @admin.display(description="result")
    def did(self, run: LoopRun) -> str:
        return NOTHING if run.result is None else result_in_words(run.loop_id, run.result)

    @admin.display(description="error")
    def short_error(self, run: LoopRun) -> str:
        return run.error[:100]


class ActionFilter(admin.SimpleListFilter):
    title = "change"
    parameter_name = "action"

    def lookups(self, request: HttpRequest, model_admin: admin.ModelAdmin[Any]) -> list[tuple[str, str]]:
        return [(code, action_in_words(code)) for code in actions_in(AuditRecord.objects.all())]

    def queryset(self, request: HttpRequest, queryset: QuerySet[AuditRecord]) -> QuerySet[AuditRecord]:
        return queryset.filter(action=self.value()) if self.value() else queryset


@admin.register(AuditRecord)
class AuditRecordAdmin(ReadOnlyAdmin[AuditRecord]):
    """Who changed which right, rule, limit, key or setting."""

    why_nothing = "Each change of a right, rule, limit, key or setting appears here, with who made it."
    list_display = ("at", "actor", "action", "subject", "organization", "source", "address", "correlation_id")
    list_filter = ("source", ActionFilter)
    fields = (
        ("at", "action", "shown_subject", "organization"),
        ("shown_actor", "source", "address", "correlation_id"),
        "shown_changes",
    )
    shown: ClassVar = {"action": action_in_words}
    labels: ClassVar = {"at": "when", "actor": "by", "action": "change"}
    search_fields = ("actor", "subject", "organization", "=correlation_id", "=address")
    ordering = ("-id",)

    @admin.display(description="by")
    def shown_actor(self, record: AuditRecord) -> str:
        return _linked("user", record.actor_user_id, record.actor)

    @admin.display(description="subject")
    def shown_subject(self, record: AuditRecord) -> str:
        return _linked(record.subject_kind, record.subject_id, record.subject)

    @admin.display(description="values")
    def shown_changes(self, record: AuditRecord) -> str:
        """Return each field with its former and its new value."""
        lines = [
            (name, f"{old} → {new}" if old and new else f"{old}, removed" if old else new)
            for name, old, new in changes(record)
        ]
        return format_html_join("", "<p>{}: {}</p>", lines) or NOTHING


def _linked(kind: str, key: Any, name: str) -> str:
    """Return `name`, with a link to its page where there is still such a row."""
    model = next((model for model in admin.site._registry if model._meta.verbose_name == kind), None)
    if model is None or not _is_there(model, key):
        return name or NOTHING
    page = reverse(f"admin:{model._meta.app_label}_{model._meta.model_name}_change", args=[key])
    return format_html('<a href="{}">{}</a>', page, name)


def _is_there(model: type[Model], key: Any) -> bool:
    try:
        return bool(key) and model._default_manager.filter(pk=key).exists()
    except ValueError:  # of a subject that is known by a word
        return False
