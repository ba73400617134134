"""The limits in an organization's settings."""

from __future__ import annotations

import pytest
from django.contrib.auth.models import User

from cloudtrain_site.audit.models import AuditRecord
from jobs.models import Organization
from jobs.roles import Role
from queueing.limits import queue_state
from queueing.models import QueueState
from tests.factories import make_user
from tests.settings_pages import ACME, browser_of, send, stamp_in, text_of

pytestmark = [pytest.mark.slow, pytest.mark.django_db]
LIMITS = f"{ACME}/limits"


@pytest.fixture
def maria(acme: Organization) -> User:
    queue_state()
    QueueState.objects.update(max_running_per_organization=4, max_running=9)
    return make_user("maria", acme, Role.ADMIN)


def test_an_admin_sets_the_own_limit_and_takes_it_back(maria: User, acme: Organization) -> None:
    browser = browser_of(maria)
    assert "The general limit of 4 applies." in text_of(browser.get(LIMITS))
    page = send(browser, LIMITS, max_running="2", reason="the budget")
    assert "Limit saved." in text_of(page)
    assert "At most 2 may run at once." in text_of(page)
    change = AuditRecord.objects.get()
    assert (change.action, change.subject, change.actor) == ("limit_changed", "acme", "maria")
    assert (change.before, change.after) == ({"max_running": None}, {"max_running": 2, "reason": "the budget"})
    assert "No changes." in text_of(send(browser, LIMITS, max_running="2"))
    send(browser, LIMITS, max_running="")
    acme.refresh_from_db()
    assert acme.max_running is None


def test_more_than_the_general_limit_is_a_superusers_to_allow(maria: User, root: User, acme: Organization) -> None:
    page = send(browser_of(maria), LIMITS, max_running="5")
    assert page.status_code == 400
    assert "the general limit of 4 for an organization." in text_of(page)
    assert 'value="5"' in page.content.decode()
    acme.refresh_from_db()
    assert acme.max_running is None
    assert "Limit saved." in text_of(send(browser_of(root), LIMITS, max_running="5"))


@pytest.mark.parametrize("number", ["-1", "1.5", "many", "99999999999999999999", "\x00"])
def test_what_is_no_limit_changes_nothing(maria: User, acme: Organization, number: str) -> None:
    page = send(browser_of(maria), LIMITS, max_running=number)
    assert page.status_code == 400
    assert 'aria-invalid="true"' in page.content.decode()
    acme.refresh_from_db()
    assert acme.max_running is None


def test_a_page_that_is_out_of_date_overwrites_nothing(maria: User, acme: Organization) -> None:
    browser = browser_of(maria)
    stamp = stamp_in(browser, LIMITS)
    Organization.objects.filter(pk=acme.pk).update(max_running=3)
    page = browser.post(LIMITS, {"stamp": stamp, "max_running": "1"}, follow=True)
    assert "Somebody else changed this after you opened the page." in text_of(page)
    acme.refresh_from_db()
    assert acme.max_running == 3
    assert not AuditRecord.objects.exists()


def test_the_sites_limits_are_shown(maria: User, root: User) -> None:
    page = text_of(browser_of(maria).get(LIMITS))
    assert "Total 9" in page
    assert "Only superusers can change them." in page
    assert "Change them in the admin" in text_of(browser_of(root).get(LIMITS))
