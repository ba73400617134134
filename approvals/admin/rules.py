"""The rules in the admin. Superusers edit all, an organization's admins its own."""

from __future__ import annotations

from typing import Any

from django import forms
from django.contrib import admin, messages
from django.core.exceptions import PermissionDenied
from django.db.models import ForeignKey, QuerySet
from django.http import HttpRequest, HttpResponse, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse

from approvals.admin.request_page import held_jobs_text, rule_text
from approvals.admin.rule_trial import try_rule
from approvals.models import ApprovalRule
from approvals.reviewers import rule_warnings
from approvals.rules.backtest import back_test
from approvals.rules.editing import may_edit, remove_rule, rules_beside, save_rule
from approvals.rules.forms import RuleForm, groups_offered
from cloudtrain_site.api import current_user
from cloudtrain_site.limits.pages import within_limits
from cloudtrain_site.limits.throttles import Previews
from cloudtrain_site.wording.values import isolated
from jobs.admin_base import FoldedSearch
from jobs.permissions import is_superuser, organizations_of, own_teams, visible_jobs
from jobs.roles import Role


@admin.register(ApprovalRule)
class ApprovalRuleAdmin(FoldedSearch[ApprovalRule]):
    """The rules, in the order of their priorities."""

    why_nothing = "Without a rule no job needs approval."
    form = RuleForm
    change_form_template = "approvals/admin_rule.html"
    list_display = ("name", "enabled", "priority", "shown_condition", "holds_in", "approvals_needed")
    list_filter = ("enabled",)
    list_select_related = ("organization",)
    list_per_page = 50
    search_fields = ("name__folded",)
    fieldsets = (
        (None, {"fields": (("name", "enabled", "priority"), "organization")}),
        (
            "Holds a job that meets all of these criteria",
            {
                "fields": (
                    ("cost_exceeds", "jobs_in_day_exceed"),
                    ("provider", "hardware", "config_name"),
                    ("role_at_most", "first_job"),
                    "exempt_roles",
                )
            },
        ),
        (
            "Who decides",
            {
                "fields": (
                    ("reviewer_role", "reviewer_group"),
                    ("approvals_needed", "expires_after_hours"),
                    "self_approval",
                )
            },
        ),
        ("Cost limit of held jobs", {"fields": (("max_cost_usd", "fuse_action", "fuse_grace_percent"),)}),
    )

    @admin.display(description="holds")
    def shown_condition(self, rule: ApprovalRule) -> str:
        return held_jobs_text(rule)

    @admin.display(description="organization", ordering="organization")
    def holds_in(self, rule: ApprovalRule) -> str:
        return isolated(rule.organization) if rule.organization else "Every organization"

    def about_list(self, request: HttpRequest) -> str:
        """Return that there are rules of the site, which an organization's admin doesn't edit or see here."""
        if is_superuser(request.user) or not ApprovalRule.objects.filter(organization=None, enabled=True).exists():
            return ""
        return "Rules of the whole site hold jobs, too. Settings > Rules shows them; superusers edit them."

    def get_queryset(self, request: HttpRequest) -> QuerySet[ApprovalRule]:
        rules = super().get_queryset(request)
        if is_superuser(request.user):
            return rules
        return rules.filter(organization__in=organizations_of(request.user, (Role.ADMIN,)))

    def has_module_permission(self, request: HttpRequest) -> bool:
        """Allow superusers, and the admins of any organization."""
        user = request.user
        if not user.is_authenticated or is_superuser(user):
            return user.is_authenticated
        return any(team.role == Role.ADMIN for team in own_teams(request))

    def has_view_permission(self, request: HttpRequest, obj: ApprovalRule | None = None) -> bool:
        return self.has_module_permission(request) if obj is None else may_edit(request.user, obj.organization_id)

    def has_add_permission(self, request: HttpRequest) -> bool:
        return self.has_module_permission(request)

    has_change_permission = has_view_permission
    has_delete_permission = has_view_permission

    def formfield_for_foreignkey(
        self, db_field: ForeignKey[Any, Any], request: HttpRequest, **kwargs: Any
    ) -> forms.ModelChoiceField[Any] | None:
        """Offer only organizations whose admin the user is. Only superusers write rules for all of them."""
        if db_field.name == "organization" and not is_superuser(request.user):
            own = organizations_of(request.user, (Role.ADMIN,))
            kwargs |= {"queryset": own, "required": True, "help_text": "The rule holds jobs of this organization."}
            if own.count() == 1:
                kwargs["empty_label"] = None
        return super().formfield_for_foreignkey(db_field, request, **kwargs)

    def get_form(
        self, request: HttpRequest, obj: ApprovalRule | None = None, change: bool = False, **kwargs: Any
    ) -> type[forms.ModelForm[ApprovalRule]]:
        """Return the form, which knows who fills it in."""
        form = super().get_form(request, obj, change, **kwargs)
        form.author = request.user  # type: ignore[attr-defined]
        if not is_superuser(request.user):
            form.base_fields["reviewer_group"].queryset = groups_offered(request.user, obj)  # type: ignore[attr-defined]
        return form

    def save_model(self, request: HttpRequest, obj: ApprovalRule, form: Any, change: bool) -> None:
        """Save the rule by the verb, and warn when too few people could decide."""
        save_rule(obj, user=request.user)
        for sentence in rule_warnings(obj):
            messages.warning(request, sentence)

    def delete_model(self, request: HttpRequest, obj: ApprovalRule) -> None:
        remove_rule(obj, user=current_user(request))

    def delete_queryset(self, request: HttpRequest, queryset: QuerySet[ApprovalRule]) -> None:
        for rule in queryset:
            self.delete_model(request, rule)

    def get_urls(self) -> list[URLPattern]:
        """Put the trial's address before the one that takes any text for an id."""
        trial = self.admin_site.admin_view(within_limits(self.try_view))
        return [path("try", trial, name="approvals_approvalrule_try"), *super().get_urls()]

    def try_view(self, request: HttpRequest) -> HttpResponse:
        """Show what the posted rule would have held, and would hold now. Nothing is saved."""
        if not self.has_add_permission(request):
            raise PermissionDenied
        if request.method != "POST":
            return HttpResponseRedirect(reverse("admin:approvals_approvalrule_changelist"))
        Previews.count(request.user)
        number = request.POST.get("_rule", "")
        rule = self.get_queryset(request).filter(pk=number).first() if number.isdecimal() else None
        form = self.get_form(request, rule, change=rule is not None)(request.POST, instance=rule)
        context = {**self.admin_site.each_context(request), "title": "Try a rule", "form": form, "opts": self.opts}
        if form.is_valid():
            draft = form.save(commit=False)
            context["beside"] = [(other, rule_text(other)) for other in rules_beside(draft, request.user)]
            context |= {"draft": draft, "trial": try_rule(draft, request.user, request.POST.get("_job", "").strip())}
        return TemplateResponse(request, "approvals/admin_try.html", context)

    def render_change_form(
        self, request: HttpRequest, context: dict[str, Any], *args: Any, **kwargs: Any
    ) -> HttpResponse:
        """Show beside the form which other rules may hold the same jobs."""
        rule = context["original"] or self._blank(request)
        context["beside"] = [(other, rule_text(other)) for other in rules_beside(rule, request.user)]
        return super().render_change_form(request, context, *args, **kwargs)

    def _blank(self, request: HttpRequest) -> ApprovalRule:
        """Return a rule of which nothing is known but the organization, where its author has no choice."""
        if is_superuser(request.user):
            return ApprovalRule()
        own = list(organizations_of(request.user, (Role.ADMIN,))[:2])
        return ApprovalRule(organization=own[0] if len(own) == 1 else None)

    def change_view(
        self, request: HttpRequest, object_id: str, form_url: str = "", extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """Show one rule, with the jobs of the last 30 days that it would have held."""
        rule = self.get_queryset(request).filter(pk=object_id).first() if object_id.isdecimal() else None
        context = dict(extra_context or {})
        if rule is not None and request.method == "GET":
            context["back_test"] = back_test(rule, visible_jobs(request.user))
            context["lacking"] = rule_warnings(rule)
        return super().change_view(request, object_id, form_url, context)
