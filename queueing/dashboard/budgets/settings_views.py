"""The budgets in an organization's settings."""

from __future__ import annotations

from django.http import HttpResponse

from jobs.dashboard.settings.frame import SettingsPage, settings_page
from queueing.budgets.editing import visible_budgets
from queueing.budgets.outlook import BudgetReader
from queueing.budgets.sums import states
from queueing.dashboard.budgets.rows import row_of


@settings_page("settings-budgets", "GET", "HEAD")
def budgets(page: SettingsPage) -> HttpResponse:
    """List the organization's budgets, and those of its people that the reader may see."""
    own = visible_budgets(page.user).filter(organization=page.organization)
    context = {
        "rows": [row_of(state) for state in states(own)],
        "outlook": BudgetReader(page.user).of_organization(page.organization),
    }
    return page.render("queueing/budgets/settings.html", context)
