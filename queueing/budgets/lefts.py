"""What is left of each budget, for the pass of the queue: the sums of `sums.py` without what only pages need.

A pass decides under a lock that all dispatchers wait for. Two statements take a fifth of the time that the objects of
hundreds of budgets, with their organizations, take.
"""

from __future__ import annotations

from datetime import date, datetime
from decimal import Decimal
from functools import cache

from django.db import connection
from django.db.models.functions import Coalesce

from queueing.budgets.periods import window
from queueing.budgets.sums import MICRODOLLAR, ZERO, Owner
from queueing.models import Budget

#: Amounts by organization, and by each person who has a budget. PostgreSQL would read the rows once for each person.
SUMS = """
WITH sums AS MATERIALIZED (
    SELECT organization_id, user_id, SUM({amount}) AS amount FROM {rows} GROUP BY organization_id, user_id
)
SELECT organization_id, NULL, SUM(amount) FROM sums GROUP BY organization_id
UNION ALL
SELECT organization_id, user_id, amount FROM sums
WHERE user_id IN (SELECT user_id FROM queueing_budget WHERE scope = 'user')
"""
SPENT = SUMS.format(amount="spent", rows="jobs_daycost WHERE day >= %s")
# The condition is that of an index. The rows are grouped by the day first: without statistics SQLite takes this index
# for a large one, and would read all entries in the order of their organizations.
IMPORTED_BY_DAY = """
(SELECT day, organization_id, user_id, SUM(amount) AS amount FROM jobs_ledgerentry
 WHERE kind = 'correct' AND sequence = 1 AND day >= %s GROUP BY day, organization_id, user_id) AS imported
"""
IMPORTED = SUMS.format(amount="amount", rows=IMPORTED_BY_DAY)
# This condition too is that of an index.
HELD = SUMS.format(amount="held", rows="jobs_jobaccount WHERE held > '0'")
Sums = dict[Owner, Decimal]
SITE: Owner = (None, None)


def read_lefts(now: datetime) -> list[tuple[str, Owner, Decimal]]:
    """Return the scope, the organization and user, and the US dollars that are left, of every budget."""
    zone = Coalesce("organization__time_zone", "site_zone")
    columns = ("scope", "organization_id", "user_id", "amount", "period")
    budgets = list(Budget.objects.order_by().annotate(zone=zone).values_list(*columns, "zone"))
    if not budgets:
        return []
    held = _read(HELD)
    start_of = cache(lambda period, zone: window(period, zone or "UTC", now).start)
    committed_since = cache(lambda start: _committed(_read(SPENT, start), _read(IMPORTED, start), held))
    return [
        (scope, (organization, user), amount - committed_since(start_of(period, zone)).get((organization, user), ZERO))
        for scope, organization, user, amount, period, zone in budgets
    ]


def _committed(spent: Sums, imported: Sums, held: Sums) -> Sums:
    """Return what was spent here and is held, with that of the site under the owner that its budgets have: none."""
    committed = {
        owner: spent.get(owner, ZERO) - imported.get(owner, ZERO) + held.get(owner, ZERO) for owner in {*spent, *held}
    }
    return committed | {SITE: sum((amount for (_, user), amount in committed.items() if user is None), ZERO)}


def _read(statement: str, *days: date) -> Sums:
    with connection.cursor() as cursor:
        cursor.execute(statement, [f"{day}" for day in days])
        # SQLite adds up floats.
        rows = cursor.fetchall()
        return {(organization, user): Decimal(amount).quantize(MICRODOLLAR) for organization, user, amount in rows}
