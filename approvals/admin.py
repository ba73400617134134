"""The reviewer's desk."""

from __future__ import annotations

from typing import Any

from django.contrib import admin, messages
from django.db.models import QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils import timezone
from django.utils.timesince import timeuntil

from approvals import decisions
from approvals.forms import DecisionForm
from approvals.models import ApprovalRequest, ApprovalRule
from approvals.queries import config_changes
from approvals.reviewers import why_not
from approvals.statuses import RequestStatus
from cloudtrain_site.api import asker
from cloudtrain_site.states import Source
from jobs.admin import as_json
from jobs.admin_base import ScopedAdmin, SuperuserAdmin

VERBS = {"approve": decisions.approve, "reject": decisions.reject}
DONE = {"approve": "approved", "reject": "rejected"}


@admin.register(ApprovalRequest)
class ApprovalRequestAdmin(ScopedAdmin[ApprovalRequest]):
    """Requests: pending first, the most urgent on top, decided by two buttons or by the list's actions."""

    list_display = ("shown_job", "status", "requested_by", "organization", "estimated_cost", "rule_name", "time_left")
    list_filter = ("status", "organization", "rule_name")
    list_select_related = ("job", "requested_by", "organization")
    search_fields = ("=job__id", "job__config_name", "requested_by__username", "=job__correlation_id")
    ordering = ("-pk",)
    actions = ("approve_selected", "reject_selected")
    change_form_template = "approvals/admin_request.html"
    fields = (
        ("shown_job", "status", "time_left"),
        ("requested_by", "organization", "requested_at", "expires_at"),
        "reason",
        ("rule_name", "estimated_cost", "provider", "hardware"),
        ("reviewed_by", "reviewed_at"),
        "review_notes",
        "changes",
        "config",
    )
    readonly_fields = ("shown_job", "time_left", "estimated_cost", "provider", "hardware", "changes", "config")

    @admin.display(description="job")
    def shown_job(self, request: ApprovalRequest) -> str:
        """Name and id."""
        return f"{request.job.config_name} ({request.job_id})"

    @admin.display(description="time left")
    def time_left(self, request: ApprovalRequest) -> str:
        """How long a reviewer still has; empty when it is decided."""
        if request.status != RequestStatus.PENDING:
            return ""
        return timeuntil(request.expires_at) if request.expires_at > timezone.now() else "expired"

    @admin.display(description="estimated cost")
    def estimated_cost(self, request: ApprovalRequest) -> str:
        """In US dollars."""
        cost = request.job.estimated_cost_usd
        return "unknown" if cost is None else f"${cost:.2f}"

    @admin.display(description="provider")
    def provider(self, request: ApprovalRequest) -> str:
        """Where it would run."""
        return request.job.provider

    @admin.display(description="hardware")
    def hardware(self, request: ApprovalRequest) -> str:
        """On what it would run."""
        return request.job.hardware_profile

    @admin.display(description="changed since the last approved config")
    def changes(self, request: ApprovalRequest) -> str:
        """By key, old and new."""
        changed = config_changes(request)
        return as_json(changed) if changed else "nothing of theirs was approved before, or nothing differs"

    @admin.display(description="config")
    def config(self, request: ApprovalRequest) -> str:
        """The whole config, secrets masked."""
        return as_json(request.job.config)

    def get_urls(self) -> list[URLPattern]:
        """The two buttons have an address of their own."""
        decide = self.admin_site.admin_view(self.decide_view)
        return [path("<int:pk>/decide", decide, name="approvals_approvalrequest_decide"), *super().get_urls()]

    def decide_view(self, request: HttpRequest, pk: int) -> HttpResponse:
        """Approve or reject one request, and go back to its page with what happened."""
        page = reverse("admin:approvals_approvalrequest_change", args=[pk])
        found = self.get_queryset(request).filter(pk=pk).first()
        if found is None or request.method != "POST":
            return HttpResponseRedirect(reverse("admin:approvals_approvalrequest_changelist"))
        form = DecisionForm(request.POST)
        if not form.is_valid():
            for sentence in form.sentences():
                messages.error(request, sentence)
            return HttpResponseRedirect(page)
        self._decide(request, [found], form.cleaned_data["decision"], form.cleaned_data["reason"])
        return HttpResponseRedirect(page)

    @admin.action(description="Approve the selected requests…", permissions=["view"])
    def approve_selected(self, request: HttpRequest, found: QuerySet[ApprovalRequest]) -> HttpResponse | None:
        """Ask for a note, then approve each."""
        return self._decide_selected(request, found, "approve")

    @admin.action(description="Reject the selected requests…", permissions=["view"])
    def reject_selected(self, request: HttpRequest, found: QuerySet[ApprovalRequest]) -> HttpResponse | None:
        """Ask for the reason, then reject each."""
        return self._decide_selected(request, found, "reject")

    def _decide_selected(
        self, request: HttpRequest, found: QuerySet[ApprovalRequest], decision: str
    ) -> HttpResponse | None:
        answered = "decision" in request.POST
        form = DecisionForm(request.POST if answered else None, initial={"decision": decision})
        if answered and form.is_valid():
            self._decide(request, list(found), decision, form.cleaned_data["reason"])
            return None
        context = {
            **self.admin_site.each_context(request),
            "title": f"{decision.capitalize()} {found.count()} requests",
            "form": form,
            "requests": found,
            "decision": decision,
            "opts": self.model._meta,
            "selected": request.POST.getlist("_selected_action"),
            "action": request.POST.get("action", f"{decision}_selected"),
        }
        return TemplateResponse(request, "approvals/admin_decide.html", context)

    def _decide(self, request: HttpRequest, found: list[ApprovalRequest], decision: str, reason: str) -> None:
        """Decide each, and report what was done and what came too late."""
        done = 0
        for item in found:
            objection = why_not(request.user, item)
            if objection is not None:
                messages.error(request, f"{item.job.config_name}: {objection}")
            elif VERBS[decision](item, user=asker(request), source=Source.ADMIN, notes=reason):
                done += 1
            else:
                messages.warning(request, f"{item.job.config_name}: {decisions.how_decided(item)}")
        if done:
            messages.success(request, f"{done} {DONE[decision]}.")

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """The page of one request; the buttons are there only for who may press them."""
        found = self.get_queryset(request).filter(pk=object_id).first() if object_id.isdigit() else None
        context = dict(extra_context or {})
        if found is not None:
            pending = found.status == RequestStatus.PENDING and found.expires_at > timezone.now()
            context |= {
                "request_pending": pending,
                "objection": why_not(request.user, found),
                "decision_form": DecisionForm(),
            }
        return super().change_view(request, object_id, form_url, context)


@admin.register(ApprovalRule)
class ApprovalRuleAdmin(SuperuserAdmin[ApprovalRule]):
    """The rules, in the order in which they are tried."""

    list_display = ("name", "enabled", "priority", "cost_exceeds", "first_job", "organization")
    list_filter = ("enabled", "organization")
    search_fields = ("name",)
