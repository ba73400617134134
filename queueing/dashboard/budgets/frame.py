"""The frame of the budgets' pages: who may open which."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import wraps
from typing import Any

from django.http import Http404, HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import render
from django.urls import reverse

from jobs.dashboard.form_pages import READ_AND_WRITE, Answer, FormPage, answer_with, for_signed_in
from jobs.dashboard.navigation import page_context
from queueing.budgets.editing import visible_budgets
from queueing.models import Budget


@dataclass(frozen=True, slots=True)
class BudgetPage(FormPage):
    """A request for one of the budgets' pages."""

    def address(self, name: str = "", **parts: Any) -> str:
        return reverse(name or "budgets-page", kwargs=parts)

    def find(self, budget_id: int) -> Budget:
        """Return a budget that the reader may see. Raises Http404 when there is none."""
        budget = visible_budgets(self.user).filter(pk=budget_id).first()
        if budget is None:
            raise Http404
        return budget

    def render(self, template: str, context: Mapping[str, Any], *, status: int = 200) -> HttpResponse:
        around = page_context(self.request)
        return render(self.request, template, {**around, **context}, status=status)


def budget_page(*methods: str) -> Callable[[Answer], Answer]:
    """Decorate a page: `view(page, ...)` answers the methods, without any GET and POST."""

    def decorate(view: Answer) -> Answer:
        @wraps(view)
        def answer(request: HttpRequest, **parts: Any) -> HttpResponseBase:
            return answer_with(view, BudgetPage(request), parts, only_post=methods == ("POST",))

        return for_signed_in(answer, READ_AND_WRITE if methods == ("POST",) else methods)

    return decorate
