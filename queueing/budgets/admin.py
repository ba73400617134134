"""The budgets in the admin, read-only: their own pages change them."""

from __future__ import annotations

from typing import ClassVar

from django.contrib import admin
from django.db.models import QuerySet
from django.http import HttpRequest
from django.urls import reverse

from cloudtrain_site.wording.admin_pages import amount
from cloudtrain_site.wording.values import day_in_words
from jobs.admin_base import SHOWN, ScopedAdmin
from queueing.budgets.editing import visible_budgets
from queueing.budgets.sums import states
from queueing.models import Budget


@admin.register(Budget)
class BudgetAdmin(ScopedAdmin[Budget]):
    """The budgets that the reader may see, with what is committed of each."""

    why_nothing = "A budget limits what an organization or a person spends. It is set in the organization's settings."
    list_display = ("__str__", "scope", "organization", "user", "amount", "period", "action", "committed", "resets_at")
    list_filter = ("scope", "period", "action", "organization")
    list_select_related = ("organization", "user")
    search_fields = ("organization__name__folded", "user__username__folded")
    search_help_text = "Organization or person"
    fields = (
        ("scope", "organization", "user"),
        ("amount", "period", "time_zone", "resets_at"),
        ("committed", "thresholds", "action"),
        ("created_at", "version"),
    )
    readonly_fields = ("time_zone", "committed", "resets_at")
    actions = None
    shown: ClassVar = {**SHOWN, "thresholds": lambda percents: ", ".join(f"{one} %" for one in percents)}

    def get_queryset(self, request: HttpRequest) -> QuerySet[Budget]:
        return visible_budgets(request.user)

    def view_on_site(self, obj: Budget) -> str:
        return reverse("budget-page", args=[obj.pk])

    @admin.display(description="committed")
    def committed(self, budget: Budget) -> str:
        """Return what is spent and held in the present period."""
        (state,) = states([budget])
        return amount(state.committed)

    @admin.display(description="resets on")
    def resets_at(self, budget: Budget) -> str:
        """Return the first day of the next period, in the budget's own time zone."""
        (state,) = states([budget])
        after = state.window.after
        return f"{day_in_words(after)} (start of the day in {state.window.zone.key})" if after else "never"
