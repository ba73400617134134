"""The queue in the admin: the waiting list in its real order, with the reasons."""

from __future__ import annotations

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest

from cloudtrain_site.states import Actor, Source
from jobs import lifecycle
from jobs.admin import report
from jobs.admin_base import ScopedAdmin, SuperuserAdmin
from queueing import passes
from queueing.explain import waiting_reasons
from queueing.models import QueueEntry, QueueState
from queueing.places import positions
from queueing.statuses import WAITING


@admin.register(QueueEntry)
class QueueEntryAdmin(ScopedAdmin[QueueEntry]):
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
    actions = ("cancel_entries", "run_pass_now")

    @admin.display(description="place")
    def place(self, entry: QueueEntry) -> int | None:
        """Where it stands; empty when it doesn't wait for its turn."""
        return positions([entry.pk]).get(entry.pk)

    @admin.display(description="why it waits")
    def why(self, entry: QueueEntry) -> str:
        """The sentence that its submitter reads too."""
        return waiting_reasons([entry])[entry.pk] if entry.status in WAITING else ""

    @admin.action(description="Cancel the jobs of the selected entries", permissions=["view"])
    def cancel_entries(self, request: HttpRequest, entries: QuerySet[QueueEntry]) -> None:
        """Ask for each job to be stopped, and say how many were."""
        actor = Actor.of(request.user)
        asked = [lifecycle.request_cancel(entry.job, actor=actor, source=Source.ADMIN) for entry in entries]
        report(request, won=sum(asked), lost=len(asked) - sum(asked), done="cancelled", too_late="had already ended")

    @admin.action(description="Run a queue pass now", permissions=["view"])
    def run_pass_now(self, request: HttpRequest, entries: QuerySet[QueueEntry]) -> None:
        """Have a pass run without waiting for the tick."""
        passes.request_pass()
        self.message_user(request, "A queue pass was asked for.")


@admin.register(QueueState)
class QueueStateAdmin(SuperuserAdmin[QueueState]):
    """The limits, in force from the next pass on."""

    list_display = ("__str__", "max_running", "max_running_per_user", "max_running_per_organization", "paused")
    fields = ("max_running", "max_running_per_user", "max_running_per_organization", "paused")

    def has_add_permission(self, request: HttpRequest) -> bool:
        """There is one row."""
        return False

    def has_delete_permission(self, request: HttpRequest, obj: QueueState | None = None) -> bool:
        """There is one row."""
        return False

    def save_model(self, request: HttpRequest, obj: QueueState, form: object, change: bool) -> None:
        """Save the limits alone, and let a pass act on them."""
        obj.save(update_fields=self.fields)
        passes.request_pass()
