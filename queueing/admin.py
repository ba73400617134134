"""The queue in the admin: the waiting list in its real order, with the reasons."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

from django import forms
from django.contrib import admin, messages
from django.contrib.admin.views.main import ORDER_VAR, ChangeList
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse

from cloudtrain_site.states import Actor, Source
from jobs import lifecycle
from jobs.admin import report
from jobs.admin_base import OfJobAdmin, SuperuserAdmin
from jobs.providers import NAMES
from queueing import claims, operations, passes
from queueing.models import MAX_PRIORITY, LimitChange, ProviderLimit, QueueEntry, QueueEntryQuerySet, QueueState
from queueing.operations import ChangedBy, LimitError, may_run_queue
from queueing.statuses import WAITING
from queueing.waiting.order import queue_in_order
from queueing.waiting.positions import NOT_WAITING, waiting_facts

Verb = Callable[[QueueEntry, ChangedBy], bool]


def changed_by(request: HttpRequest, reason: str = "") -> ChangedBy:
    """The request's user, in the admin."""
    return ChangedBy(Actor.of(request.user), Source.ADMIN, reason)


class QueueOrderList(ChangeList):
    """The list in its real order, which is not always one of the columns', until the reader asks for another one."""

    def get_queryset(self, request: HttpRequest, exclude_parameters: Any = None) -> QuerySet[Any]:
        entries = super().get_queryset(request, exclude_parameters)
        return entries if ORDER_VAR in self.params else queue_in_order(cast(QueueEntryQuerySet, entries))


@admin.register(QueueEntry)
class QueueEntryAdmin(OfJobAdmin[QueueEntry]):
    """Entries in the order in which they go."""

    list_display = (
        "job",
        "status",
        "effective_priority",
        "place",
        "why",
        "user",
        "organization",
        "provider",
        "enqueued_at",
    )
    list_filter = ("status", "organization", "provider")
    list_select_related = ("job", "user", "organization")
    search_fields = ("=job__id", "job__config_name", "user__username")
    ordering = ("turn", "id")
    actions = (
        "set_priority",
        "cancel_entries",
        "resubmit_entries",
        "give_up_entries",
        "run_pass_now",
        "pause_queue",
        "resume_queue",
    )

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[ChangeList]:
        """With fair share it has an order that no column has."""
        return QueueOrderList

    def get_changelist_instance(self, request: HttpRequest) -> ChangeList:
        """The page, its entries told of all at once: one by one they would cost several queries each."""
        page = super().get_changelist_instance(request)
        facts = waiting_facts([entry for entry in page.result_list if entry.status in WAITING], request.user)
        for entry in page.result_list:
            entry.facts = facts.get(entry.pk, NOT_WAITING)
        return page

    @admin.display(description="place")
    def place(self, entry: Any) -> int | None:
        """Where it stands; empty when it doesn't wait for its turn."""
        place: int | None = entry.facts["queue_position"]
        return place

    @admin.display(description="why it waits")
    def why(self, entry: Any) -> str:
        """The sentence that its submitter reads too; for a job that nobody can tell of, what to do."""
        if entry.unconfirmed_at is not None:
            return f"{claims.UNCONFIRMED.capitalize()} ({entry.last_error})"
        return entry.facts["waiting_reason"] or ""

    @admin.action(description="Set the priority of the selected entries…", permissions=["view"])
    def set_priority(self, request: HttpRequest, entries: QuerySet[QueueEntry]) -> HttpResponse | None:
        """Ask for priority and reason, then override each."""
        form = PriorityForm(request.POST if "answered" in request.POST else None)
        if not form.is_valid():
            return self._ask_reason(
                request, entries, form, "Set the priority", "These jobs get another place in the queue"
            )
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
        """Ask for each job to be stopped, and say how many were."""
        actor = Actor.of(request.user)
        cancelled = [lifecycle.request_cancel(entry.job, actor=actor, source=Source.ADMIN) for entry in entries]
        report(
            request,
            won=sum(cancelled),
            lost=len(cancelled) - sum(cancelled),
            done="cancelled",
            too_late="had already ended",
        )

    @admin.action(description="Unconfirmed: submit again, the provider doesn't have it…", permissions=["view"])
    def resubmit_entries(self, request: HttpRequest, entries: QuerySet[QueueEntry]) -> HttpResponse | None:
        """Ask for the reason, then have each take its turn once more."""
        heading = "Only when you have looked: a job that the provider has after all would be trained, and paid, twice"
        return self._decide_unconfirmed(
            request, entries, operations.resubmit, ("Submit again", heading, "submitted again")
        )

    @admin.action(description="Unconfirmed: give up…", permissions=["view"])
    def give_up_entries(self, request: HttpRequest, entries: QuerySet[QueueEntry]) -> HttpResponse | None:
        """Ask for the reason, then end each job."""
        heading = "These jobs end here: stop what the provider may have of them"
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
        report(request, won=sum(settled), lost=lost, done=done, too_late="not, or no longer, unconfirmed")
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

    @admin.action(description="Run a queue pass now", permissions=["view"])
    def run_pass_now(self, request: HttpRequest, entries: QuerySet[QueueEntry]) -> None:
        """Have a pass run without waiting for the tick."""
        passes.request_pass()
        self.message_user(request, "A queue pass was asked for.")

    @admin.action(description="Pause the whole queue", permissions=["view"])
    def pause_queue(self, request: HttpRequest, entries: QuerySet[QueueEntry]) -> None:
        """Start nothing more."""
        self._set_paused(request, paused=True)

    @admin.action(description="Resume the whole queue", permissions=["view"])
    def resume_queue(self, request: HttpRequest, entries: QuerySet[QueueEntry]) -> None:
        """Let it go on."""
        self._set_paused(request, paused=False)

    def _set_paused(self, request: HttpRequest, *, paused: bool) -> None:
        if not may_run_queue(request.user):
            messages.error(request, "This touches every organization: a superuser does it.")
        elif operations.set_paused(paused, changed_by(request)):
            messages.success(request, f"The queue is {'paused' if paused else 'going on'}.")
        else:
            messages.warning(request, f"The queue was {'paused' if paused else 'going'} already.")


@admin.register(QueueState)
class QueueStateAdmin(SuperuserAdmin[QueueState]):
    """The limits, in force from the next pass on."""

    list_display = ("__str__", *operations.GENERAL)
    fields = operations.GENERAL

    def has_add_permission(self, request: HttpRequest) -> bool:
        """There is one row."""
        return False

    def has_delete_permission(self, request: HttpRequest, obj: QueueState | None = None) -> bool:
        """There is one row."""
        return False

    def save_model(self, request: HttpRequest, obj: QueueState, form: Any, change: bool) -> None:
        """Through the verb, so that who changed what is on record and a pass obeys."""
        operations.set_general({name: form.cleaned_data[name] for name in form.changed_data}, changed_by(request))


@admin.register(ProviderLimit)
class ProviderLimitAdmin(SuperuserAdmin[ProviderLimit]):
    """What each provider is given, and whether it is drained."""

    list_display = ("provider", "max_running", "drained")
    actions = ("drain", "let_in")

    def formfield_for_dbfield(self, db_field: Any, request: HttpRequest, **kwargs: Any) -> Any:
        """Those that there are, to choose from."""
        if db_field.name == "provider":
            return forms.ChoiceField(choices=[(name, name) for name in NAMES])
        return super().formfield_for_dbfield(db_field, request, **kwargs)

    @admin.action(description="Drain: start nothing new at the selected providers", permissions=["change"])
    def drain(self, request: HttpRequest, rows: QuerySet[ProviderLimit]) -> None:
        """What runs there runs on; who waits reads why."""
        self._switch(request, rows, drained=True)

    @admin.action(description="Let the selected providers take jobs again", permissions=["change"])
    def let_in(self, request: HttpRequest, rows: QuerySet[ProviderLimit]) -> None:
        """The next pass starts what waited for them."""
        self._switch(request, rows, drained=False)

    def _switch(self, request: HttpRequest, rows: QuerySet[ProviderLimit], *, drained: bool) -> None:
        switched = [operations.set_provider(row.pk, {"drained": drained}, changed_by(request)) for row in rows]
        done, before = ("drained", "drained already") if drained else ("taking jobs again", "not drained")
        report(request, won=sum(switched), lost=switched.count(0), done=done, too_late=before)

    def has_delete_permission(self, request: HttpRequest, obj: ProviderLimit | None = None) -> bool:
        """An empty number says the same, and leaves its line on record."""
        return False

    def get_readonly_fields(self, request: HttpRequest, obj: ProviderLimit | None = None) -> tuple[str, ...]:
        """Its name is what it is known by."""
        return ("provider",) if obj else ()

    def save_model(self, request: HttpRequest, obj: ProviderLimit, form: Any, change: bool) -> None:
        """Through the verb; what it refuses is said, and nothing is changed."""
        values = {name: form.cleaned_data[name] for name in form.changed_data if name != "provider"}
        try:
            operations.set_provider(obj.pk, values, changed_by(request))
        except LimitError as error:
            messages.error(request, str(error))


@admin.register(LimitChange)
class LimitChangeAdmin(SuperuserAdmin[LimitChange]):
    """Who changed which limit, newest first. Only to be read."""

    list_display = ("at", "name", "old", "new", "actor", "source", "reason")
    list_filter = ("name",)

    def has_add_permission(self, request: HttpRequest) -> bool:
        """Lines are written by the verbs."""
        return False

    def has_change_permission(self, request: HttpRequest, obj: LimitChange | None = None) -> bool:
        """What is on record stays as it is."""
        return False

    def has_delete_permission(self, request: HttpRequest, obj: LimitChange | None = None) -> bool:
        """What is on record stays."""
        return False


class ReasonForm(forms.Form):
    """Why."""

    reason = forms.CharField(
        max_length=2000,
        label="Reason",
        help_text="It goes on record with the change.",
        widget=forms.Textarea(attrs={"rows": 3, "cols": 60}),
    )


class PriorityForm(ReasonForm):
    """A new priority, and why."""

    priority = forms.IntegerField(
        min_value=0,
        max_value=MAX_PRIORITY,
        label="Priority",
        help_text=f"0 to {MAX_PRIORITY}; ten points are worth one hour of waiting.",
    )
    field_order = ("priority", "reason")
