"""The banners of budgets that are nearly spent, for those who may see them."""

from __future__ import annotations

from datetime import timedelta

from django.db.models import Q
from django.urls import reverse
from django.utils import timezone

from cloudtrain_site.database.prepared import Prepared
from jobs.extensions import Banner
from jobs.permissions import AnyUser
from queueing.budgets import sentences
from queueing.budgets.editing import visible_budgets
from queueing.budgets.sums import states
from queueing.budgets.watch import NOTICE_FROM
from queueing.models import BudgetNotice, Period

#: No month is longer, whatever the zone.
LONGEST_MONTH = timedelta(days=33)

# Each page asks for this.
_EVER_REACHED = Prepared(lambda: BudgetNotice.objects.filter(threshold__gte=NOTICE_FROM).values_list("pk")[:1])


def banners_for(user: AnyUser) -> list[Banner]:
    """Return a banner for each budget of which 80 % are spent now. One query as long as none ever was.

    A budget without a threshold from there on has none.
    """
    if not _EVER_REACHED():
        return []
    is_recent = Q(period_start__gte=timezone.now().date() - LONGEST_MONTH) | Q(budget__period=Period.LIFETIME)
    reached = BudgetNotice.objects.filter(is_recent, threshold__gte=NOTICE_FROM)
    budgets = visible_budgets(user).filter(pk__in=reached.values("budget"))
    return [
        Banner(sentences.reached(state, state.percent_spent), reverse("budget-page", args=[state.budget.pk]))
        for state in states(budgets)
        if state.has_spent(NOTICE_FROM)
    ]
