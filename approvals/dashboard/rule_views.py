"""The rules in an organization's settings: its own ones, to be changed, and those of the site."""

from __future__ import annotations

from typing import Any

from django.contrib import messages
from django.core.exceptions import ValidationError
from django.forms import model_to_dict
from django.http import Http404, HttpResponse

from approvals.admin.request_page import approvals_text, condition_text, limit_text, rule_text
from approvals.admin.rule_trial import try_rule
from approvals.models import ApprovalRule
from approvals.reviewers import rule_warnings
from approvals.rules.backtest import back_test
from approvals.rules.editing import remove_rule, rules_beside, store_rule, visible_rules
from approvals.rules.forms import OrganizationRuleForm
from cloudtrain_site.database.unit_of_work import unit_of_work
from cloudtrain_site.limits.throttles import Previews
from jobs.dashboard.form_pages import StaleError, stamp_of
from jobs.dashboard.settings.frame import SettingsPage, settings_page
from jobs.permissions import is_superuser, visible_jobs

SECTION = "settings-rules"


@settings_page(SECTION, "GET", "HEAD")
def rules(page: SettingsPage) -> HttpResponse:
    """List the rules that hold jobs of the organization."""
    found = visible_rules(page.user)
    context = {
        "own": [_item(rule) for rule in found.filter(organization=page.organization)],
        "general": [_item(rule) for rule in found.filter(organization=None)],
        "runs_site": is_superuser(page.user),
    }
    return page.render("approvals/settings_rules.html", context)


@settings_page(SECTION)
def new_rule(page: SettingsPage) -> HttpResponse:
    return _edit(page, ApprovalRule(organization=page.organization))


@settings_page(SECTION)
def rule(page: SettingsPage, rule_id: int) -> HttpResponse:
    """Show a rule with the jobs of the last 30 days that it would have held, and change it."""
    return _edit(page, _find(page, rule_id))


@settings_page(SECTION, "POST")
def switch_rule(page: SettingsPage, rule_id: int) -> HttpResponse:
    """Switch a rule on or off, as the field `enabled` says."""
    switched_on = page.request.POST.get("enabled") == "yes"
    with unit_of_work():
        found = _find(page, rule_id, locked=True)
        if found.enabled == switched_on:
            return page.refused(f"The rule {found} is already {'on' if switched_on else 'off'}.")
        _store(page, found, {"enabled": switched_on})
    if switched_on:
        return page.done(f"Rule {found} is on and applies to new jobs.")
    return page.done(f"Rule {found} is off. Jobs already held by the rule still need approval.")


@settings_page(SECTION, "POST")
def delete_rule(page: SettingsPage, rule_id: int) -> HttpResponse:
    found = _find(page, rule_id)
    remove_rule(found, user=page.user)
    return page.done(f"Rule {found} deleted. Jobs already held by the rule still need approval.")


def _item(rule: ApprovalRule) -> dict[str, Any]:
    return {
        "rule": rule,
        "condition": condition_text(rule),
        "needs": approvals_text(rule),
        "limit": limit_text(rule),
        "exempt": ", ".join(f"{role}s" for role in rule.exempt_roles),
        "warnings": rule_warnings(rule) if rule.enabled and rule.organization_id else [],
    }


def _find(page: SettingsPage, rule_id: int, *, locked: bool = False) -> ApprovalRule:
    """Return a rule of the organization. Raises Http404."""
    found = ApprovalRule.objects.filter(organization=page.organization, pk=rule_id)
    rule = (found.select_for_update() if locked else found).first()
    if rule is None:
        raise Http404
    return rule


def _edit(page: SettingsPage, rule: ApprovalRule) -> HttpResponse:
    stamp = stamp_of(*_values(rule))
    form = OrganizationRuleForm(
        page.request.POST if page.is_post else None, instance=rule, author=page.user, organization=page.organization
    )
    context: dict[str, Any] = {"form": form, "stamp": stamp, "is_new": rule.pk is None, "name": rule.name, "rule": rule}
    if not page.is_post:
        return _shown(page, {**context, **_as_stored(page, rule)})
    if not form.is_valid():
        return _shown(page, context, status=400)
    if "try" in page.request.POST:
        return _shown(page, {**context, "stamp": page.request.POST.get("stamp", ""), **_trial(page, form)})
    try:
        return _stored(page, form)
    except StaleError:
        now = rule_text(ApprovalRule.objects.get(pk=rule.pk))
        return _shown(page, {**context, "meanwhile": now}, status=409)
    except ValidationError as error:
        form.add_error(None, error)
        return _shown(page, context, status=400)


def _shown(page: SettingsPage, context: dict[str, Any], *, status: int = 200) -> HttpResponse:
    return page.render("approvals/settings_rule.html", context, status=status)


def _values(rule: ApprovalRule) -> list[str]:
    """Return the rule's columns, for its stamp."""
    return [f"{name}: {value}" for name, value in model_to_dict(rule).items()]


def _as_stored(page: SettingsPage, rule: ApprovalRule) -> dict[str, Any]:
    """Return what a rule that is stored has held, and the rules that count beside it."""
    beside = [(other, rule_text(other)) for other in rules_beside(rule, page.user)]
    if rule.pk is None:
        return {"beside": beside}
    return {"beside": beside, "back_test": back_test(rule, visible_jobs(page.user)), "lacking": rule_warnings(rule)}


def _trial(page: SettingsPage, form: OrganizationRuleForm) -> dict[str, Any]:
    """Return what the rule in the form would have held, and would hold now. Nothing is stored."""
    Previews.count(page.user)
    draft = form.save(commit=False)
    beside = [(other, rule_text(other)) for other in rules_beside(draft, page.user)]
    return {"beside": beside, "trial": try_rule(draft, page.user, page.request.POST.get("job", "").strip())}


def _stored(page: SettingsPage, form: OrganizationRuleForm) -> HttpResponse:
    """Store what the form says. Raises StaleError when somebody else changed the rule, and ValidationError."""
    with unit_of_work():
        is_new = form.instance._state.adding
        rule = ApprovalRule(organization=page.organization) if is_new else _find(page, form.instance.pk, locked=True)
        page.check_stamp(*_values(rule))
        _store(page, rule, form.cleaned_data)
    return page.done(f"Rule {rule} saved.")


def _store(page: SettingsPage, rule: ApprovalRule, values: dict[str, Any]) -> None:
    store_rule(rule, values, user=page.user)
    for sentence in rule_warnings(rule) if rule.enabled else ():
        messages.warning(page.request, sentence)
