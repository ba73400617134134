"""The jobs, people, organizations, configs and providers in the admin."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable
from datetime import timedelta
from typing import Any, ClassVar

from django import forms
from django.contrib import admin, messages
from django.contrib.admin.views.main import ChangeList
from django.contrib.auth.models import User
from django.core.exceptions import ValidationError
from django.db.models import Prefetch, QuerySet
from django.http import HttpRequest
from django.template.defaultfilters import filesizeformat
from django.utils.html import format_html
from django.utils.timesince import timesince

from cloudtrain_site.limits.streams import open_by_user
from cloudtrain_site.limits.uses import refused_lately
from cloudtrain_site.models import LimitUse
from cloudtrain_site.redaction import mask_secrets
from cloudtrain_site.states import Actor, Source
from cloudtrain_site.wording.admin_pages import NOTHING, PlainValues
from cloudtrain_site.wording.values import isolated, money
from jobs import lifecycle
from jobs.admin.deactivation import DeactivatesOrganizations, DeactivatesUsers
from jobs.admin.recorded import MembershipInline, RecordedUserAdmin, RecordsEdits, store_members
from jobs.admin_base import (
    SHOWN,
    OfJobAdmin,
    OfProviderAdmin,
    PlainNamesAdmin,
    ProviderFilter,
    SuperuserAdmin,
    provider_choice,
)
from jobs.configs.store import MaskedError, columns_for
from jobs.costs.texts import cost_texts
from jobs.datasets import admin as upload_admin  # noqa: F401 - register what they are about
from jobs.limits import at_a_limit, with_counts
from jobs.models import Job, JobEvent, Organization, ProviderConfig, TrainingConfig
from jobs.notices.history import SOURCES, title_of
from jobs.permissions import is_superuser
from jobs.providers import label_of
from jobs.queries import status_labels
from jobs.statuses import GROUP_LABELS
from jobs.webhooks import admin as webhook_admin  # noqa: F401 - register what they are about


class JobEventInline(PlainValues[JobEvent], admin.TabularInline[JobEvent, Job]):
    """A job's history, oldest first."""

    model = JobEvent
    fields = ("at", "happened", "actor", "source", "reason", "correlation_id")
    labels: ClassVar = {"at": "when", "actor": "by", "source": "through"}
    shown: ClassVar = {"source": lambda source: SOURCES.get(source, source)}
    readonly_fields = fields
    extra = 0
    can_delete = False
    verbose_name_plural = "history"

    @admin.display(description="what happened")
    def happened(self, event: JobEvent) -> str:
        return title_of(event)

    def has_add_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Only the verbs write history."""
        return False

    def has_view_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """A user who sees the job sees its history."""
        return True


class StatusFilter(admin.SimpleListFilter):
    title = "status"
    parameter_name = "status__exact"

    def lookups(self, request: HttpRequest, model_admin: admin.ModelAdmin[Any]) -> list[tuple[str, str]]:
        return list(GROUP_LABELS.items())

    def queryset(self, request: HttpRequest, queryset: QuerySet[Job]) -> QuerySet[Job]:
        return queryset.filter(status=self.value()) if self.value() else queryset


@admin.register(Job)
class JobAdmin(OfJobAdmin[Job]):
    """Every job, found by id, name, external id or correlation id."""

    why_nothing = "A job appears here as soon as it is submitted."
    list_display = ("named", "organization", "submitted_by", "provider", "shown_status", "shown_progress", "created_at")
    list_filter = (StatusFilter, ProviderFilter, "organization")
    list_select_related = ("organization", "submitted_by")
    search_fields = ("name_key",)
    ordering = ("-id",)
    # Sorted by another column, all jobs would be.
    sortable_by = ()
    actions = ("cancel_jobs",)
    inlines = (JobEventInline,)
    fields = (
        ("id", "shown_status", "stage", "progress"),
        ("config_name", "provider", "external_id", "hardware_profile"),
        ("organization", "submitted_by", "correlation_id", "attempt"),
        ("created_at", "queued_at", "started_at", "completed_at"),
        ("shown_estimate", "shown_cost", "cancel_requested_at", "last_synced_at"),
        "error_message",
        "shown_result",
        "last_log",
        "shown_config",
        "shown_dataloader",
    )
    readonly_fields = (
        *("shown_config", "shown_cost", "shown_dataloader", "shown_estimate", "shown_result", "shown_status", "id"),
    )

    labels: ClassVar = {"config_name": "name", "queued_at": "queued at the provider"}

    def get_changelist_instance(self, request: HttpRequest) -> ChangeList:
        """Return the page; whether its jobs are held is asked for all of them at once."""
        page = super().get_changelist_instance(request)
        self._label(page.result_list, request)
        return page

    def get_object(self, request: HttpRequest, object_id: str, from_field: str | None = None) -> Job | None:
        job = super().get_object(request, object_id, from_field)
        self._label([job] if job else [], request)
        return job

    def _label(self, jobs: Iterable[Any], request: HttpRequest) -> None:
        labels = status_labels(list(jobs), request.user)
        for job in jobs:
            job.status_label = labels[job.pk]

    @admin.display(description="status")
    def shown_status(self, job: Any) -> str:
        """Return its status as the dashboard does: of the waiting ones some are held."""
        return str(job.status_label)

    @admin.display(description="job")
    def named(self, job: Job) -> str:
        return isolated(job)

    @admin.display(description="estimated cost")
    def shown_estimate(self, job: Job) -> str:
        return estimate_in_words(job)

    @admin.display(description="progress")
    def shown_progress(self, job: Job) -> str:
        """Return the percentage; empty: unknown."""
        return "" if job.progress is None else f"{job.progress:.0f} %"

    @admin.display(description="result")
    def shown_result(self, job: Job) -> str:
        return job.result_address or NOTHING

    @admin.display(description="cost")
    def shown_cost(self, job: Job) -> str:
        """Return its cost, or that it is not known and why; of a job that hasn't begun there is none."""
        cost, _ = cost_texts(job)
        return cost or NOTHING if job.cost_doubt is None else f"{cost}: {job.cost_doubt}"

    @admin.display(description="config")
    def shown_config(self, job: Job) -> str:
        return as_json(job.config)

    @admin.display(description="dataloader config")
    def shown_dataloader(self, job: Job) -> str:
        return as_json(job.dataloader_config)

    @admin.action(description="Cancel the selected jobs", permissions=["view"])
    def cancel_jobs(self, request: HttpRequest, jobs: QuerySet[Job]) -> None:
        """Request the cancellation of each, and report how many were accepted."""
        actor = Actor.of(request.user)
        accepted = [lifecycle.request_cancel(job, actor=actor, source=Source.ADMIN) for job in jobs]
        report(
            request,
            won=sum(accepted),
            lost=len(accepted) - sum(accepted),
            done="cancelled",
            too_late="had already ended",
        )


def estimate_in_words(job: Job) -> str:
    cost = job.estimated_cost_range
    if cost and not cost["high"]:
        return "$0.00, own hardware"
    return " to ".join(dict.fromkeys(money(end) for end in (cost or {}).values())) or "unknown"


def as_json(value: Any) -> str:
    """Return `value` as indented JSON for a page, secrets masked."""
    if not value:
        return NOTHING
    return format_html('<pre tabindex="0">{}</pre>', json.dumps(mask_secrets(value), indent=2, ensure_ascii=False))


def report(request: HttpRequest, *, won: int, lost: int, done: str, too_late: str) -> None:
    """Show how many of an action's rows were changed, and why the others were not."""
    if won:
        messages.success(request, f"{won} {done}.")
    if lost:
        messages.warning(request, f"{lost} {too_late}, so nothing was changed for {'it' if lost == 1 else 'them'}.")


admin.site.unregister(User)


REFUSED_LATELY = timedelta(days=1)


class LimitFilter(admin.SimpleListFilter):
    title = "limits"
    parameter_name = "limits"

    def lookups(self, request: HttpRequest, model_admin: admin.ModelAdmin[Any]) -> list[tuple[str, str]]:
        return [("now", "is at a per-person limit"), ("lately", "was refused within a day")]

    def queryset(self, request: HttpRequest, queryset: QuerySet[User]) -> QuerySet[User]:
        if self.value() == "now":
            return at_a_limit(queryset)
        if self.value() == "lately":
            return queryset.filter(pk__in=refused_lately(REFUSED_LATELY).values("user"))
        return queryset


@admin.register(User)
class PlainUserAdmin(DeactivatesUsers, RecordedUserAdmin):
    """Django's own pages of users; the list shows superusers what each has of what one person may have."""

    name_fields = ("username", "first_name", "last_name")
    search_fields = ("username__folded", "first_name__folded", "last_name__folded", "email__folded")
    readonly_fields = ("last_login", "date_joined")
    filter_horizontal = ()  # Django's two lists can't be read in the dark, nor by a screen reader
    list_display = ("username", "email", "is_active", "shown_staff")
    LIMIT_COLUMNS = ("open_jobs", "kept_uploads", "kept_bytes", "streams", "refused")
    streams_of: Counter[int] = Counter()

    def get_list_display(self, request: HttpRequest) -> list[Any]:
        columns = list(super().get_list_display(request))
        return [*columns, *self.LIMIT_COLUMNS] if is_superuser(request.user) else columns

    def get_list_filter(self, request: HttpRequest) -> list[Any]:
        filters = list(super().get_list_filter(request))
        return [LimitFilter, *filters] if is_superuser(request.user) else filters

    def get_queryset(self, request: HttpRequest) -> QuerySet[User]:
        users = super().get_queryset(request)
        if not is_superuser(request.user):
            return users
        self.streams_of = open_by_user()  # the same for whoever looks
        refusals = Prefetch("limit_uses", refused_lately(REFUSED_LATELY).order_by("-refused_at"), "refusals")
        return with_counts(users).prefetch_related(refusals)

    @admin.display(description="staff status", ordering="is_staff")
    def shown_staff(self, user: User) -> str:
        """Return it without Django's red cross: most people aren't staff, and nothing is wrong with that."""
        return "Yes" if user.is_staff else NOTHING

    @admin.display(description="open jobs", ordering="open_jobs")
    def open_jobs(self, user: User) -> int:
        return user.open_jobs  # type: ignore[attr-defined,no-any-return]

    @admin.display(description="uploads", ordering="kept_uploads")
    def kept_uploads(self, user: User) -> int:
        return user.kept_uploads  # type: ignore[attr-defined,no-any-return]

    @admin.display(description="stored", ordering="kept_bytes")
    def kept_bytes(self, user: User) -> str:
        return filesizeformat(user.kept_bytes)  # type: ignore[attr-defined]

    @admin.display
    def streams(self, user: User) -> int:
        return self.streams_of[user.pk]

    @admin.display(description="refused within a day")
    def refused(self, user: User) -> str:
        """Return the limits that the person ran into, the latest first."""
        uses: list[LimitUse] = user.refusals  # type: ignore[attr-defined]
        return ", ".join(f"{use.limit} ({timesince(use.refused_at)} ago)" for use in uses if use.refused_at)


@admin.register(Organization)
class OrganizationAdmin(
    DeactivatesOrganizations, RecordsEdits[Organization], PlainNamesAdmin[Organization], SuperuserAdmin[Organization]
):
    why_nothing = "Jobs, members and limits belong to an organization. Add the first one."
    list_display = ("name", "max_running", "created_at", "closed_at")
    search_fields = ("name__folded",)
    inlines = (MembershipInline,)
    # An organization's settings in the dashboard have these.
    exclude = ("second_factor_required", "default_provider", "default_hardware")

    def save_formset(self, request: HttpRequest, form: Any, formset: Any, change: bool) -> None:
        """Store the members by the verbs."""
        store_members(request, form.instance, formset.forms)
        formset.new_objects, formset.changed_objects, formset.deleted_objects = [], [], []


class TrainingConfigForm(forms.ModelForm[TrainingConfig]):
    """A stored config with its secrets masked; an unchanged mask keeps its secret."""

    def clean(self) -> dict[str, Any]:
        """Encrypt the config's secrets."""
        cleaned: dict[str, Any] = super().clean() or {}
        if {"config", "dataloader_config"} <= cleaned.keys():
            stored = TrainingConfig.objects.filter(pk=self.instance.pk).first()
            try:
                columns = columns_for(cleaned["config"], cleaned["dataloader_config"], stored)
            except MaskedError as error:
                raise ValidationError({"config": str(error)}) from None
            self.instance.sealed = columns.pop("sealed")
            cleaned |= columns
        return cleaned


@admin.register(TrainingConfig)
class TrainingConfigAdmin(RecordsEdits[TrainingConfig], SuperuserAdmin[TrainingConfig]):
    why_nothing = "A config that is stored for an organization appears here, to submit jobs from."
    unrecorded = frozenset(("config", "dataloader_config", "sealed"))
    form = TrainingConfigForm
    list_display = ("name", "organization", "updated_by", "updated_at")
    list_filter = ("organization",)
    search_fields = ("name__folded",)


@admin.register(ProviderConfig)
class ProviderConfigAdmin(RecordsEdits[ProviderConfig], OfProviderAdmin[ProviderConfig]):
    why_nothing = "Add one to set the prices, the default hardware and the webhook of a provider."
    list_display = ("name", "enabled", "webhook_url", "default_hardware", "updated_at")
    labels: ClassVar = {"webhook_url": "webhook URL"}
    shown: ClassVar = {**SHOWN, "name": label_of}
    readonly_fields = ("name",)

    def formfield_for_dbfield(self, db_field: Any, request: HttpRequest, **kwargs: Any) -> Any:
        """Offer the providers without a config, and show the form of the prices."""
        if db_field.name == "name":
            return provider_choice(ProviderConfig.objects.values_list("pk", flat=True))
        if db_field.name == "webhook_url":
            kwargs["label"] = "Webhook URL"
        if db_field.name == "cost_per_second":
            kwargs["help_text"] = f'{db_field.help_text} For example: {{"h100": 0.0012, "a100": 0.0006}}'
        return super().formfield_for_dbfield(db_field, request, **kwargs)

    def get_readonly_fields(self, request: HttpRequest, obj: ProviderConfig | None = None) -> tuple[str, ...]:
        """Make the name, which is the key, read-only in a stored row."""
        return tuple(super().get_readonly_fields(request, obj)) if obj else ()
