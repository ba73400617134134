"""An event stream that is open when a second factor begins to be demanded of its reader."""

from __future__ import annotations

from collections.abc import Callable

import httpx
import pytest
from allauth.mfa.models import Authenticator
from django.contrib.auth.models import User

from jobs.models import Organization
from jobs.organizations.settings import change_organization
from jobs.roles import Role
from tests.factories import make_user
from tests.one_time_codes import app_of
from tests.web import open_stream, session_cookies

pytestmark = [pytest.mark.slow, pytest.mark.django_db(transaction=True)]


def status_of(url: str, user: User) -> int:
    """What the browser gets that opens its stream again."""
    with httpx.Client(cookies=session_cookies(user)) as client, client.stream("GET", f"{url}/api/events") as answer:
        return answer.status_code


def test_a_demand_of_the_organization_cuts_it(acme: Organization, alice: User, web_server: str) -> None:
    adam = make_user("adam", acme, Role.ADMIN)
    with open_stream(web_server, alice) as stream:
        change_organization(acme, {"second_factor_required": True}, by=adam)
        assert stream.rest() == []
    assert status_of(web_server, alice) == 403


def test_one_who_has_a_factor_opens_it_again(acme: Organization, alice: User, web_server: str) -> None:
    app_of(alice)
    change_organization(acme, {"second_factor_required": True}, by=make_user("adam", acme, Role.ADMIN))
    with open_stream(web_server, alice) as stream:
        Authenticator.objects.get(user=alice).delete()
        assert stream.rest() == []
    assert status_of(web_server, alice) == 403


def test_a_demand_of_the_site_cuts_it(alice: User, web_server: str, write_config: Callable[[str], object]) -> None:
    write_config("second_factor:\n  required_of: nobody\n")
    with open_stream(web_server, alice) as stream:
        write_config("second_factor:\n  required_of: everybody\n")
        assert stream.rest() == []
    assert status_of(web_server, alice) == 403
