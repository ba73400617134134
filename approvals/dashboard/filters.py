"""The filters of the approvals page, from its address."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from django.contrib.auth.models import User
from django.db.models import Exists, OuterRef, Q
from django.http import QueryDict
from django.utils.http import urlencode

from approvals.models import ApprovalRule, Decision, Requirement
from approvals.reviewers import decidable_by
from jobs.permissions import AnyUser, Team, organizations_of

MOST_CHOICES = 200
#: No name is longer, so a longer text matches nothing.
MOST_CHARS = 200


@dataclass(frozen=True, slots=True)
class Filters:
    organization: str
    person: str
    rule: str
    #: Whether only requests that wait for the reader's own decision are shown.
    mine: bool

    @classmethod
    def of(cls, parameters: QueryDict) -> Filters:
        def text(name: str) -> str:
            return parameters.get(name, "").strip()[:MOST_CHARS].replace("\0", "")

        return cls(text("organization"), text("person"), text("rule"), text("mine") == "yes")

    @property
    def query(self) -> str:
        """Return the query of the page's address, with its question mark; empty without filters."""
        mine = "yes" if self.mine else ""
        values = {"organization": self.organization, "person": self.person, "rule": self.rule, "mine": mine}
        chosen = urlencode({name: value for name, value in values.items() if value})
        return f"?{chosen}" if chosen else ""

    def condition(self) -> Q:
        """Return the condition for requests, pending or decided."""
        condition = Q()
        if self.organization:
            condition &= Q(organization__name=self.organization)
        if self.person:
            condition &= Q(requested_by__username=self.person)
        if self.rule:
            condition &= Q(Exists(Requirement.objects.filter(request=OuterRef("pk"), rule_name=self.rule)))
        return condition


def decidable_now(user: AnyUser, teams: Sequence[Team]) -> Q:
    """Return the condition for pending requests that wait for the decision of `user`, who is in `teams`."""
    undecided = ~Q(Exists(Decision.objects.filter(request=OuterRef("pk"), user=user.pk or 0)))
    return decidable_by(user, teams) & undecided


def choices_for(user: AnyUser, teams: Sequence[Team], filters: Filters) -> dict[str, Any]:
    """Return the choices that the form of the filters offers, with those already chosen."""
    own = organizations_of(user).order_by().values("pk")
    people = User.objects.filter(memberships__organization__in=own).order_by("username").distinct()
    rules = ApprovalRule.objects.filter(Q(organization=None) | Q(organization__in=own)).order_by("name")
    names = [team.name for team in teams[:MOST_CHOICES]]
    return {
        "organizations": _with_chosen(names, filters.organization) if len(names) > 1 else [],
        "people": list(people.values_list("username", flat=True)[:MOST_CHOICES]),
        "rules": _with_chosen(list(rules.values_list("name", flat=True).distinct()[:MOST_CHOICES]), filters.rule),
    }


def _with_chosen(names: list[str], chosen: str) -> list[str]:
    return names if not chosen or chosen in names else [*names, chosen]
