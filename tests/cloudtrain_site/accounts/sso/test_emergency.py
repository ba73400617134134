"""The superuser's link for a site whose identity provider is away."""

from __future__ import annotations

import io
import time
from unittest import mock

import pytest
from django.contrib.auth.models import User
from django.core.management import CommandError, call_command
from django.test import Client

from cloudtrain_site.accounts.sso import emergency
from cloudtrain_site.audit.models import AuditRecord
from cloudtrain_site.conf.public_address import public_address
from tests.cloudtrain_site.accounts.sso.conftest import Configure
from tests.one_time_codes import app_of

OFF = "local_passwords: off"


def made_link(name: str = "root") -> str:
    output = io.StringIO()
    call_command("emergency_sign_in", name, stdout=output, stderr=io.StringIO())
    return output.getvalue().strip().removeprefix(public_address())


def signed_in(client: Client) -> bool:
    return "_auth_user_id" in client.session


def test_it_signs_in_once_by_its_form(configure: Configure, root: User, client: Client) -> None:
    configure(OFF)
    link = made_link()
    assert "root" in client.get(link).content.decode()
    assert not signed_in(client)
    client.post(link)
    assert signed_in(client)
    other = Client()
    assert other.get(link).status_code == 404
    assert other.post(link).status_code == 404
    assert not signed_in(other)
    assert set(AuditRecord.objects.values_list("action", "actor")) == {
        ("emergency_link_made", "operator"),
        ("emergency_link_used", "root"),
    }


def test_of_two_at_once_one_gets_in(configure: Configure, root: User) -> None:
    configure(OFF)
    made_link()
    first, second = User.objects.get(pk=root.pk), User.objects.get(pk=root.pk)
    assert [emergency.use_up(first), emergency.use_up(second)] == [True, False]


def test_it_ends_after_ten_minutes(configure: Configure, root: User, client: Client) -> None:
    configure(OFF)
    link = made_link()
    later = time.time() + emergency.LIFETIME_SECONDS + 1
    with mock.patch("django.core.signing.time.time", return_value=later):
        assert client.post(link).status_code == 404
    assert not signed_in(client)


def test_it_ends_with_the_superusers_rights(configure: Configure, root: User, client: Client) -> None:
    configure(OFF)
    link = made_link()
    User.objects.update(is_superuser=False)
    assert client.post(link).status_code == 404


def test_a_second_factor_is_asked_for_all_the_same(configure: Configure, root: User, client: Client) -> None:
    configure(OFF)
    app_of(root)
    assert client.post(made_link())["Location"] == "/login/second-step"
    assert not signed_in(client)


def test_none_is_made_for_others(configure: Configure, alice: User, root: User) -> None:
    configure(OFF)
    for name in ("alice", "nobody"):
        with pytest.raises(CommandError, match="not an active superuser"):
            made_link(name)


def test_where_passwords_are_on_there_is_none(configure: Configure, root: User, client: Client) -> None:
    configure(OFF)
    link = made_link()
    configure()
    assert client.get(link).status_code == 404
    assert client.post(link).status_code == 404
    with pytest.raises(CommandError, match="switched on"):
        made_link()


@pytest.mark.parametrize("token", ["x", "a.b.c", "%00", ":", "..."])
def test_what_is_no_link_is_a_sentence(configure: Configure, root: User, client: Client, token: str) -> None:
    configure(OFF)
    assert client.post(f"/login/emergency/{token}").status_code == 404
    assert not signed_in(client)
