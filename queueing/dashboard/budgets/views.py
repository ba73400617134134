"""The list of budgets, a page for each, and the forms that make, change and remove them."""

from __future__ import annotations

from typing import Any

from django.core.exceptions import PermissionDenied
from django.http import HttpResponse
from django.urls import reverse

from cloudtrain_site.audit.queries import AuditFilter
from cloudtrain_site.errors import Conflict
from jobs.dashboard.audit_list import item_of
from jobs.dashboard.form_pages import stamp_of
from jobs.permissions import is_superuser, organizations_of
from jobs.roles import Role
from queueing.budgets import editing, sentences
from queueing.budgets.held_back import held_back_by
from queueing.budgets.sums import states
from queueing.dashboard.budgets.forms import ChangeForm, NewForm
from queueing.dashboard.budgets.frame import BudgetPage, budget_page
from queueing.dashboard.budgets.rows import forecast_of, row_of, thresholds_of
from queueing.models import Budget

MAX_CHANGES = 50


@budget_page("GET", "HEAD")
def budgets(page: BudgetPage) -> HttpResponse:
    """List the budgets that the reader may see."""
    shown = [row_of(state) for state in states(editing.visible_budgets(page.user))]
    return page.render("queueing/budgets/list.html", {"rows": shown, "may_make": _may_make(page)})


@budget_page()
def budget(page: BudgetPage, budget_id: int) -> HttpResponse:
    """Show a budget, and change it."""
    found = page.find(budget_id)
    if not page.is_post:
        return _shown(page, found, ChangeForm(None, found))
    form = ChangeForm(page.request.POST, found)
    if not form.is_valid():
        return _shown(page, found, form, status=400)
    values, data = form.values(), form.cleaned_data
    confirmed = data["confirm"] is not None and data["confirm"] == data["amount"]
    try:
        is_changed = editing.change(found, values, by=page.user, version=data["version"] or 0, confirmed=confirmed)
    except Conflict as error:
        return _refused(page, found, form, error)
    return page.done("Budget saved." if is_changed else "No changes.", _address(found))


def _refused(page: BudgetPage, budget: Budget, form: ChangeForm, error: Conflict) -> HttpResponse:
    """Answer a change that is asked about again, with all that was typed."""
    if error.get_codes() == editing.CONFIRM_NEEDED:
        question = sentences.consequences(editing.changed(budget, form.values()))
        return _shown(page, budget, form, {"question": question}, status=409)
    if error.get_codes() != editing.CHANGED_MEANWHILE:
        raise error
    now = page.find(budget.pk)
    return _shown(page, now, form, {"meanwhile": sentences.terms(now), "version": now.version}, status=409)


@budget_page("POST")
def remove_budget(page: BudgetPage, budget_id: int) -> HttpResponse:
    found = page.find(budget_id)
    page.check_stamp(found.version)
    editing.remove(found, by=page.user)
    return page.done(f"The budget of {found.owner} was removed.")


@budget_page()
def new_budget(page: BudgetPage) -> HttpResponse:
    """Make a budget. `organization` in the address chooses one in the form."""
    if not _may_make(page):
        raise PermissionDenied("Only admins set the budgets of an organization, and only superusers those of the site.")
    chosen, request = page.request.GET.get("organization", ""), page.request
    own = organizations_of(page.user, (Role.ADMIN,)).order_by("name")
    form = NewForm(request.POST if page.is_post else None, own, chosen, may_set_sites=is_superuser(page.user))
    if page.is_post and form.is_valid():
        data, terms = form.cleaned_data, form.terms()
        planned = editing.planned(data["organization"], data["person"], terms)
        if planned.bites and data["confirm"] != terms.amount:
            return _shown_new(page, form, {"question": sentences.consequences(planned)}, status=409)
        try:
            made = editing.make(data["organization"], data["person"], terms, by=page.user)
        except Conflict as error:
            form.add_error(None, str(error.detail))
        else:
            return page.done(f"Budget of {made.owner} created.", _address(made))
    return _shown_new(page, form, status=400 if page.is_post else 200)


def _may_make(page: BudgetPage) -> bool:
    return is_superuser(page.user) or organizations_of(page.user, (Role.ADMIN,)).exists()


def _address(budget: Budget) -> str:
    return reverse("budget-page", args=[budget.pk])


def _shown_new(page: BudgetPage, form: NewForm, more: dict[str, Any] | None = None, *, status: int) -> HttpResponse:
    return page.render("queueing/budgets/new.html", {"form": form, **(more or {})}, status=status)


def _shown(
    page: BudgetPage, budget: Budget, form: ChangeForm, more: dict[str, Any] | None = None, *, status: int = 200
) -> HttpResponse:
    stored = page.find(budget.pk)
    (state,) = states([stored])
    changes = AuditFilter(subject_kind="budget", subject_id=str(budget.pk)).apply().order_by("-pk")[:MAX_CHANGES]
    context = {
        "row": row_of(state),
        "budget": stored,
        "form": form,
        "thresholds": thresholds_of(state),
        "forecast": forecast_of(state),
        "held_back": held_back_by(state),
        "changes": [item_of(record) for record in changes],
        "may_change": editing.may_set(page.user, stored),
        "version": form["version"].value(),
        "stamp": stamp_of(stored.version),
        **(more or {}),
    }
    return page.render("queueing/budgets/budget.html", context, status=status)
