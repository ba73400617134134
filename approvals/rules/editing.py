"""The verbs of rules, and the permission to use them."""

from __future__ import annotations

import logging
from typing import Any

from django.contrib.auth.models import Group, User
from django.core.exceptions import ValidationError
from django.db.models import Exists, OuterRef, Q, QuerySet
from django.http import Http404
from rest_framework.exceptions import PermissionDenied

from approvals.models import ApprovalRule
from approvals.rules.overlap import may_meet
from cloudtrain_site.audit.recording import differences, record
from cloudtrain_site.database.unit_of_work import unit_of_work
from cloudtrain_site.states import Actor
from jobs.models import Membership, Organization
from jobs.permissions import AnyUser, is_superuser, organizations_of, role_in
from jobs.roles import Role

logger = logging.getLogger("simpletuner.cloud.approvals")

NO_GROUP_OF_THEIRS = "Choose a group that has members, all of them in the organization."


def visible_rules(user: AnyUser) -> QuerySet[ApprovalRule]:
    """Return the rules that may hold a job of `user`'s organizations, in the order of their priorities."""
    rules = ApprovalRule.objects.select_related("organization", "reviewer_group")
    if is_superuser(user):
        return rules
    return rules.filter(Q(organization=None) | Q(organization__in=organizations_of(user)))


def rules_beside(rule: ApprovalRule, user: AnyUser) -> list[ApprovalRule]:
    """Return the enabled rules that `user` may see and that may hold a job together with `rule`."""
    others = visible_rules(user).filter(enabled=True).exclude(pk=rule.pk)
    return [other for other in others if may_meet(rule, other)]


def find_rule(user: AnyUser, rule_id: int) -> ApprovalRule:
    """Return the rule with that id. Raises Http404 when there is none that `user` may see."""
    rule = visible_rules(user).filter(pk=rule_id).first()
    if rule is None:
        raise Http404
    return rule


def may_edit(user: AnyUser, organization_id: int | None) -> bool:
    """Whether `user` may edit rules of an organization, or for None, rules of all organizations."""
    if organization_id is None:
        return is_superuser(user)
    return role_in(user, organization_id) == Role.ADMIN


def check_may_edit(user: AnyUser, organization_id: int | None) -> None:
    """Raise PermissionDenied unless `may_edit`."""
    if not may_edit(user, organization_id):
        whose = "that hold everybody's jobs" if organization_id is None else "of an organization"
        editors = "superusers" if organization_id is None else "its admins"
        raise PermissionDenied(f"Rules {whose} are edited by {editors}.")


def groups_of(user: AnyUser, organization: Organization | int | None) -> QuerySet[Group]:
    """Return the groups that `user` may choose as reviewers of an organization's rule; superusers may choose any.

    Groups belong to the site and name no organization. One is an organization's when it has a member and nobody in it
    is outside of the organization: so no team learns of another's groups, and none with outsiders decides by chance.
    """
    if is_superuser(user):
        return Group.objects.all()
    members = Membership.objects.filter(organization=organization or 0).values("user")
    people = User.objects.filter(groups=OuterRef("pk"))
    return Group.objects.filter(Exists(people.filter(pk__in=members)), ~Exists(people.exclude(pk__in=members)))


def check_group(user: AnyUser, rule: ApprovalRule, group: Group | None, organization: Organization | None) -> None:
    """Raise Django's ValidationError for a group that `user` may not choose; the one that `rule` has stays allowed."""
    allowed = {rule.reviewer_group_id, *groups_of(user, organization).values_list("pk", flat=True)} - {None}
    if group is not None and group.pk not in allowed:
        raise ValidationError({"reviewer_group": "Group not found." if is_superuser(user) else NO_GROUP_OF_THEIRS})


def store_rule(rule: ApprovalRule, values: dict[str, Any], *, user: User) -> ApprovalRule:
    """Save `values` in a new or stored rule. Raises Django's ValidationError, or PermissionDenied.

    Requests made before keep the rule's former settings.
    """
    if rule.pk is not None:
        check_may_edit(user, rule.organization_id)
    organization = values.get("organization", rule.organization)
    check_may_edit(user, organization.pk if organization else None)
    check_group(user, rule, values.get("reviewer_group"), organization)
    for name, value in values.items():
        setattr(rule, name, value)
    rule.full_clean()
    save_rule(rule, user=user)
    return rule


def save_rule(rule: ApprovalRule, *, user: AnyUser | Actor) -> None:
    """Save a checked rule, and put the change on record."""
    with unit_of_work():
        stored = ApprovalRule.objects.select_for_update(of=("self",)).filter(pk=rule.pk).first()
        rule.save()
        _record(rule, user, "rule_made" if stored is None else "rule_changed", before=stored, after=rule)


def remove_rule(rule: ApprovalRule, *, user: User) -> None:
    """Delete a rule. Its requests stay. Raises PermissionDenied."""
    check_may_edit(user, rule.organization_id)
    with unit_of_work():
        _record(rule, user, "rule_removed", before=rule)
        ApprovalRule.objects.filter(pk=rule.pk).delete()


def _record(
    rule: ApprovalRule,
    user: AnyUser | Actor,
    action: str,
    *,
    before: ApprovalRule | None = None,
    after: ApprovalRule | None = None,
) -> None:
    former, new = _settings_of(before), _settings_of(after)
    if before is not None and after is not None:
        former, new = differences(former, new)
    actor = user if isinstance(user, Actor) else Actor.of(user)
    record(action, rule, by=actor, organization=rule.organization, before=former or None, after=new or None)
    change = {"rule_made": "stored", "rule_changed": "stored", "rule_removed": "removed"}[action]
    extra = {"rule": rule.name, "rule_id": rule.pk, "by": actor.name, "change": change}
    logger.info("Approval rule changed", extra=extra)


def _settings_of(rule: ApprovalRule | None) -> dict[str, Any]:
    """Return the columns that an author sets, with names in the place of ids; none of no rule."""
    if rule is None:
        return {}
    named = {"organization": rule.organization, "reviewer_group": rule.reviewer_group}
    columns = [field.name for field in ApprovalRule._meta.fields if field.editable and not field.primary_key]
    return {name: str(named[name] or "") if name in named else getattr(rule, name) for name in columns}
