"""The approvals' check of the deployment: whether the requests of the rules can be decided."""

from __future__ import annotations

from collections.abc import Iterator

from django.contrib.auth.models import User

from approvals.health import Reviewers, warning
from approvals.models import ApprovalRule
from approvals.reviewers import who_decides
from cloudtrain_site.conf.public_address import full_link
from cloudtrain_site.doctor.findings import Finding, bad, ok, warn
from jobs.models import Organization
from jobs.roles import SUBMITTERS


def decidable() -> Iterator[Finding]:
    """Check that each rule has somebody who may decide about each submitter's jobs in each organization.

    It warns of a rule that holds every submitter's jobs without enough reviewers: only superusers could decide.
    """
    people = Reviewers()
    superusers = set(User.objects.filter(is_superuser=True, is_active=True).values_list("pk", flat=True))
    rules = list(ApprovalRule.objects.filter(enabled=True).select_related("reviewer_group"))
    for organization in Organization.objects.filter(closed_at=None):
        members = people.members.get(organization.pk, {})
        for rule in rules:
            if rule.organization_id not in (None, organization.pk):
                continue
            held = [user for user, role in members.items() if role in SUBMITTERS and role not in rule.exempt_roles]
            if held and all(_is_stuck(people, rule, organization.pk, user) and user not in superusers for user in held):
                found = warn if superusers else bad
                yield found(
                    f"Nobody can decide about jobs of {organization} that the rule {rule.name} holds: it needs "
                    f"{rule.approvals_needed} of the {who_decides(rule)}.",
                    full_link(f"/organizations/{organization}/settings/members"),
                )
    if sentence := warning():
        yield warn(sentence, full_link("/approvals"))
    yield ok(f"{len(rules)} rules are in force.")


def _is_stuck(people: Reviewers, rule: ApprovalRule, organization: int, submitter: int) -> bool:
    excluded = None if rule.self_approval else submitter
    deciding = people.count_deciding(organization, rule.reviewer_role, rule.reviewer_group_id, excluded)
    return deciding < rule.approvals_needed
