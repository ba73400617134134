"""The end of somebody's access, and of an organization: their jobs, and what those cost, stay on record."""

from __future__ import annotations

from django.contrib.auth.models import User
from rest_framework.exceptions import PermissionDenied

from cloudtrain_site.database.unit_of_work import unit_of_work
from cloudtrain_site.errors import Conflict
from jobs.models import Organization
from jobs.statuses import ACTIVE


def deactivate_user(user: User, *, by: User) -> bool:
    """End the user's access. False: it had ended.

    A submission that is being stored comes first, or is refused (`permissions.lock_submitter`). Raises Conflict for
    one's own account, and PermissionDenied when `by` was deactivated meanwhile: of two who deactivate each other, one
    is left.
    """
    if user.pk == by.pk:
        raise Conflict("You can't deactivate yourself.")
    with unit_of_work():
        locked = User.objects.select_for_update(no_key=True).filter(pk__in=[user.pk, by.pk]).order_by("pk")
        current = {person.pk: person for person in locked}
        if by.pk not in current or not current[by.pk].is_active:
            raise PermissionDenied("Your account was deactivated.")
        if user.pk not in current or not current[user.pk].is_active:
            return False
        current[user.pk].is_active = False
        current[user.pk].save(update_fields=["is_active"])
    user.is_active = False
    return True


def end_memberships(organization: Organization) -> int:
    """End all memberships of an organization whose jobs have all ended. Returns how many.

    A submission that is being stored comes first, or is refused. Raises Conflict while a job waits or runs: its members
    should look after it.
    """
    with unit_of_work():
        # In the order of a submission: it locks its membership, and then by its job's foreign key the organization.
        list(organization.memberships.select_for_update().order_by("pk").values_list("pk"))
        Organization.objects.select_for_update().filter(pk=organization.pk).values_list("pk").first()
        active = organization.jobs.filter(status__in=ACTIVE).count()
        if active:
            jobs, them = ("1 job", "it") if active == 1 else (f"{active} jobs", "them")
            raise Conflict(f"{organization} has {jobs} that did not end yet: cancel {them} first.")
        ended, _ = organization.memberships.all().delete()
    return ended
