"""The discovered jobs in an organization's settings."""

from __future__ import annotations

import pytest
from django.contrib.auth.models import User

from jobs.models import Organization, ProviderConfig
from jobs.roles import Role
from tests.factories import make_job, make_user
from tests.settings_pages import ACME, browser_of, text_of

pytestmark = pytest.mark.django_db
DISCOVERED = f"{ACME}/discovered"
TAKE = f"{DISCOVERED}/replicate/take"


@pytest.fixture
def maria(acme: Organization, charlie: User) -> User:
    """An admin of acme, which is not the only organization."""
    return make_user("maria", acme, Role.ADMIN)


def test_an_admin_sees_what_was_discovered_and_not_whose_the_rest_is(maria: User, acme: Organization) -> None:
    make_job(organization=acme, provider="replicate", metadata={"discovered": True})
    make_job(organization=None, provider="replicate", metadata={"discovered": True})
    ProviderConfig.objects.filter(pk="replicate").update(discovery_organization=Organization.objects.get(name="other"))
    page = text_of(browser_of(maria).get(DISCOVERED))
    assert "Replicate do not belong to acme 1 job" in page
    assert "other" not in page and "of no organization" not in page


def test_a_superuser_gives_them_to_the_organization(maria: User, root: User, acme: Organization) -> None:
    assert browser_of(maria).post(TAKE).status_code == 403
    assert ProviderConfig.of("replicate").discovery_organization is None
    page = text_of(browser_of(root).post(TAKE, follow=True))
    assert "Jobs that are discovered at Replicate belong to acme from now on." in page
    assert ProviderConfig.of("replicate").discovery_organization == acme
    assert browser_of(root).post(f"{DISCOVERED}/of-nobody/take").status_code == 404
