"""People across organizations, for superusers: the end of an account's access, and who is a superuser.

One active superuser always stays. Nobody acts as somebody else.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping

from django.contrib.auth.models import User
from django.db import transaction
from django.db.models import Q, QuerySet
from rest_framework.exceptions import PermissionDenied

from cloudtrain_site.accounts.api_keys import organization_of_key, revoke_all_keys
from cloudtrain_site.accounts.sessions import end_other_sessions
from cloudtrain_site.audit.recording import record
from cloudtrain_site.database.unit_of_work import unit_of_work
from cloudtrain_site.errors import Conflict
from cloudtrain_site.states import Actor
from jobs.models import ServiceAccount
from jobs.organizations.authority import By, actor_of

LAST_SUPERUSER = "is the last superuser. Make somebody else a superuser first."


def deactivate_user(user: User, *, by: By) -> bool:
    """End the user's access, and their API keys and sessions for good. False: it had ended.

    A submission that is being stored comes first, or is refused (`permissions.lock_submitter`). Raises Conflict for
    one's own account and for the last superuser, and PermissionDenied when `by` was deactivated meanwhile: of two who
    deactivate each other, one is left.
    """
    if isinstance(by, User) and user.pk == by.pk:
        raise Conflict("You can't deactivate yourself.")
    return _change(user, "is_active", False, by=by, action="user_deactivated")


def reactivate_user(user: User, *, by: By) -> bool:
    """Give a deactivated user access again, with the memberships they had. False: they have it."""
    return _change(user, "is_active", True, by=by, action="user_reactivated")


def make_superuser(user: User, *, by: By) -> bool:
    """Make a user a superuser, who enters the admin too. False: they are one. Raises Conflict for a deactivated one."""
    return _change(user, "is_superuser", True, by=by, action="superuser_made")


def end_superuser(user: User, *, by: By) -> bool:
    """Take a superuser's rights; memberships stay. False: they have none. Raises Conflict for the last one."""
    return _change(user, "is_superuser", False, by=by, action="superuser_ended")


#: The verbs that give a right and end it. In this order: nobody becomes a superuser who is deactivated.
RIGHTS = {"is_active": (reactivate_user, deactivate_user), "is_superuser": (make_superuser, end_superuser)}


def set_rights(user: User, rights: Mapping[str, bool], *, by: By) -> None:
    """Change which of `RIGHTS` a user has, or none of them. Raises Conflict and PermissionDenied as the verbs do."""
    with unit_of_work():
        for name, (give, end) in RIGHTS.items():
            if name in rights:
                (give if rights[name] else end)(user, by=by)


def check_rights(user: User, rights: Mapping[str, bool], *, by: By) -> None:
    """Raise what `set_rights` would raise. Changes nothing."""
    with unit_of_work(), transaction.atomic():
        set_rights(User(pk=user.pk), rights, by=by)
        transaction.set_rollback(True)


def delete_user(user: User, *, by: By) -> None:
    """Delete an account that has no jobs and no uploads. Raises Conflict for the last superuser.

    For the admin, which lists before what goes with it.
    """
    with unit_of_work():
        people = _lock_people(user, by)
        check_superuser_stays([user.pk], people.values())
        if user.pk in people:
            record(
                "user_deleted", user, by=actor_of(by), before={"email": user.email, "is_superuser": user.is_superuser}
            )
            people[user.pk].delete()


def _change(user: User, field: str, value: bool, *, by: By, action: str) -> bool:
    with unit_of_work():
        people = _lock_people(user, by)
        current = people.get(user.pk)
        if current is None or getattr(current, field) == value:
            return False
        if value and ServiceAccount.objects.filter(user=current).exists():
            raise Conflict(f"{current} is a service account.")
        if field == "is_superuser" and value and not current.is_active:
            raise Conflict(f"{current} is deactivated.")
        if not value:
            check_superuser_stays([current.pk], people.values())
        if field == "is_active" and not value:
            revoke_all_keys(current, by=actor_of(by))
            end_other_sessions(current, None)
        setattr(current, field, value)
        if field == "is_superuser":
            current.is_staff = value
        current.save(update_fields=["is_staff", field])
        record(action, current, by=actor_of(by), before={field: not value}, after={field: value})
    setattr(user, field, value)
    return True


def _lock_people(user: User, by: By) -> dict[int, User]:
    """Return the user, `by` and all superusers as stored now, by id, and lock them in one order.

    Raises PermissionDenied when `by` is no superuser any more.
    """
    own = [] if isinstance(by, Actor) else [by.pk]
    people = {person.pk: person for person in _locked([user.pk, *own])}
    for pk in own:
        if pk not in people or not people[pk].is_active:
            raise PermissionDenied("Your account was deactivated.")
        if not people[pk].is_superuser or (isinstance(by, User) and organization_of_key(by) is not None):
            raise PermissionDenied("Only superusers can do this.")
    return people


def check_superuser_stays(leaving: Collection[int], people: Iterable[User] | None = None) -> None:
    """Raise Conflict when no active superuser is left without those of the ids in `leaving`.

    Until this transaction ends no other ends a superuser's rights: all superusers are locked, by the caller who has
    `people`, or here.
    """
    with unit_of_work():
        locked = _locked() if people is None else people
        superusers = [person for person in locked if person.is_superuser and person.is_active]
    if superusers and all(person.pk in leaving for person in superusers):
        raise Conflict(f"{superusers[0]} {LAST_SUPERUSER}", code="last_superuser")


def _locked(ids: Collection[int] = ()) -> QuerySet[User]:
    concerned = Q(pk__in=ids) | Q(is_superuser=True, is_active=True)
    return User.objects.select_for_update(no_key=True).filter(concerned).order_by("pk")
