"""The roles that an identity provider's groups give: followed at each sign-in there."""

from __future__ import annotations

import logging
from collections.abc import Mapping

from django.contrib.auth.models import User
from django.http import Http404

from cloudtrain_site.accounts.sso.linking import PROVIDER
from cloudtrain_site.audit.models import AuditSource
from cloudtrain_site.audit.origin import coming_from
from cloudtrain_site.database.unit_of_work import unit_of_work
from cloudtrain_site.errors import Conflict
from jobs.models import Organization
from jobs.organizations.authority import lock_organization, role_now
from jobs.organizations.members import change_role, join, remove_member
from jobs.roles import Role

logger = logging.getLogger("simpletuner.cloud.jobs")


def follow_roles(user: User, roles: Mapping[str, str | None]) -> None:
    """Give `user` the role in each organization; None: end the membership.

    What can't be done is logged and left: an organization that is not there or closed, and the last admin, who stays.
    """
    found = {one.name: one for one in Organization.objects.filter(name__in=roles)}
    for name, role in sorted(roles.items()):
        try:
            if name not in found:
                raise Conflict(f"There is no organization {name}.")
            with coming_from(AuditSource.SSO):
                _follow(user, found[name], None if role is None else Role(role))
        except (Conflict, Http404) as refusal:
            reason = (
                str(refusal.detail)
                if isinstance(refusal, Conflict)
                else "The organization or the member no longer exists."
            )
            fields = {"user": user.get_username(), "organization": name, "role": role, "reason": reason}
            logger.warning("A role of the identity provider's groups was not followed", extra=fields)


def _follow(user: User, organization: Organization, role: Role | None) -> None:
    former = role_now(user, organization)
    if former == role:
        return
    if role is None:
        remove_member(organization, user, by=PROVIDER)
    elif former is None:
        with unit_of_work():
            join(lock_organization(organization), user, role, by=PROVIDER)
    else:
        change_role(organization, user, role, by=PROVIDER)
