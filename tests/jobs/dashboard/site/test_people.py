"""The people on the site's pages."""

from __future__ import annotations

import pytest
from django.contrib.auth.models import User

from jobs.models import Membership, Organization
from tests.factories import make_user
from tests.settings_pages import browser_of, text_of

pytestmark = [pytest.mark.slow, pytest.mark.django_db]
PEOPLE = "/site/people"


def one(user: User) -> str:
    return f"{PEOPLE}/{user.pk}"


def test_they_are_for_superusers(alice: User, charlie: User) -> None:
    browser = browser_of(charlie)
    for page in (
        browser.get(PEOPLE),
        browser.get(one(alice)),
        browser.post(f"{one(alice)}/active", {"active": "no"}),
        browser.post(f"{one(charlie)}/superuser", {"superuser": "yes"}),
    ):
        assert page.status_code == 403
        assert "alice" not in text_of(page)
    assert User.objects.get(username="alice").is_active
    assert not User.objects.filter(is_superuser=True).exists()


@pytest.mark.parametrize("search", ["LIC", "alice@example", "acme"])
def test_a_search_finds_by_name_address_and_organization(root: User, alice: User, charlie: User, search: str) -> None:
    Membership.objects.create(user=alice, organization=Organization.objects.get(name="other"), role="lead")
    page = text_of(browser_of(root).get(f"{PEOPLE}?q={search}"))
    assert "alice alice@example.org acme : researcher other : lead never active" in page
    assert "charlie" not in page


def test_nobody_found_is_said(root: User) -> None:
    for search in ("zzz", "%00zzz", "%F0%9F%9A%82"):
        assert "No people match “" in text_of(browser_of(root).get(f"{PEOPLE}?q={search}"))


def test_somebody_is_deactivated_once_and_reactivated_once(root: User, alice: User) -> None:
    theirs = browser_of(alice)
    browser = browser_of(root)
    for sentence in ("alice is deactivated.", "alice is already deactivated."):
        assert sentence in text_of(browser.post(f"{one(alice)}/active", {"active": "no"}, follow=True))
    assert theirs.get("/").status_code == 302
    for sentence in ("alice has access again.", "alice already has access."):
        assert sentence in text_of(browser.post(f"{one(alice)}/active", {"active": "yes"}, follow=True))


def test_nobody_deactivates_themselves(root: User) -> None:
    browser = browser_of(root)
    assert "This is you." in text_of(browser.get(one(root)))
    page = text_of(browser.post(f"{one(root)}/active", {"active": "no"}, follow=True))
    assert "You can't deactivate yourself." in page
    assert User.objects.get(pk=root.pk).is_active


def test_a_superuser_is_made_and_the_last_one_stays(root: User, alice: User) -> None:
    browser = browser_of(root)
    page = text_of(browser.post(f"{one(root)}/superuser", {"superuser": "no"}, follow=True))
    assert "root is the last superuser." in page
    page = text_of(browser.post(f"{one(alice)}/superuser", {"superuser": "yes"}, follow=True))
    assert "alice is a superuser now." in page
    answer = browser.post(f"{one(root)}/superuser", {"superuser": "no"}, follow=True)
    assert answer.status_code == 403  # and sees the site's pages no more
    assert list(User.objects.filter(is_superuser=True)) == [alice]


def test_an_unknown_person_is_not_found(root: User) -> None:
    assert browser_of(root).get(f"{PEOPLE}/987654").status_code == 404
    assert browser_of(root).post(f"{PEOPLE}/987654/active", {"active": "no"}).status_code == 404


def test_the_list_needs_few_queries(root: User, acme: Organization, django_assert_max_num_queries: object) -> None:
    for number in range(60):
        make_user(f"person-{number:02}", acme)
    browser = browser_of(root)
    with django_assert_max_num_queries(20):  # type: ignore[operator]
        page = browser.get(f"{PEOPLE}?page=2")
    assert "51 to 61 of 61" in text_of(page)
