"""SimpleTuner's quotas as budgets and limits, as far as there is the like here."""

from __future__ import annotations

from dataclasses import dataclass, field
from decimal import Decimal, InvalidOperation

from django.core.exceptions import ValidationError
from django.db import transaction

from cloudtrain_site.audit.recording import OPERATOR
from cloudtrain_site.errors import Conflict
from cloudtrain_site.states import Source as ChangeSource
from jobs.models import Organization
from jobs.simpletuner.outcome import Fate, Outcome
from jobs.simpletuner.people import People
from jobs.simpletuner.source import Row, Source
from queueing.budgets.editing import Terms, make
from queueing.compatibility.quota_views import LARGEST_LIMIT, PERIODS
from queueing.models import LARGEST_BUDGET, Action, Budget, Scope, default_thresholds
from queueing.operations import ChangedBy, set_organization

KIND = "quotas"
#: Says of each kind of quota that is left out what there is here in its place.
INSTEAD = {
    "jobs_per_day": "a rule with jobs_in_day_exceed holds further jobs of a person",
    "jobs_per_hour": "nothing here counts by the hour; a rule counts by the day",
    "local_gpus": "the configuration file says how many trainings this machine runs (providers.local.max_running)",
}


@dataclass(slots=True)
class QuotaImport:
    source: Source
    organization: Organization
    people: People
    outcome: Outcome = field(default_factory=Outcome)

    def run(self, *, apply: bool) -> Outcome:
        """Count what would be taken over, or take it over; what can't be is named."""
        for row in self.source.rows("quotas"):
            try:
                fate, reason = self._take(row, apply)
            except (Conflict, ValidationError, InvalidOperation, ValueError) as error:
                fate, reason = Fate.SKIPPED, str(getattr(error, "detail", "") or "its value can't be read")
            self.outcome.add(KIND, fate, reason)
        return self.outcome

    def _take(self, row: Row, apply: bool) -> tuple[Fate, str]:
        kind, amount = str(row.get("quota_type")), Decimal(str(row.get("limit_value")))
        if row.get("level_id") is not None or row.get("team_id") is not None:
            return (
                Fate.SKIPPED,
                f"{kind} of a {'team' if row.get('level_id') is None else 'level'}: not available here",
            )
        if kind in INSTEAD:
            return Fate.SKIPPED, f"{kind}: {INSTEAD[kind]}"
        if kind not in PERIODS and kind != "concurrent_jobs":
            return Fate.SKIPPED, f"{kind[:40]!r} is not a quota of SimpleTuner"
        if row.get("action", "block") != "block":
            return Fate.SKIPPED, f"{kind} with {row['action']}: budgets and limits here always hold what is new"
        return self._budget(row, kind, amount, apply) if kind in PERIODS else self._limit(row, amount, apply)

    def _budget(self, row: Row, kind: str, amount: Decimal, apply: bool) -> tuple[Fate, str]:
        user_id, person = row.get("user_id"), None
        if user_id is not None:
            person = self.people.member(user_id if isinstance(user_id, int) else None)
            if person is None:
                return Fate.SKIPPED, f"{kind} of {self.people.name(user_id)}, who is not a member here"
        elif not self._is_ours(row):
            return Fate.SKIPPED, f"{kind} {_whose(row)}: set it here by hand"
        if not 0 <= amount <= LARGEST_BUDGET:
            return Fate.SKIPPED, f"{kind}: {amount} is not an amount"
        scope, period = Scope.USER if person else Scope.ORGANIZATION, PERIODS[kind]
        whose = f"of {person}" if person else f"of {self.organization}, for everybody together"
        if Budget.objects.filter(scope=scope, organization=self.organization, user=person, period=period).exists():
            return Fate.THERE, f"a budget for a {period} {whose}"
        if apply:
            cents = amount.quantize(Decimal("0.01"))
            make(self.organization, person, Terms(cents, period, default_thresholds(), Action.HOLD, ""), by=OPERATOR)
        return Fate.NEW, f"a budget for a {period} {whose}"

    def _limit(self, row: Row, amount: Decimal, apply: bool) -> tuple[Fate, str]:
        if row.get("user_id") is not None or not self._is_ours(row):
            return Fate.SKIPPED, f"concurrent_jobs {_whose(row)}: the general limit for a user is set for all at once"
        number = int(amount)
        if not 0 <= number <= LARGEST_LIMIT:
            return Fate.SKIPPED, f"concurrent_jobs: {amount} is not a number of jobs"
        current = self.organization.max_running
        if current is not None:
            is_same = current == number
            return (
                (Fate.THERE, "its limit")
                if is_same
                else (Fate.SKIPPED, f"{self.organization} has a limit of {current}")
            )
        if apply:
            by = ChangedBy(OPERATOR, ChangeSource.COMMAND, "imported from SimpleTuner")
            with transaction.atomic():
                set_organization(self.organization, number, by, may_exceed=True)
        return Fate.NEW, f"{self.organization} runs {number} at once"

    def _is_ours(self, row: Row) -> bool:
        """Whether it is of the organization in SimpleTuner that has the same name, or is its only one."""
        organizations = list(self.source.rows("organizations"))
        names = {self.organization.name.casefold()}
        same = [one for one in organizations if names & {str(one.get(key)).casefold() for key in ("name", "slug")}]
        chosen = same or (organizations if len(organizations) == 1 else [])
        return row.get("org_id") is not None and row.get("org_id") in [one.get("id") for one in chosen]


def _whose(row: Row) -> str:
    if row.get("user_id") is not None:
        return "of one person"
    return "for each person" if row.get("org_id") is None else "of another organization"
