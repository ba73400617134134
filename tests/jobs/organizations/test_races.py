"""Changes of members, invitations and superusers at the same instant: one comes first, and the other heeds it."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import pytest
from django.contrib.auth.models import User
from django.core.exceptions import ValidationError
from rest_framework.exceptions import PermissionDenied

from cloudtrain_site.errors import Conflict
from jobs.models import Membership, Organization
from jobs.organizations.invitations import accept, accept_as_new, invite, withdraw
from jobs.organizations.members import change_role, leave, remove_member
from jobs.organizations.people import deactivate_user, end_superuser
from jobs.roles import Role
from tests.factories import make_user
from tests.races import at_once

pytestmark = [pytest.mark.django_db(transaction=True), pytest.mark.slow]
ROUNDS = 8
PASSWORD = "three unlikely words"


def wins(verb: Callable[[], object]) -> bool:
    try:
        verb()
    except (Conflict, PermissionDenied, ValidationError):
        return False
    return True


def race(*verbs: Callable[[], object]) -> list[bool]:
    return at_once(*(partial(wins, verb) for verb in verbs))


@pytest.mark.parametrize("going", ["leave", "demote themselves", "demote each other", "remove each other"])
def test_of_two_admins_who_go_at_once_one_stays(acme: Organization, going: str) -> None:
    adam, eve = (make_user(name, acme, Role.ADMIN) for name in ("adam", "eve"))
    pairs: dict[str, list[Callable[[], object]]] = {
        "leave": [lambda: leave(acme, adam), lambda: leave(acme, eve)],
        "demote themselves": [partial(change_role, acme, user, Role.LEAD, by=user) for user in (adam, eve)],
        "demote each other": [
            lambda: change_role(acme, eve, Role.LEAD, by=adam),
            lambda: change_role(acme, adam, Role.LEAD, by=eve),
        ],
        "remove each other": [lambda: remove_member(acme, eve, by=adam), lambda: remove_member(acme, adam, by=eve)],
    }
    for _ in range(ROUNDS):
        assert sorted(race(*pairs[going])) == [False, True]
        assert acme.memberships.filter(role=Role.ADMIN).count() == 1
        for user in (adam, eve):
            Membership.objects.update_or_create(user=user, organization=acme, defaults={"role": Role.ADMIN})


def test_of_two_who_accept_one_invitation_at_once_one_joins(acme: Organization) -> None:
    adam = make_user("adam", acme, Role.ADMIN)
    people = [User.objects.create_user(f"user{index}") for index in range(2)]
    for _ in range(ROUNDS):
        _, token = invite(acme, Role.VIEWER, by=adam)
        assert sorted(race(*(partial(accept, token, user) for user in people))) == [False, True]
        assert acme.memberships.exclude(user=adam).delete()[0] == 1


def test_of_an_acceptance_and_a_withdrawal_at_once_one_wins(acme: Organization) -> None:
    adam, dana = make_user("adam", acme, Role.ADMIN), User.objects.create_user("dana")
    for _ in range(ROUNDS):
        invitation, token = invite(acme, Role.VIEWER, by=adam)
        accepted, withdrawn = race(partial(accept, token, dana), partial(withdraw, acme, invitation.pk, by=adam))
        assert accepted is not withdrawn
        assert acme.memberships.filter(user=dana).delete()[0] == accepted


def test_of_two_new_accounts_of_one_name_at_once_one_is_made(acme: Organization) -> None:
    adam = make_user("adam", acme, Role.ADMIN)
    for index in range(3):
        tokens = [invite(acme, Role.VIEWER, by=adam)[1] for _ in range(2)]
        made = race(*(partial(accept_as_new, token, f"new{index}", PASSWORD) for token in tokens))
        assert sorted(made) == [False, True]
        assert User.objects.filter(username=f"new{index}").count() == 1


@pytest.mark.parametrize("end", [end_superuser, deactivate_user])
def test_of_two_superusers_who_end_each_other_one_stays(end: Callable[..., object]) -> None:
    first, second = (User.objects.create_superuser(name) for name in ("first", "second"))
    for _ in range(ROUNDS):
        assert sorted(race(partial(end, first, by=second), partial(end, second, by=first))) == [False, True]
        assert User.objects.filter(is_superuser=True, is_active=True).count() == 1
        User.objects.update(is_superuser=True, is_active=True)


def test_of_two_superusers_who_go_at_once_one_stays() -> None:
    first, second = (User.objects.create_superuser(name) for name in ("first", "second"))
    for _ in range(ROUNDS):
        assert sorted(race(*(partial(end_superuser, user, by=user) for user in (first, second)))) == [False, True]
        User.objects.update(is_superuser=True)
