"""The limits as people see them: how much of each is taken, and who is at theirs."""

from __future__ import annotations

from dataclasses import dataclass

from django.contrib.auth.models import User

from jobs.access import AnyUser, is_superuser, organizations_of
from jobs.providers import NAMES
from queueing.limits import current_limits, current_usage
from queueing.models import ProviderLimit, QueueState

#: The busiest of them; a superuser's page of a thousand would say no more.
ORGANIZATIONS_SHOWN = 12
PEOPLE_SHOWN = 20


@dataclass(frozen=True, slots=True)
class LimitRow:
    """One limit. `allowed` None: there is none of its own."""

    label: str
    taken: int
    allowed: int | None
    is_name: bool = False

    @property
    def is_full(self) -> bool:
        """Whether nothing more of it starts now."""
        return self.allowed is not None and self.taken >= self.allowed

    @property
    def shown(self) -> int:
        """How far the bar goes: not past its end, also when the limit was lowered below what runs."""
        return min(self.taken, self.allowed or 0)


def limit_rows(user: AnyUser, state: QueueState) -> list[LimitRow]:
    """Everybody's limit, the reader's own, those of the organizations that they see, and the providers'."""
    limits, usage = current_limits(state), current_usage()
    teams = [
        LimitRow(name, usage.organizations[pk], limits.of_organization(pk), is_name=True)
        for pk, name in organizations_of(user).values_list("pk", "name")
    ]
    teams.sort(key=lambda team: (-team.taken, team.label))
    providers = [
        LimitRow(name, usage.providers[name], limits.providers.get(name))
        for name in NAMES
        if usage.providers[name] or name in limits.providers
    ]
    return [
        LimitRow("Everybody together", usage.total, limits.total),
        LimitRow("You", usage.users[user.pk], limits.per_user),
        *teams[:ORGANIZATIONS_SHOWN],
        *providers,
    ]


def people_at_limit(user: AnyUser, state: QueueState) -> list[str]:
    """Who of those that the reader may see runs as much as one person may."""
    full = [pk for pk, taken in current_usage().users.items() if pk is not None and taken >= state.max_running_per_user]
    people = User.objects.filter(pk__in=full)
    if not is_superuser(user):
        people = people.filter(memberships__organization__in=organizations_of(user)).distinct()
    return list(people.order_by("username").values_list("username", flat=True)[:PEOPLE_SHOWN])


def drained_providers() -> list[str]:
    """Where nothing new starts."""
    return list(ProviderLimit.objects.filter(drained=True).values_list("provider", flat=True))
