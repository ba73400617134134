"""The reviewer's list of requests in the admin, and the page of one request."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from django.contrib import admin, messages
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils import timezone
from django.utils.html import format_html
from django.utils.timesince import timeuntil

from approvals.admin import request_page
from approvals.admin.bulk import decide_and_report, decide_or_ask
from approvals.admin.filters import AgeFilter, OrganizationFilter, RuleFilter
from approvals.admin.request_page import DecisionForm
from approvals.expiry import LARGE_COLUMNS
from approvals.models import ApprovalRequest
from approvals.queries import URGENT_WITHIN, managed_or_reviewed_by
from approvals.raises import proposed_up_to
from approvals.review import MAX_BULK_DECISIONS
from approvals.reviewers import WITH_REQUIREMENTS, bypasses, decision_objection, may_bypass, request_warnings
from approvals.statuses import RequestStatus, Verdict
from cloudtrain_site.api import remembered
from cloudtrain_site.events.store import current_number
from cloudtrain_site.states import Source
from cloudtrain_site.wording.values import isolated
from jobs.admin.pages import as_json, estimate_in_words
from jobs.admin_base import OfJobAdmin
from jobs.permissions import own_teams
from jobs.providers import label_of
from jobs.providers.hardware_names import hardware_label
from jobs.roles import MANAGERS
from queueing.budgets.outlook import BudgetReader

DECIDED_FIELDS = (("reviewed_by", "reviewed_at"), "review_notes")


@admin.register(ApprovalRequest)
class ApprovalRequestAdmin(OfJobAdmin[ApprovalRequest]):
    """Requests: pending ones first, the most urgent on top; decided by two buttons or by the list's actions."""

    why_nothing = "A job that a rule holds waits here for its reviewers."
    list_display = ("name", "urgency", "status", "requester", "cost", "held_by", "organization")
    list_filter = ("status", OrganizationFilter, RuleFilter, AgeFilter)
    list_select_related = ("job", "requested_by", "organization")
    search_fields = ("job__name_key",)
    ordering = ("is_decided", "expires_at", "-pk")
    # In another order than this one all requests would be read.
    sortable_by = ()
    actions = ("approve_selected", "reject_selected")
    change_form_template = "approvals/admin_request.html"
    change_list_template = "approvals/admin_list.html"
    fields = (
        ("shown_job", "status", "time_left"),
        ("requested_by", "organization", "requested_at", "expires_at"),
        "reason",
        "rules",
        ("estimated_cost", "how_estimated", "provider", "hardware"),
        "limit",
        "changes",
        "notes",
        "last_jobs",
        *DECIDED_FIELDS,
        "config",
    )
    readonly_fields = (
        *("shown_job", "time_left", "rules", "estimated_cost", "how_estimated", "provider", "hardware", "limit"),
        *("changes", "notes", "last_jobs", "config"),
    )

    def get_list_display(self, request: HttpRequest) -> list[Any]:
        """Leave the organization out for a user who manages only one."""
        several = sum(team.role in MANAGERS for team in own_teams(request)) != 1
        return list(self.list_display) if several else [name for name in self.list_display if name != "organization"]

    def get_fields(self, request: HttpRequest, obj: ApprovalRequest | None = None) -> Any:
        """Leave out the fields of the decision while there is none."""
        pending = obj is not None and obj.status == RequestStatus.PENDING
        shown = [list(field) if isinstance(field, tuple) else field for field in DECIDED_FIELDS] if pending else []
        return [field for field in super().get_fields(request, obj) if field not in shown]

    def get_fieldsets(self, request: HttpRequest, obj: ApprovalRequest | None = None) -> Any:
        """Put the whole config into a fieldset of its own, below the buttons."""
        ((_, options),) = super().get_fieldsets(request, obj)
        *needed, config = options["fields"]
        return [(None, {"fields": needed}), ("The whole config", {"fields": [config]})]

    def get_queryset(self, request: HttpRequest) -> QuerySet[ApprovalRequest]:
        """Return the requests of organizations that the user manages or reviews."""
        condition = managed_or_reviewed_by(request.user, own_teams(request))
        rows = admin.ModelAdmin.get_queryset(self, request).filter(condition, job__deleted_at=None)
        # A list page must not read the configs of its fifty requests.
        is_list = request.resolver_match is None or not request.resolver_match.kwargs
        return (rows.defer(*LARGE_COLUMNS) if is_list else rows).prefetch_related(WITH_REQUIREMENTS)

    @admin.display(description="job")
    def name(self, request: ApprovalRequest) -> str:
        return isolated(request.job)

    @admin.display(description="time left")
    def urgency(self, request: ApprovalRequest) -> str:
        """Return roughly how long a reviewer still has, marked when it is less than URGENT_WITHIN."""
        left = request.expires_at - timezone.now()
        if request.status != RequestStatus.PENDING or left <= timedelta():
            return self.time_left(request)
        name = "urgent" if left < URGENT_WITHIN else "in-time"
        return format_html('<span class="{}">{}</span>', name, timeuntil(request.expires_at, depth=1))

    @admin.display(description="by")
    def requester(self, request: ApprovalRequest) -> str:
        return str(request.requested_by or "")

    @admin.display(description="cost")
    def cost(self, request: ApprovalRequest) -> str:
        return self.estimated_cost(request)

    @admin.display(description="rules")
    def held_by(self, request: ApprovalRequest) -> str:
        return ", ".join(requirement.rule_name for requirement in request.requirements.all())

    @admin.display(description="job")
    def shown_job(self, request: ApprovalRequest) -> str:
        """Return its name, with a link to the job's page in the admin."""
        page = reverse("admin:jobs_job_change", args=[request.job_id])
        return format_html('<a href="{}">{}</a>', page, isolated(request.job))

    @admin.display(description="time left")
    def time_left(self, request: ApprovalRequest) -> str:
        """Return how long a reviewer still has; empty when it is decided."""
        if request.status != RequestStatus.PENDING:
            return ""
        return timeuntil(request.expires_at) if request.expires_at > timezone.now() else "expired"

    @admin.display(description="estimated cost")
    def estimated_cost(self, request: ApprovalRequest) -> str:
        return estimate_in_words(request.job)

    @admin.display(description="cost limit")
    def limit(self, request: ApprovalRequest) -> str:
        return request_page.limit_of(request)

    @admin.display(description="provider")
    def provider(self, request: ApprovalRequest) -> str:
        return label_of(request.job.provider)

    @admin.display(description="hardware")
    def hardware(self, request: ApprovalRequest) -> str:
        return hardware_label(request.job.hardware_profile)

    @admin.display(description="how the cost was estimated")
    def how_estimated(self, request: ApprovalRequest) -> str:
        return request_page.how_estimated(request.job)

    @admin.display(description="rules (all count)")
    def rules(self, request: ApprovalRequest) -> str:
        return request_page.requirements(request)

    @admin.display(description="changes since the last approved config")
    def changes(self, request: ApprovalRequest) -> str:
        return request_page.changes(request)

    @admin.display(description="reviewers' notes")
    def notes(self, request: ApprovalRequest) -> str:
        return request_page.notes(request)

    @admin.display(description="the requester's last jobs")
    def last_jobs(self, request: ApprovalRequest) -> str:
        return request_page.last_jobs(request)

    @admin.display(description="config")
    def config(self, request: ApprovalRequest) -> str:
        """Return the whole config with its secrets masked."""
        return as_json(request.job.config)

    def get_urls(self) -> list[URLPattern]:
        decide = self.admin_site.admin_view(self.decide_view)
        return [path("<int:pk>/decide", decide, name="approvals_approvalrequest_decide"), *super().get_urls()]

    def decide_view(self, request: HttpRequest, pk: int) -> HttpResponse:
        """Approve or reject one request, and redirect to its page with the result as a message."""
        page = reverse("admin:approvals_approvalrequest_change", args=[pk])
        approval_request = self.get_queryset(request).filter(pk=pk).first()
        if approval_request is None or request.method != "POST":
            return HttpResponseRedirect(reverse("admin:approvals_approvalrequest_changelist"))
        form = DecisionForm(request.POST)
        if not form.is_valid():
            for sentence in form.sentences():
                messages.error(request, sentence)
            return HttpResponseRedirect(page)
        amounts = {pk: form.cleaned_data["up_to_usd"]}
        verdict = Verdict(form.cleaned_data["decision"])
        decide_and_report(request, [approval_request], verdict, form, amounts, Source.ADMIN)
        return HttpResponseRedirect(page)

    @admin.action(description="Approve the selected requests…", permissions=["view"])
    def approve_selected(self, request: HttpRequest, queryset: QuerySet[ApprovalRequest]) -> HttpResponse | None:
        return self._decide_selected(request, queryset, Verdict.APPROVE)

    @admin.action(description="Reject the selected requests…", permissions=["view"])
    def reject_selected(self, request: HttpRequest, queryset: QuerySet[ApprovalRequest]) -> HttpResponse | None:
        return self._decide_selected(request, queryset, Verdict.REJECT)

    def _decide_selected(
        self, request: HttpRequest, queryset: QuerySet[ApprovalRequest], verdict: Verdict
    ) -> HttpResponse | None:
        """Show a page that asks for the reason; once that is posted, decide each request."""
        chosen = list(queryset[: MAX_BULK_DECISIONS + 1])
        if len(chosen) > MAX_BULK_DECISIONS:
            messages.error(request, f"At most {MAX_BULK_DECISIONS} requests at once. Nothing was decided.")
            return None
        question = decide_or_ask(request, chosen, verdict, Source.ADMIN)
        if question is None:
            return None
        context = {
            **self.admin_site.each_context(request),
            "title": f"{verdict.label} {len(chosen)} request{'s' if len(chosen) > 1 else ''}",
            **question,
            "opts": self.model._meta,
            "selected": [item.pk for item in chosen],
            "action": request.POST.get("action", f"{verdict}_selected"),
        }
        return TemplateResponse(request, "approvals/admin_decide.html", context)

    def changelist_view(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> HttpResponse:
        context = {
            "title": "Approval requests",
            "newest_event": remembered(request, "newest_event", current_number),
            **(extra_context or {}),
        }
        return super().changelist_view(request, context)

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """Show one request; the buttons are there only for users who may decide."""
        # Read before anything else: the event stream brings all changes from here on.
        context = {"newest_event": remembered(request, "newest_event", current_number), **(extra_context or {})}
        approval_request = self.get_queryset(request).filter(pk=object_id).first() if object_id.isdigit() else None
        if approval_request is not None:
            pending = approval_request.status == RequestStatus.PENDING and approval_request.expires_at > timezone.now()
            requester = approval_request.requested_by or "a deleted user"
            is_bypass = bypasses(request.user, approval_request)
            context |= {
                "title": f"{approval_request.job} by {requester}",
                "subtitle": None,
                "request_pending": pending,
                "objection": decision_objection(request.user, approval_request),
                "bypasses": is_bypass,
                "may_bypass": may_bypass(request.user, approval_request),
                "may_reject": decision_objection(request.user, approval_request, Verdict.REJECT) is None,
                "budget": BudgetReader(request.user).of_job(approval_request.job) if pending else None,
                "lack": request_warnings(approval_request) if pending else [],
                "decision_form": DecisionForm(
                    initial={"up_to_usd": proposed_up_to(approval_request)}, needs_reason=is_bypass
                ),
            }
        return super().change_view(request, object_id, form_url, context)
