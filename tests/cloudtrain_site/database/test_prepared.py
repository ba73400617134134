"""Queries whose SQL is assembled once."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db.models import QuerySet

from cloudtrain_site.database.prepared import Prepared, counted
from jobs.models import Membership, Organization

pytestmark = pytest.mark.django_db

NOON = datetime(2026, 11, 29, 12, tzinfo=UTC)


@pytest.fixture
def people() -> list[User]:
    return [User.objects.create(username=f"u{number}", date_joined=NOON + timedelta(hours=number)) for number in (0, 1)]


def _named(name: str | None) -> QuerySet[User]:
    return User.objects.filter(last_login=None) if name is None else User.objects.filter(username=name)


class TestAnswersOfNow:
    def test_each_call_has_its_own_arguments_and_rows(self, people: list[User]) -> None:
        prepared = Prepared(lambda name: User.objects.filter(username=name))
        assert prepared("u0") == [people[0]]
        assert prepared("u1") == [people[1]]
        assert prepared.first("u2") is None
        User.objects.filter(username="u0").update(username="u2")
        assert (prepared("u0"), prepared.first("u2")) == ([], people[0])

    def test_none_is_a_shape_of_its_own(self, people: list[User]) -> None:
        prepared = Prepared(_named)
        assert [len(prepared(name)) for name in ("u0", None, "u1", None)] == [1, 2, 1, 2]

    def test_the_order_of_the_arguments_and_their_repetition_count(self, people: list[User]) -> None:
        prepared = Prepared(
            lambda name, mail: (
                (User.objects.filter(email=mail) | User.objects.filter(username=name, email=mail))
                .filter(username=name)
                .values_list("username", flat=True)
            )
        )
        assert (prepared("u0", ""), prepared("", "u0")) == (["u0"], [])

    def test_a_time_is_stored_as_the_database_has_it(self, people: list[User]) -> None:
        prepared = Prepared(lambda at: User.objects.filter(date_joined__lte=at))
        assert [len(prepared(NOON + timedelta(minutes=minutes))) for minutes in (-1, 0, 90)] == [0, 1, 2]

    def test_related_rows_come_with_it(self, people: list[User], django_assert_num_queries: Any) -> None:
        acme = Organization.objects.create(name="acme")
        Membership.objects.create(user=people[0], organization=acme, role="lead")
        prepared = Prepared(lambda user: Membership.objects.filter(user=user).select_related("organization"))
        for _ in range(2):
            with django_assert_num_queries(1):
                assert [item.organization.name for item in prepared(people[0].pk)] == ["acme"]

    def test_any_number_of_arguments_of_one_kind(self, people: list[User], django_assert_num_queries: Any) -> None:
        prepared = Prepared(lambda *names: User.objects.filter(username__in=names))
        others = [f"nobody {number}" for number in range(148)]
        for names, queries in ((["u0"], 1), (["u1", *others[:25]], 1), (["u0", *others, "u1"], 2), ([], 0)):
            with django_assert_num_queries(queries):
                found = prepared.of_each(names)
            assert found == [person for person in people if person.username in names]

    def test_a_number_of_rows(self, people: list[User]) -> None:
        prepared = Prepared(lambda name: counted(User.objects.filter(username__gte=name)))
        assert [prepared(name) for name in ("u0", "u1", "u2")] == [[2], [1], [0]]


@pytest.mark.parametrize(
    ("build", "argument", "error"),
    [
        (lambda name: User.objects.filter(username__startswith=name), "u", ValueError),
        (lambda name: User.objects.all(), "u", ValueError),
        (lambda name: User.objects.filter(username=name, pk__in=[]), "u", ValueError),
        (lambda active: User.objects.filter(is_active=active), True, TypeError),
    ],
)
def test_what_can_t_be_prepared_is_refused(build: Callable[..., Any], argument: Any, error: type[Exception]) -> None:
    with pytest.raises(error, match="argument"):
        Prepared(build)(argument)
