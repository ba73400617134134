"""Streams that are admitted many at a time: only whom the view would admit, to the same channels."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import pytest
from allauth.usersessions.models import UserSession
from django.contrib.auth.models import User
from django.contrib.sessions.models import Session
from django.db import connection
from django.test import Client, RequestFactory
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from cloudtrain_site.accounts.sessions import end_session
from cloudtrain_site.events.admission import Candidate, admit
from cloudtrain_site.events.readers import UNKNOWN, StreamReader
from cloudtrain_site.events.store import current_number, rights_changed_after
from cloudtrain_site.limits import streams
from jobs.api.event_channels import ChannelManager
from jobs.models import Membership, Organization
from jobs.roles import Role
from tests.cloudtrain_site.event_factory import store_event
from tests.configuration import WriteConfig
from tests.factories import make_user
from tests.limits import SetLimits
from tests.one_time_codes import app_of

pytestmark = pytest.mark.django_db
Change = Callable[[User, str], object]


@pytest.fixture(autouse=True)
def _counts_anew() -> Iterator[None]:
    yield
    streams.open_here()


def session_of(user: User) -> str:
    """The key of a browser's session, listed as after its first page."""
    browser = Client()
    browser.force_login(user)
    key = str(browser.session.session_key)
    UserSession.objects.create(session_key=key, user=user, ip="127.0.0.1")
    return key


def reader_of(key: str, last_id: str = "", page_owner: str | None = None) -> StreamReader | None:
    candidate = Candidate(key, last_id, page_owner)
    admit([candidate])
    return candidate.reader


def channels_of_view(user: User) -> set[str]:
    request = RequestFactory().get("/api/events")
    request.user = User.objects.get(pk=user.pk)
    return ChannelManager().get_channels_for_request(request, {})


def test_each_gets_their_own_channels_with_few_queries(
    acme: Organization, alice: User, bob: User, charlie: User, root: User
) -> None:
    both = make_user("both", acme, Role.VIEWER)
    Membership.objects.create(user=both, organization=Organization.objects.create(name="third"), role=Role.LEAD)
    users = [alice, bob, charlie, root, both, alice, both]
    candidates = [Candidate(session_of(user), "", str(user.pk)) for user in users]
    admit(candidates[:1])  # assembles the queries
    with CaptureQueriesContext(connection) as queries:
        admit(candidates)
    # The newest number, the sessions with their users, the memberships, and the streams at other machines.
    assert len(queries) == 4
    for user, candidate in zip(users, candidates, strict=True):
        assert candidate.reader is not None
        assert candidate.user == user
        assert candidate.reader.user_id == user.pk
        assert candidate.reader.channels == channels_of_view(user)
    assert {streams.open_here()[str(user.pk)] for user in (bob, charlie)} == {1}


@pytest.mark.parametrize(("last_id", "expected"), [("", 3), ("2", 2), ("4", UNKNOWN), ("x", UNKNOWN)])
def test_it_goes_on_after_the_number_that_the_client_has(alice: User, last_id: str, expected: int) -> None:
    missing = 3 - current_number()
    for _ in range(missing):
        store_event("news")
    reader = reader_of(session_of(alice), last_id)
    assert reader is not None
    assert (reader.joined_at, reader.read_to) == (3, expected)


def test_rights_that_change_afterwards_have_a_higher_number(alice: User) -> None:
    reader = reader_of(session_of(alice))
    Membership.objects.get(user=alice).delete()
    assert reader is not None
    assert rights_changed_after(reader.joined_at, alice.pk)
    after = reader_of(session_of(alice))
    assert after is not None
    assert after.channels == channels_of_view(alice) != reader.channels
    assert not rights_changed_after(after.joined_at, alice.pk)


def _change_session(**columns: Any) -> Change:
    return lambda user, key: UserSession.objects.filter(session_key=key).update(**columns)


def _change_password(user: User, key: str) -> None:
    user.set_password("an entirely new one")
    user.save()


def _change_backend(user: User, key: str) -> None:
    browser = Client()
    browser.force_login(user, "django.contrib.auth.backends.AllowAllUsersModelBackend")
    session = browser.session
    Session.objects.filter(pk=key).update(session_data=Session.objects.get(pk=session.session_key).session_data)


LONG_AGO = timezone.now() - timedelta(days=365)
NOT_CERTAIN: dict[str, Change] = {
    "ended": lambda user, key: end_session(user, UserSession.objects.get(session_key=key).pk),
    "expired": lambda user, key: Session.objects.filter(pk=key).update(expire_date=LONG_AGO),
    "begun too long ago": _change_session(created_at=LONG_AGO),
    "idle for too long": _change_session(last_seen_at=LONG_AGO),
    "listed for nobody": lambda user, key: UserSession.objects.filter(session_key=key).delete(),
    "listed for another": lambda user, key: UserSession.objects.filter(session_key=key).update(user=make_user("eve")),
    "not to be decoded": lambda user, key: Session.objects.filter(pk=key).update(session_data="what is this"),
    "deactivated": lambda user, key: User.objects.filter(pk=user.pk).update(is_active=False),
    "a new password": _change_password,
    "another way to sign in": _change_backend,
    "a demanded second factor": lambda user, key: Organization.objects.update(second_factor_required=True),
}


@pytest.mark.parametrize("change", NOT_CERTAIN.values(), ids=NOT_CERTAIN)
def test_who_needs_a_closer_look_is_not_admitted(alice: User, bob: User, change: Change) -> None:
    key, other = session_of(alice), Candidate(session_of(make_user("carol")), "", None)
    assert reader_of(key) is not None
    change(alice, key)
    candidate = Candidate(key, "", None)
    admit([candidate, other])
    assert candidate.reader is None
    assert other.reader is not None


def test_nor_a_page_of_somebody_else(alice: User, bob: User) -> None:
    key = session_of(alice)
    assert reader_of(key, page_owner=str(bob.pk)) is None
    assert reader_of(key, page_owner=f"0{alice.pk}") is None
    assert reader_of(key, page_owner=str(alice.pk)) is not None


def test_nor_anybody_whom_the_site_asks_for_more(alice: User, root: User, write_config: WriteConfig) -> None:
    plain, supers = session_of(alice), session_of(root)
    write_config("second_factor:\n  required_of: superusers\n")
    assert (reader_of(supers), reader_of(plain) is None) == (None, False)
    write_config("second_factor:\n  required_of: everybody\n")
    assert reader_of(plain) is None
    write_config("remote_user:\n  header: Remote-User\n  proxies: 10.0.0.0/8\n")
    assert reader_of(plain) is None


def test_a_second_factor_of_ones_own_is_enough_for_an_organization(acme: Organization, alice: User, bob: User) -> None:
    app_of(alice)
    Organization.objects.update(second_factor_required=True)
    assert reader_of(session_of(alice)) is not None
    assert reader_of(session_of(bob)) is None


def test_one_stream_too_many_is_not_admitted(alice: User, set_limits: SetLimits) -> None:
    set_limits(streams=3)
    key = session_of(alice)
    streams.publish_counts("another-1", {str(alice.pk): 1})
    candidates = [Candidate(key, "", None) for _ in range(3)]
    admit(candidates)
    assert [candidate.reader is not None for candidate in candidates] == [True, True, False]
