"""The organizations on the site's pages."""

from __future__ import annotations

import re

import pytest
from django.contrib.auth.models import User

from jobs.models import Job, Membership, Organization
from jobs.statuses import JobStatus
from tests.factories import make_job
from tests.settings_pages import browser_of, text_of

pytestmark = [pytest.mark.slow, pytest.mark.django_db]
ALL = "/site/organizations"
ONE = f"{ALL}/acme"


def deletion_stamp(user: User, address: str) -> str:
    found = re.search(r'name="stamp"\s+value="(\w+)"', browser_of(user).get(address).content.decode())
    return found.group(1) if found else ""


@pytest.mark.parametrize("address", [ALL, ONE, f"{ONE}/close", f"{ONE}/reopen", f"{ONE}/delete"])
def test_they_are_for_superusers(acme: Organization, charlie: User, address: str) -> None:
    for method in ("get", "post"):
        page = getattr(browser_of(charlie), method)(address, {"name": "x", "running": "finish"})
        assert page.status_code in (403, 405)
        assert "acme" not in text_of(page)
    assert set(Organization.objects.values_list("name", "closed_at")) == {("acme", None), ("other", None)}


def test_one_is_made_and_leads_to_its_members(root: User) -> None:
    browser = browser_of(root)
    assert "No organizations yet." in text_of(browser.get(ALL))
    page = browser.post(ALL, {"name": "umbrella"}, follow=True)
    assert page.redirect_chain[-1][0] == "/organizations/umbrella/settings/members"
    assert "The organization umbrella was created. Invite its first admin." in text_of(page)


@pytest.mark.parametrize("name", ["acme", "", "two words", "a/b", "x" * 101])
def test_a_bad_name_is_refused(root: User, acme: Organization, name: str) -> None:
    for address in (ALL, f"{ALL}/second"):
        Organization.objects.get_or_create(name="second")
        page = browser_of(root).post(address, {"name": name})
        assert page.status_code == 400
        assert "id_name_error" in page.content.decode()
    assert set(Organization.objects.values_list("name", flat=True)) == {"acme", "second"}


def test_a_search_finds_by_part_of_the_name(root: User, acme: Organization, charlie: User) -> None:
    page = text_of(browser_of(root).get(f"{ALL}?q=CM"))
    assert "acme" in page and "other" not in page
    assert "No organizations match “zzz”." in text_of(browser_of(root).get(f"{ALL}?q=zzz&page=7"))
    assert browser_of(root).get(f"{ALL}?q=%00").status_code == 200


def test_it_is_renamed(root: User, acme: Organization, alice: User) -> None:
    page = browser_of(root).post(ONE, {"name": "apex"}, follow=True)
    assert page.redirect_chain[-1][0] == f"{ALL}/apex"
    assert browser_of(alice).get("/organizations/apex/settings/members").status_code == 200
    assert browser_of(root).get(ONE).status_code == 404


def test_it_is_closed_once_reopened_once_and_submits_meanwhile_nothing(
    root: User, acme: Organization, alice: User
) -> None:
    job = make_job(organization=acme, submitted_by=alice, status=JobStatus.PENDING)
    browser = browser_of(root)
    assert browser.post(f"{ONE}/close", {"running": "explode"}).status_code == 400
    page = text_of(browser.post(f"{ONE}/close", {"running": "finish"}, follow=True))
    assert "The organization acme is closed. 1 job cancelled." in page
    assert Job.objects.get(pk=job.pk).status == JobStatus.CANCELLED
    assert "acme is already closed." in text_of(browser.post(f"{ONE}/close", {"running": "finish"}, follow=True))
    assert browser_of(alice).get("/jobs/new").status_code == 403
    assert "is open again." in text_of(browser.post(f"{ONE}/reopen", follow=True))
    assert "acme is already open." in text_of(browser.post(f"{ONE}/reopen", follow=True))


def test_what_a_deletion_takes_is_listed_and_it_is_deleted_as_listed(
    root: User, acme: Organization, alice: User, bob: User
) -> None:
    browser = browser_of(root)
    page = text_of(browser.get(ONE))
    assert "Deleted with it: Memberships: 2" in page
    assert "It can’t be deleted now. Close it first." in page
    browser.post(f"{ONE}/close", {"running": "finish"})
    stamp = deletion_stamp(root, ONE)
    Membership.objects.filter(user=bob).delete()
    page = text_of(browser.post(f"{ONE}/delete", {"stamp": stamp}, follow=True))
    assert "Somebody else changed this after you opened the page." in page
    page = text_of(browser.post(f"{ONE}/delete", {"stamp": deletion_stamp(root, ONE)}, follow=True))
    assert "Organization acme deleted." in page
    assert not Organization.objects.exists()


def test_one_with_jobs_is_not_deleted(root: User, acme: Organization, alice: User) -> None:
    make_job(organization=acme, submitted_by=alice, status=JobStatus.COMPLETED)
    browser = browser_of(root)
    page = text_of(browser.get(ONE))
    assert "It has 1 jobs: their history and their costs stay. It can only be closed." in page
    assert "Deleted with it" not in page
    browser.post(f"{ONE}/close", {"running": "finish"})
    page = text_of(browser.get(ONE))
    assert "It has 1 jobs: their history and their costs stay. It stays closed." in page
    assert "Delete the organization" not in page
    assert Organization.objects.exists()


def test_the_lists_need_few_queries(root: User, django_assert_max_num_queries: object) -> None:
    for number in range(60):
        Organization.objects.create(name=f"team-{number:02}")
    browser = browser_of(root)
    with django_assert_max_num_queries(20):  # type: ignore[operator]
        page = browser.get(f"{ALL}?q=team")
    assert "1 to 50 of 60" in text_of(page)
    assert 'href="?q=team&amp;page=2"' in page.content.decode()
