"""SimpleTuner's approval rules as ours, and its requests as lines of their jobs' histories."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from django.core.exceptions import ValidationError
from django.utils import timezone

from approvals.models import ApprovalRequest, ApprovalRule
from approvals.rules.editing import save_rule
from approvals.statuses import RequestStatus
from cloudtrain_site.audit.recording import OPERATOR
from cloudtrain_site.correlation_ids import get_correlation_id
from cloudtrain_site.redaction import mask_text
from cloudtrain_site.states import Actor, Change
from cloudtrain_site.states import Source as ChangeSource
from jobs.models import Organization
from jobs.providers import names
from jobs.roles import RANK, Role
from jobs.simpletuner.outcome import Fate, Outcome
from jobs.simpletuner.people import People, role_of
from jobs.simpletuner.rows import BrokenRowError, moment
from jobs.simpletuner.source import Row, Source

KIND = "rules"
#: The lowest number comes first among our rules, and the highest among SimpleTuner's.
FIRST_PRIORITY = 100
LARGEST_PRIORITY = 10_000
MAX_TEXT = 2000


class NotCarriedOverError(Exception):
    """There is no such rule here; the message says why."""


def import_rules(source: Source, organization: Organization, *, apply: bool) -> Outcome:
    """Store the rules as rules of the organization, each under its name, once; what can't be carried over is named."""
    outcome = Outcome()
    for row in source.rows("approval_rules"):
        name = str(row.get("name") or "").strip()[:100]
        try:
            rule = _rule(row, name, organization)
            if ApprovalRule.objects.filter(organization=organization, name=name).exists():
                outcome.add(KIND, Fate.THERE)
                continue
            rule.full_clean()
            if apply:
                save_rule(rule, user=OPERATOR)
            outcome.add(KIND, Fate.NEW)
        except NotCarriedOverError as error:
            outcome.add(KIND, Fate.SKIPPED, f"{name}: {error}")
        except ValidationError as error:
            outcome.add(KIND, Fate.SKIPPED, f"{name}: {' '.join(error.messages)}")
    return outcome


def _rule(row: Row, name: str, organization: Organization) -> ApprovalRule:
    """Return the rule, not stored. Raises NotCarriedOverError."""
    reviewers = role_of(row.get("required_approver_level") or Role.LEAD)
    if reviewers in (None, Role.VIEWER):
        raise NotCarriedOverError(f"nobody here decides with the level {row['required_approver_level']!r}")
    return ApprovalRule(
        organization=organization,
        name=name,
        enabled=bool(row.get("is_active", 1)),
        priority=_priority(row.get("priority")),
        reviewer_role=reviewers,
        exempt_roles=_exempt_roles(row),
        **_criteria(row),
    )


def _priority(value: object) -> int:
    number = value if isinstance(value, int) else 0
    return FIRST_PRIORITY - max(-LARGEST_PRIORITY, min(LARGEST_PRIORITY, number))


def _exempt_roles(row: Row) -> list[str]:
    try:
        levels = json.loads(row.get("exempt_levels") or "[]")
    except (TypeError, ValueError):
        raise NotCarriedOverError("its exempt levels can't be read") from None
    if not isinstance(levels, list):
        raise NotCarriedOverError("its exempt levels can't be read")
    exempt = {role for level in levels if (role := role_of(level))}
    only = row.get("applies_to_level")
    if only:
        if role_of(only) is None:
            raise NotCarriedOverError(f"it is only for the level {only!r}, which does not exist here")
        exempt |= {role for role in Role if role != role_of(only)}
    return [role for role in Role if role in exempt]


def _criteria(row: Row) -> dict[str, Any]:
    condition, threshold = str(row.get("condition")), str(row.get("threshold") or "").strip()
    criteria: dict[str, Any] = {}
    if row.get("applies_to_provider"):
        criteria["provider"] = _provider(str(row["applies_to_provider"]))
    if condition == "cost_exceeds":
        criteria["cost_exceeds"] = _number(threshold)
    elif condition == "daily_jobs_exceed":
        criteria["jobs_in_day_exceed"] = _number(threshold)
    elif condition == "first_job":
        criteria["first_job"] = True
    elif condition == "provider":
        if criteria.get("provider", threshold) != threshold:
            raise NotCarriedOverError("it names two providers, so it holds nothing")
        criteria["provider"] = _provider(threshold)
    elif condition == "hardware_type":
        # SimpleTuner's labels say more than our profiles: "L40S (48GB)" of l40s.
        label, bracket, _ = threshold.partition(" (")
        criteria["hardware"] = f"{label.lower()}*" if bracket else label
    elif condition == "user_level":
        criteria["role_at_most"] = _role_below(threshold)
    elif condition == "config_pattern":
        criteria["config_name"] = _pattern(threshold)
    else:
        raise NotCarriedOverError(f"there is no condition {condition[:40]!r} here")
    return criteria


def _number(threshold: str) -> str:
    if not threshold:
        raise NotCarriedOverError("it says no number")
    return threshold


def _provider(name: str) -> str:
    if name not in names():
        raise NotCarriedOverError(f"it is for the provider {name!r}, which does not exist here")
    return name


def _role_below(threshold: str) -> str:
    role = role_of(threshold)
    below = [one for one in Role if role is not None and RANK[one] < RANK[role]]
    if not below:
        raise NotCarriedOverError(f"no role here is below the level {threshold!r}")
    return below[-1]


def _pattern(threshold: str) -> str:
    if not threshold or threshold.startswith("^") or threshold.endswith("$"):
        raise NotCarriedOverError(f"{threshold!r} is a regular expression; patterns here are like *full-finetune*")
    return threshold


@dataclass(slots=True)
class RequestHistories:
    """What SimpleTuner's approval requests add to the histories of their jobs: nobody decides about them here."""

    source: Source
    people: People
    _by_job: dict[str, list[Change]] = field(default_factory=lambda: defaultdict(list))

    def __post_init__(self) -> None:
        rules = {row.get("id"): str(row.get("name")) for row in self.source.rows("approval_rules")}
        for row in self.source.rows("approval_requests", order="id"):
            self._by_job[str(row.get("job_id"))] += self._changes(row, rules.get(row.get("rule_id"), ""))

    def of(self, job_ids: Sequence[str]) -> Mapping[str, Sequence[Change]]:
        """Return the lines by SimpleTuner's ids of the jobs, the oldest first."""
        return {job_id: self._by_job[job_id] for job_id in job_ids if job_id in self._by_job}

    def _changes(self, row: Row, rule: str) -> list[Change]:
        asked_at = _moment(row, "created_at")
        reason = f"in SimpleTuner{f', by the rule {rule}' if rule else ''}: {row.get('reason') or 'no reason given'}"
        asked = _change("", RequestStatus.PENDING, self.people.name(row.get("user_id")), reason, asked_at)
        status = row.get("status")
        if status not in RequestStatus.values or status == RequestStatus.PENDING:
            return [asked]
        name = self.people.name(row.get("reviewed_by")) if row.get("reviewed_by") is not None else "SimpleTuner"
        notes = f"in SimpleTuner: {row.get('review_notes') or 'no note given'}"
        decided_at = max(asked_at, _moment(row, "reviewed_at", "expires_at"))
        return [asked, _change(RequestStatus.PENDING, str(status), name, notes, decided_at)]


def _change(old: str, new: str, name: str, reason: str, at: datetime) -> Change:
    return Change(
        subject=ApprovalRequest.SUBJECT,
        old=old,
        new=new,
        actor=Actor(name=name),
        source=ChangeSource.COMMAND,
        reason=mask_text(reason)[:MAX_TEXT],
        correlation_id=get_correlation_id(),
        at=at,
    )


def _moment(row: Row, *names: str) -> datetime:
    """Return the first of these times that the row has; now, if it can't be read: only the history shows it."""
    try:
        return next(filter(None, (moment(row, name) for name in names)), timezone.now())
    except BrokenRowError:
        return timezone.now()
