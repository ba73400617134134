"""The queue in the admin: entries in the real order with the reasons for their wait, and the limits."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any, ClassVar, cast

from django import forms
from django.contrib import admin, messages
from django.contrib.admin.views.main import ORDER_VAR, SEARCH_VAR, ChangeList
from django.core.exceptions import PermissionDenied
from django.db.models import Case, QuerySet, When
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.template.response import TemplateResponse
from django.utils.html import format_html

from cloudtrain_site.database.beginnings import beginning
from cloudtrain_site.states import Actor, Source
from cloudtrain_site.wording.admin_pages import QuickList
from cloudtrain_site.wording.values import with_moments
from jobs import lifecycle
from jobs.admin.pages import report
from jobs.admin_base import OfJobAdmin, OfProviderAdmin, ProviderFilter, SuperuserAdmin, provider_choice
from jobs.sync.waiting import reasons_at_providers
from queueing import claims, operations, passes
from queueing.budgets import admin as budget_admin  # noqa: F401 - register what they are about
from queueing.limits import queue_state
from queueing.models import MAX_PRIORITY, ProviderLimit, QueueEntry, QueueEntryQuerySet, QueueState
from queueing.operations import ChangedBy, LimitError, may_run_queue
from queueing.statuses import LIVE, TAKES_SLOT, TERMINAL, WAITING, EntryStatus
from queueing.waiting.order import queue_in_order
from queueing.waiting.positions import NOT_WAITING, waiting_facts

#: What runs, what waits for its turn, and what is held.
GROUP = Case(When(status__in=TAKES_SLOT, then=0), When(status=EntryStatus.PENDING, then=1), default=2)
Verb = Callable[[QueueEntry, ChangedBy], bool]


def changed_by(request: HttpRequest, reason: str = "") -> ChangedBy:
    return ChangedBy(Actor.of(request.user), Source.ADMIN, reason)


class StatusFilter(admin.SimpleListFilter):
    """By status. Without one, and without a search, the entries that have not ended: soon all others have."""

    title = "status"
    parameter_name = "status__exact"
    ENDED = "ended"

    def lookups(self, request: HttpRequest, model_admin: admin.ModelAdmin[Any]) -> list[tuple[str, str]]:
        return [(self.ENDED, "Ended"), *EntryStatus.choices]

    def choices(self, changelist: ChangeList) -> Iterator[Any]:
        every, *others = super().choices(changelist)
        yield {**every, "display": "All" if changelist.query else "Not ended"}
        yield from others

    def queryset(self, request: HttpRequest, queryset: QuerySet[QueueEntry]) -> QuerySet[QueueEntry]:
        if self.value() == self.ENDED:
            return queryset.filter(finished_at__isnull=False)
        if self.value():
            return queryset.filter(status=self.value())
        return queryset if request.GET.get(SEARCH_VAR) else queryset.filter(status__in=LIVE)


class QueueOrderList(QuickList):
    """The list in the queue's order, which no column may have, until the reader chooses a column."""

    def get_queryset(self, request: HttpRequest, exclude_parameters: Any = None) -> QuerySet[Any]:
        entries = cast(QueueEntryQuerySet, super().get_queryset(request, exclude_parameters))
        status = self.params.get(StatusFilter.parameter_name)
        if ORDER_VAR in self.params:
            return entries
        if status == StatusFilter.ENDED:
            return entries.order_by("-finished_at", "-id")
        if status in TERMINAL or (status is None and self.query):
            # By the index of one status; the turn is the arrival, and earlier for who has priority.
            return entries.order_by("-turn", "-id")
        ordered = queue_in_order(entries)
        return ordered if status else ordered.annotate(group=GROUP).order_by("group", *ordered.query.order_by)


@admin.register(QueueEntry)
class QueueEntryAdmin(OfJobAdmin[QueueEntry]):
    """Entries in the queue's order."""

    why_nothing = "Each submitted job gets an entry, which says when it starts and why it waits."
    list_display = (
        "named",
        "status",
        "why",
        "position",
        "effective_priority",
        "user",
        "organization",
        "provider",
        "enqueued_at",
    )
    list_filter = (StatusFilter, "organization", ProviderFilter)
    list_select_related = ("job", "user", "organization")
    search_fields = ("job__name_key",)
    ordering = ("turn", "id")
    labels: ClassVar = {"needs_usd": "highest cost", "enqueued_at": "queued at"}
    fields = (
        ("job", "status"),
        "why",
        ("organization", "user", "provider"),
        ("priority", "priority_override", "effective_priority"),
        ("enqueued_at", "not_before", "dispatched_at", "finished_at"),
        ("needs_usd", "attempts", "claimed_on", "lease_until"),
        ("staging_since", "unconfirmed_at"),
        "last_error",
    )
    readonly_fields = ("why",)
    actions = (
        "set_priority",
        "cancel_entries",
        "resubmit_entries",
        "give_up_entries",
        "run_pass_now",
        "pause_queue",
        "resume_queue",
    )

    def about_list(self, request: HttpRequest) -> str:
        """Return which entries the list has, with a link to the others."""
        if request.GET.get(SEARCH_VAR) or StatusFilter.parameter_name in request.GET:
            return ""
        others = f"?{StatusFilter.parameter_name}={StatusFilter.ENDED}"
        sentence = 'What runs comes first, then what waits, then what is held. <a href="{}">Show what has ended</a>'
        return format_html(sentence, others)

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[ChangeList]:
        """Return the list in the queue's order: with fair share no column has it."""
        return QueueOrderList

    def get_changelist_instance(self, request: HttpRequest) -> ChangeList:
        """Add position and reason to the page's entries, all at once: one by one each would cost several queries."""
        page = super().get_changelist_instance(request)
        self._explain(page.result_list, request)
        return page

    def get_object(self, request: HttpRequest, object_id: str, from_field: str | None = None) -> QueueEntry | None:
        entry = super().get_object(request, object_id, from_field)
        self._explain([entry] if entry else [], request)
        return entry

    def _explain(self, entries: Iterable[Any], request: HttpRequest) -> None:
        facts = waiting_facts([entry for entry in entries if entry.status in WAITING], request.user)
        reasons = reasons_at_providers([entry.job for entry in entries])
        for entry in entries:
            entry.facts = facts.get(entry.pk) or {**NOT_WAITING, "waiting_reason": reasons.get(entry.job_id)}

    @admin.display(description="position")
    def position(self, entry: Any) -> int | None:
        """Return the position in the queue; None for an entry that doesn't wait for its turn."""
        position: int | None = entry.facts["queue_position"]
        return position

    @admin.display(description="why it waits")
    def why(self, entry: Any) -> str:
        """Return the reason that its submitter reads too; for an unconfirmed job, what to do."""
        if entry.unconfirmed_at is not None:
            return f"{claims.UNCONFIRMED.capitalize()} ({beginning(entry.last_error)})"
        return with_moments(entry.facts["waiting_reason"] or "")

    @admin.action(description="Set the priority of the selected entries…", permissions=["view"])
    def set_priority(self, request: HttpRequest, entries: QuerySet[QueueEntry]) -> HttpResponse | None:
        """Ask for priority and reason, then override the priority of each."""
        form = PriorityForm(request.POST if "answered" in request.POST else None)
        if not form.is_valid():
            return self._ask_reason(request, entries, form, "Set the priority", "These jobs move in the queue")
        values = form.cleaned_data
        change = changed_by(request, values["reason"])
        done = [
            claims.set_priority(
                entry, values["priority"], actor=change.actor, source=change.source, reason=change.reason
            )
            for entry in entries
        ]
        report(request, won=sum(done), lost=len(done) - sum(done), done="reordered", too_late="had left the queue")
        return None

    @admin.action(description="Cancel the jobs of the selected entries", permissions=["view"])
    def cancel_entries(self, request: HttpRequest, entries: QuerySet[QueueEntry]) -> None:
        """Request the cancellation of each job, and report how many were cancelled."""
        actor = Actor.of(request.user)
        cancelled = [lifecycle.request_cancel(entry.job, actor=actor, source=Source.ADMIN) for entry in entries]
        report(
            request,
            won=sum(cancelled),
            lost=len(cancelled) - sum(cancelled),
            done="cancelled",
            too_late="had already ended",
        )

    @admin.action(description="Submit unconfirmed jobs again (the provider doesn't have them)…", permissions=["view"])
    def resubmit_entries(self, request: HttpRequest, entries: QuerySet[QueueEntry]) -> HttpResponse | None:
        """Ask for the reason, then queue each once more."""
        heading = "Check the provider first: if it has the job, the job is trained and paid for twice"
        return self._decide_unconfirmed(
            request, entries, operations.resubmit, ("Submit again", heading, "submitted again")
        )

    @admin.action(description="Give up unconfirmed jobs…", permissions=["view"])
    def give_up_entries(self, request: HttpRequest, entries: QuerySet[QueueEntry]) -> HttpResponse | None:
        heading = "These jobs end here. Stop them at the provider if it has them"
        return self._decide_unconfirmed(request, entries, operations.end_unconfirmed, ("Give up", heading, "given up"))

    def _decide_unconfirmed(
        self, request: HttpRequest, entries: QuerySet[QueueEntry], verb: Verb, texts: tuple[str, str, str]
    ) -> HttpResponse | None:
        title, heading, done = texts
        form = ReasonForm(request.POST if "answered" in request.POST else None)
        if not form.is_valid():
            return self._ask_reason(request, entries, form, title, heading)
        settled = [verb(entry, changed_by(request, form.cleaned_data["reason"])) for entry in entries]
        lost = len(settled) - sum(settled)
        report(request, won=sum(settled), lost=lost, done=done, too_late="not unconfirmed")
        return None

    def _ask_reason(
        self, request: HttpRequest, entries: QuerySet[QueueEntry], form: forms.Form, title: str, heading: str
    ) -> HttpResponse:
        context = {
            **self.admin_site.each_context(request),
            "title": title,
            "heading": heading,
            "form": form,
            "entries": entries,
            "opts": self.model._meta,
            "selected": request.POST.getlist("_selected_action"),
            "action": request.POST.get("action", ""),
        }
        return TemplateResponse(request, "queueing/admin_reason.html", context)

    @admin.action(description="Start eligible jobs now", permissions=["view"])
    def run_pass_now(self, request: HttpRequest, entries: QuerySet[QueueEntry]) -> None:
        passes.request_pass()
        self.message_user(request, "Eligible jobs start in a moment.")

    @admin.action(description="Pause the whole queue", permissions=["view"])
    def pause_queue(self, request: HttpRequest, entries: QuerySet[QueueEntry]) -> None:
        self._set_paused(request, paused=True)

    @admin.action(description="Resume the whole queue", permissions=["view"])
    def resume_queue(self, request: HttpRequest, entries: QuerySet[QueueEntry]) -> None:
        self._set_paused(request, paused=False)

    def _set_paused(self, request: HttpRequest, *, paused: bool) -> None:
        if not may_run_queue(request.user):
            messages.error(request, "Only a superuser can do this: it affects every organization.")
        elif operations.set_paused(paused, changed_by(request)):
            messages.success(request, f"The queue is {'paused' if paused else 'running'}.")
        else:
            messages.warning(request, f"The queue was already {'paused' if paused else 'running'}.")


@admin.register(QueueState)
class QueueStateAdmin(SuperuserAdmin[QueueState]):
    """The limits, which apply from the next pass on."""

    fields = operations.GENERAL

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        """Lead to the one row those who may see it."""
        if not self.has_view_permission(request):
            raise PermissionDenied
        return redirect("admin:queueing_queuestate_change", queue_state().pk)

    def has_add_permission(self, request: HttpRequest) -> bool:
        """Refuse it: there is exactly one row."""
        return False

    def has_delete_permission(self, request: HttpRequest, obj: QueueState | None = None) -> bool:
        """Refuse it: there is exactly one row."""
        return False

    def save_model(self, request: HttpRequest, obj: QueueState, form: Any, change: bool) -> None:
        """Save by the verb, which records the change and has a pass run."""
        operations.set_general({name: form.cleaned_data[name] for name in form.changed_data}, changed_by(request))


@admin.register(ProviderLimit)
class ProviderLimitAdmin(OfProviderAdmin[ProviderLimit]):
    why_nothing = (
        "No provider has a limit of its own. Add one to run fewer jobs there at once, or to start no new jobs there."
    )
    list_display = ("provider", "max_running", "drained")
    readonly_fields = ("provider",)
    actions = ("drain", "let_in")

    def formfield_for_dbfield(self, db_field: Any, request: HttpRequest, **kwargs: Any) -> Any:
        """Offer the providers without a limit."""
        if db_field.name == "provider":
            return provider_choice(ProviderLimit.objects.values_list("pk", flat=True))
        return super().formfield_for_dbfield(db_field, request, **kwargs)

    @admin.action(description="Drain the selected providers (start no new jobs there)", permissions=["change"])
    def drain(self, request: HttpRequest, rows: QuerySet[ProviderLimit]) -> None:
        """Drain the providers. Running jobs go on, and waiting ones get the reason."""
        self._switch(request, rows, drained=True)

    @admin.action(description="Resume the selected providers", permissions=["change"])
    def let_in(self, request: HttpRequest, rows: QuerySet[ProviderLimit]) -> None:
        """End the drain. The next pass starts the jobs that waited for these providers."""
        self._switch(request, rows, drained=False)

    def _switch(self, request: HttpRequest, rows: QuerySet[ProviderLimit], *, drained: bool) -> None:
        switched = [operations.set_provider(row.pk, {"drained": drained}, changed_by(request)) for row in rows]
        done, before = ("drained", "already drained") if drained else ("taking jobs again", "not drained")
        report(request, won=sum(switched), lost=switched.count(0), done=done, too_late=before)

    def has_delete_permission(self, request: HttpRequest, obj: ProviderLimit | None = None) -> bool:
        """Refuse it: an empty limit has the same effect, and is recorded."""
        return False

    def get_readonly_fields(self, request: HttpRequest, obj: ProviderLimit | None = None) -> tuple[str, ...]:
        """Make the provider, which is the key, read-only in a stored row."""
        return tuple(super().get_readonly_fields(request, obj)) if obj else ()

    def save_model(self, request: HttpRequest, obj: ProviderLimit, form: Any, change: bool) -> None:
        """Save by the verb. A limit that it refuses becomes a message, and nothing is changed."""
        values = {name: form.cleaned_data[name] for name in form.changed_data if name != "provider"}
        try:
            operations.set_provider(obj.pk, values, changed_by(request))
        except LimitError as error:
            messages.error(request, str(error))


class ReasonForm(forms.Form):
    reason = forms.CharField(
        max_length=2000,
        label="Reason",
        help_text="The reason is recorded with the change.",
        widget=forms.Textarea(attrs={"rows": 3, "cols": 60}),
    )


class PriorityForm(ReasonForm):
    priority = forms.IntegerField(
        min_value=0,
        max_value=MAX_PRIORITY,
        label="Priority",
        help_text=f"0 to {MAX_PRIORITY}; ten points equal one hour of waiting.",
    )
    field_order = ("priority", "reason")
