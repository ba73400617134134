"""The frame of an organization's settings: who sees which section, and what leads there."""

from __future__ import annotations

import re

import pytest
from django.contrib.auth.models import User

from jobs.dashboard.form_pages import stamp_of
from jobs.models import Membership, Organization
from jobs.roles import Role
from tests.factories import make_user
from tests.settings_pages import ACME, browser_of, text_of
from tests.web import read_page

pytestmark = [pytest.mark.slow, pytest.mark.django_db]
SECTIONS = ("members", "limits", "rules", "configs", "discovered")


@pytest.fixture
def maria(acme: Organization) -> User:
    """The admin of acme."""
    return make_user("maria", acme, Role.ADMIN)


TOKEN = re.compile(rb"[A-Za-z0-9]{64}")


class TestWhoSeesIt:
    @pytest.mark.parametrize("section", SECTIONS)
    def test_nobody_is_sent_to_the_login(self, acme: Organization, section: str) -> None:
        page = browser_of(None).get(f"{ACME}/{section}")
        assert page["Location"] == f"/login?next={ACME}/{section}"

    @pytest.mark.parametrize("section", ["", *(f"/{name}" for name in SECTIONS), "/rules/new", "/configs/new"])
    def test_a_stranger_finds_nothing_there(self, acme: Organization, charlie: User, section: str) -> None:
        browser = browser_of(charlie)
        page = browser.get(f"{ACME}{section}")
        nothing = browser.get(f"/organizations/of-nobody/settings{section}")
        # Each answer has a token of its own.
        assert (page.status_code, TOKEN.sub(b"", page.content)) == (404, TOKEN.sub(b"", nothing.content))

    @pytest.mark.parametrize("role", [Role.VIEWER, Role.RESEARCHER, Role.LEAD])
    @pytest.mark.parametrize("section", ["limits", "rules", "rules/new", "discovered"])
    def test_a_member_is_told_who_may(self, acme: Organization, role: Role, section: str) -> None:
        page = browser_of(make_user("mo", acme, role)).get(f"{ACME}/{section}")
        assert page.status_code == 403
        assert "Only admins of acme can see this page. The members page lists them." in text_of(page)

    @pytest.mark.parametrize("role", [Role.VIEWER, Role.RESEARCHER, Role.LEAD])
    def test_a_member_sees_members_and_configs(self, acme: Organization, role: Role) -> None:
        browser = browser_of(make_user("mo", acme, role))
        page = text_of(browser.get(ACME, follow=True))
        assert "Members" in page and "Stored configs" in page
        assert "Limits" not in page
        assert browser.get(f"{ACME}/configs").status_code == 200

    def test_an_admin_and_a_superuser_see_all(self, maria: User, root: User) -> None:
        for user in (maria, root):
            browser = browser_of(user)
            assert [browser.get(f"{ACME}/{section}").status_code for section in SECTIONS] == [200] * 5
            page = browser.get(f"{ACME}/limits").content.decode()
            assert all(f'href="{ACME}/{section}"' in page for section in SECTIONS)

    def test_the_right_ends_with_the_role(self, maria: User) -> None:
        browser = browser_of(maria)
        assert browser.get(f"{ACME}/limits").status_code == 200
        Membership.objects.filter(user=maria).update(role=Role.LEAD)
        assert browser.get(f"{ACME}/limits").status_code == 403
        assert browser.post(f"{ACME}/limits", {"max_running": 1}).status_code == 403
        Membership.objects.filter(user=maria).delete()
        assert browser.get(f"{ACME}/limits").status_code == 404


class TestNavigation:
    def test_admins_and_superusers_are_led_there(self, maria: User, root: User, bob: User, alice: User) -> None:
        for user, leads in ((maria, True), (root, True), (bob, False), (alice, False)):
            assert ('href="/settings"' in read_page(user, "/")) is leads, user

    def test_the_item_is_current_on_each_page_of_the_settings(self, maria: User) -> None:
        for section in (*SECTIONS, "rules/new"):
            page = browser_of(maria).get(f"{ACME}/{section}").content.decode()
            assert '<a href="/settings" aria-current="page" >' in " ".join(page.split()), section

    def test_settings_lead_to_the_organization_that_one_administers(self, maria: User, charlie: User) -> None:
        Membership.objects.create(user=charlie, organization=Organization.objects.create(name="aaa"), role="viewer")
        assert browser_of(charlie).get("/settings")["Location"] == "/organizations/other/settings"

    def test_who_is_in_no_organization_learns_so(self, db: None) -> None:
        page = browser_of(User.objects.create_user("dave")).get("/settings")
        assert page.status_code == 403
        assert "You aren't in an organization yet. An admin of one can invite you." in text_of(page)

    def test_the_switcher_keeps_the_section_where_one_may_see_it(self, maria: User) -> None:
        assert "Switch organization" not in read_page(maria, f"{ACME}/limits")
        for name, role in (("also-mine", Role.ADMIN), ("as-a-viewer", Role.VIEWER)):
            Membership.objects.create(user=maria, organization=Organization.objects.create(name=name), role=role)
        page = read_page(maria, f"{ACME}/limits")
        assert 'href="/organizations/also-mine/settings/limits"' in page
        assert 'href="/organizations/as-a-viewer/settings"' in page


def test_a_stamp_differs_with_each_value() -> None:
    assert len({stamp_of(1, "a"), stamp_of(1, "b"), stamp_of("1", "a"), stamp_of(1), stamp_of(None)}) == 5
    assert stamp_of({"a": 1, "b": 2}) == stamp_of({"b": 2, "a": 1})
