"""Django-Q's own pages of tasks and schedules, in plain words."""

from __future__ import annotations

from typing import Any, ClassVar, cast

from django.contrib import admin
from django.contrib.admin.views.main import ChangeList
from django.db.models import OuterRef, QuerySet, Subquery
from django.db.models.functions import Coalesce
from django.http import HttpRequest, HttpResponse
from django.urls import reverse
from django.utils.html import format_html
from django.utils.safestring import SafeString
from django.utils.text import capfirst
from django_q.admin import FailAdmin, QueueAdmin, ScheduleAdmin, TaskAdmin
from django_q.models import Failure, OrmQ, Schedule, Success, Task

from cloudtrain_site.models import Loop
from cloudtrain_site.wording.admin_pages import NOTHING, PlainPages, QuickList, filled_in_words
from cloudtrain_site.wording.values import duration, moment_on_page, took

FOREVER = -1


def python_in_words(value: Any) -> str:
    return filled_in_words(value) if isinstance(value, (str, int, float, list, tuple, dict)) else str(value)


class Named:
    """A model's options, with its name in lower case."""

    def __init__(self, options: Any) -> None:
        self._options = options
        self.verbose_name = str(options.verbose_name).lower()
        self.verbose_name_plural = str(options.verbose_name_plural).lower()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._options, name)


class PlainlyNamedList(QuickList):
    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.opts = cast(Any, Named(self.opts))


class OfDjangoQ(PlainPages[Any]):
    """Named in lower case, and without the library's hints for those who write tasks."""

    labels: ClassVar = {
        "args": "arguments",
        "attempt_count": "attempts",
        "cron": "cron expression",
        "func": "function",
        "id": "id",
        "intended_date_kwarg": "argument for the intended date",
        "key": "cluster",
        "kwargs": "named arguments",
        "lock": "locked until",
        "next_run": "next run",
        "schedule_type": "schedule",
        "task": "id of the last task",
    }
    hints: ClassVar = {
        "minutes": "Of a schedule by minutes.",
        "repeats": "-1: forever.",
    }
    shown: ClassVar = {"args": python_in_words, "kwargs": python_in_words, "result": python_in_words}

    def __init__(self, model: type[Any], site: admin.AdminSite) -> None:
        super().__init__(model, site)
        self.opts = cast(Any, Named(model._meta))

    def get_form(self, request: HttpRequest, obj: Any = None, change: bool = False, **kwargs: Any) -> Any:
        columns = [field.name for field in self.opts.get_fields()]
        labels = {name: capfirst(label) for name, label in self.labels.items()}
        hints = {name: self.hints.get(name, "") for name in columns}
        if getattr(obj, "next_run", None):
            hints["next_run"] = format_html("In your time zone, as stored: {}", moment_on_page(obj.next_run))
        return super().get_form(request, obj, change, **{"labels": labels, "help_texts": hints, **kwargs})

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[ChangeList]:
        return PlainlyNamedList


class Ended(OfDjangoQ):
    """A task that has ended, which nobody changes."""

    fields = (
        ("name", "group", "cluster"),
        ("started", "stopped", "time_taken"),
        ("func", "args", "kwargs"),
        ("hook", "attempt_count"),
        "id",
        "result",
    )

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Only the workers write it."""
        return False

    @admin.display(description="took")
    def time_taken(self, task: Any) -> str:
        return took(task.time_taken() * 1000)


class SuccessAdmin(Ended, TaskAdmin):  # type: ignore[misc]
    why_nothing = "A background task that has ended well appears here for a time."


class FailureAdmin(Ended, FailAdmin):  # type: ignore[misc]
    why_nothing = "A background task that fails appears here with its error. It can be run again from here."


class SchedulesAdmin(OfDjangoQ, ScheduleAdmin):  # type: ignore[misc]
    why_nothing = "The background process adds its loops when it first starts."
    list_display = ("name", "func", "how_often", "repeats", "cluster", "next_run", "last_run", "outcome")
    list_display_links = ("name",)
    list_filter = ("cluster",)
    shown: ClassVar = {**OfDjangoQ.shown, "repeats": lambda times: "forever" if times == FOREVER else times}

    def get_queryset(self, request: HttpRequest) -> QuerySet[Schedule]:
        """Add when its last task started, or its loop, as old tasks are removed; and how often the loop runs."""
        task = Task.objects.filter(id=OuterRef("task")).values("started")
        loop = Loop.objects.filter(name=OuterRef("name")).values("last_started_at")
        every = Subquery(Loop.objects.filter(name=OuterRef("name")).values("interval_seconds"))
        schedules = super().get_queryset(request).annotate(began=Coalesce(Subquery(task), Subquery(loop)), every=every)
        return cast(QuerySet[Schedule], schedules)

    @admin.display(description="schedule", ordering="schedule_type")
    def how_often(self, schedule: Any) -> str:
        """Return the interval of a loop, whose expression says it to few; of another schedule what it is run by."""
        if schedule.every is not None:
            return f"every {duration(schedule.every)}"
        if schedule.schedule_type == Schedule.MINUTES and schedule.minutes:
            return f"every {duration(schedule.minutes * 60)}"
        return str(schedule.cron or schedule.get_schedule_type_display())

    @admin.display(description="last run")
    def last_run(self, schedule: Any) -> SafeString | str:
        """Return when it last ran, with a link to its task while that is kept."""
        if schedule.began is None:
            return NOTHING if schedule.task else "not yet"
        began = moment_on_page(schedule.began)
        if schedule.task_id is None:
            return began
        kind = "success" if schedule.task_success else "failure"
        page = reverse(f"admin:django_q_{kind}_change", args=[schedule.task_id])
        return format_html('<a href="{}">{}</a>', page, began)

    @admin.display
    def outcome(self, schedule: Any) -> str:
        return NOTHING if schedule.task_success is None else "Succeeded" if schedule.task_success else "Failed"

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """Show it under the name that the list has."""
        found = self.get_object(request, object_id)
        named = {"subtitle": found.name} if found and found.name else {}
        return super().change_view(request, object_id, form_url, {**named, **(extra_context or {})})


class QueuedAdmin(OfDjangoQ, QueueAdmin):  # type: ignore[misc]
    why_nothing = "A task waits here until a worker takes it, usually for less than a second."
    #: A task is in the queue for milliseconds: between Django's two counts it comes or goes, and the script fails.
    show_full_result_count = False


_PAGES = {Schedule: SchedulesAdmin, Success: SuccessAdmin, Failure: FailureAdmin, OrmQ: QueuedAdmin}
for model, pages in _PAGES.items():
    # With Redis as the broker the library has no page of queued tasks.
    if admin.site.is_registered(model):
        admin.site.unregister(model)
        admin.site.register(model, pages)
