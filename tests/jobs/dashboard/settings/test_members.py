"""The members in an organization's settings: roles, removal, leaving, invitations."""

from __future__ import annotations

import re

import pytest
from allauth.mfa.models import Authenticator
from django.contrib.auth.models import User

from cloudtrain_site.audit.models import AuditRecord
from cloudtrain_site.audit.recording import OPERATOR
from jobs.dashboard.form_pages import stamp_of
from jobs.models import Invitation, Job, Membership, Organization
from jobs.organizations.invitations import find_invitation, invite
from jobs.roles import Role
from jobs.statuses import JobStatus
from tests.factories import make_job, make_user
from tests.settings_pages import ACME, browser_of, text_of

pytestmark = [pytest.mark.slow, pytest.mark.django_db]
MEMBERS = f"{ACME}/members"


@pytest.fixture
def maria(acme: Organization) -> User:
    return make_user("maria", acme, Role.ADMIN)


def role_of(user: User) -> str | None:
    membership = Membership.objects.filter(user=user, organization__name="acme").first()
    return membership.role if membership else None


class TestList:
    def test_an_admin_sees_addresses_and_controls(self, maria: User, alice: User) -> None:
        page = text_of(browser_of(maria).get(MEMBERS))
        assert "alice alice@example.org" in page
        assert "Change the role of alice" in page and "Remove alice" in page
        assert "Create invitation" in page and "No open invitations." in page

    def test_a_member_sees_who_is_there_and_may_leave(self, maria: User, alice: User) -> None:
        page = text_of(browser_of(alice).get(MEMBERS))
        assert "alice (you) Researcher" in page and "maria Admin" in page
        assert "Leave acme" in page
        assert not any(text in page for text in ("example.org", "Change", "Remove", "Last seen", "invitation"))

    def test_the_last_admin_reads_why_there_are_no_controls(self, maria: User, alice: User) -> None:
        page = text_of(browser_of(maria).get(MEMBERS))
        assert "Admin The last admin. Make somebody else an admin before" in page
        assert "Change the role of maria" not in page and "Leave acme" not in page
        make_user("second", Organization.objects.get(name="acme"), Role.ADMIN)
        page = text_of(browser_of(maria).get(MEMBERS))
        assert "The last admin." not in page and "Leave acme" in page

    def test_an_admin_sees_who_has_a_second_factor(self, maria: User, alice: User) -> None:
        Authenticator.objects.create(user=alice, type=Authenticator.Type.TOTP, data={})
        Authenticator.objects.create(user=maria, type=Authenticator.Type.RECOVERY_CODES, data={})
        page = browser_of(maria).get(MEMBERS).content.decode()
        assert [bool(cell) for cell in re.findall(r'data-label="Second factor">\s*(yes)?', page)] == [True, False]


class TestRole:
    def test_it_is_changed_and_put_on_record(self, maria: User, alice: User) -> None:
        fields = {"role": "lead", "stamp": stamp_of("researcher")}
        page = browser_of(maria).post(f"{MEMBERS}/{alice.pk}/role", fields, follow=True)
        assert "alice is lead now." in text_of(page)
        assert role_of(alice) == "lead"
        record = AuditRecord.objects.get(action="role_changed")
        assert (record.actor, record.subject, record.source) == ("maria", "alice", "page")

    def test_a_page_that_is_out_of_date_changes_nothing(self, maria: User, alice: User) -> None:
        Membership.objects.filter(user=alice).update(role="viewer")
        fields = {"role": "lead", "stamp": stamp_of("researcher")}
        page = browser_of(maria).post(f"{MEMBERS}/{alice.pk}/role", fields, follow=True)
        assert "Somebody else changed this after you opened the page." in text_of(page)
        assert role_of(alice) == "viewer"

    @pytest.mark.parametrize("role", ["", "king", "admin\x00"])
    def test_only_a_role_will_do(self, maria: User, alice: User, role: str) -> None:
        fields = {"role": role, "stamp": stamp_of("researcher")}
        page = browser_of(maria).post(f"{MEMBERS}/{alice.pk}/role", fields, follow=True)
        assert "Choose one of the roles." in text_of(page)
        assert role_of(alice) == "researcher"

    def test_the_last_admin_stays_one(self, maria: User) -> None:
        fields = {"role": "lead", "stamp": stamp_of("admin")}
        page = browser_of(maria).post(f"{MEMBERS}/{maria.pk}/role", fields, follow=True)
        assert "maria is the last admin of acme. Make somebody else an admin first." in text_of(page)
        assert role_of(maria) == "admin"

    def test_somebody_elsewhere_is_not_found(self, maria: User, charlie: User) -> None:
        fields = {"role": "lead", "stamp": stamp_of("admin")}
        assert browser_of(maria).post(f"{MEMBERS}/{charlie.pk}/role", fields).status_code == 404
        assert browser_of(maria).get(f"{MEMBERS}/{charlie.pk}/remove").status_code == 404


@pytest.mark.parametrize("role", [Role.VIEWER, Role.RESEARCHER, Role.LEAD])
def test_members_change_nothing(acme: Organization, maria: User, alice: User, role: Role) -> None:
    invitation, _ = invite(acme, Role.VIEWER, by=maria)
    browser = browser_of(make_user("mo", acme, role))
    for address, fields in (
        (f"{MEMBERS}/{alice.pk}/role", {"role": "lead", "stamp": stamp_of("researcher")}),
        (f"{MEMBERS}/{alice.pk}/remove", {"jobs": "stay"}),
        (f"{MEMBERS}/invite", {"role": "admin", "days": "7"}),
        (f"{ACME}/invitations/{invitation.pk}/withdraw", {}),
    ):
        page = browser.post(address, fields)
        assert page.status_code == 403, address
        assert "Only admins of acme" in text_of(page)
    assert role_of(alice) == "researcher"
    assert Invitation.objects.filter(withdrawn_at=None).count() == 1


class TestRemoval:
    @pytest.mark.parametrize(("choice", "status"), [("stay", "running"), ("cancel", "cancelled")])
    def test_it_says_what_becomes_of_the_jobs(
        self, maria: User, alice: User, acme: Organization, choice: str, status: str
    ) -> None:
        job = make_job(
            organization=acme, submitted_by=alice, status=JobStatus.PENDING if choice == "cancel" else status
        )
        browser = browser_of(maria)
        page = text_of(browser.get(f"{MEMBERS}/{alice.pk}/remove"))
        assert "1 job of alice has not ended." in page
        page = text_of(browser.post(f"{MEMBERS}/{alice.pk}/remove", {"jobs": choice}, follow=True))
        assert "alice was removed from acme." in page
        assert ("1 job cancelled." in page) is (choice == "cancel")
        assert role_of(alice) is None
        assert Job.objects.get(pk=job.pk).status == status
        assert browser.post(f"{MEMBERS}/{alice.pk}/remove", {"jobs": choice}).status_code == 404

    def test_without_a_choice_nothing_happens(self, maria: User, alice: User) -> None:
        page = browser_of(maria).post(f"{MEMBERS}/{alice.pk}/remove", {"jobs": "burn"})
        assert page.status_code == 400
        assert role_of(alice) == "researcher"

    def test_one_leaves_oneself(self, maria: User, alice: User) -> None:
        page = browser_of(alice).post(f"{MEMBERS}/leave", {"jobs": "stay"}, follow=True)
        assert "You left acme." in text_of(page)
        assert role_of(alice) is None
        assert browser_of(alice).get(MEMBERS).status_code == 404

    def test_the_last_admin_can_not_leave(self, maria: User) -> None:
        browser = browser_of(maria)
        assert browser.get(f"{MEMBERS}/{maria.pk}/remove")["Location"] == f"{MEMBERS}/leave"
        assert "You are the last admin of acme." in text_of(browser.get(f"{MEMBERS}/leave"))
        page = browser.post(f"{MEMBERS}/leave", {"jobs": "stay"}, follow=True)
        assert "maria is the last admin of acme. Make somebody else an admin first." in text_of(page)
        assert role_of(maria) == "admin"

    def test_a_superuser_who_is_no_member_has_nothing_to_leave(self, maria: User, root: User) -> None:
        browser = browser_of(root)
        assert "Leave acme" not in text_of(browser.get(MEMBERS))
        assert browser.get(f"{MEMBERS}/leave").status_code == 404


class TestInvitations:
    def test_the_list_says_who_invited(self, maria: User, acme: Organization) -> None:
        invite(acme, Role.VIEWER, by=OPERATOR, email="one@example.org")
        invite(acme, Role.VIEWER, by=maria, email="two@example.org")
        page = text_of(browser_of(maria).get(MEMBERS))
        assert "one@example.org Viewer an operator, on the command line" in page
        assert "two@example.org Viewer maria" in page

    def test_the_link_is_shown_once(self, maria: User) -> None:
        browser = browser_of(maria)
        fields = {"email": "new@example.org", "role": "lead", "days": "3"}
        page = browser.post(f"{MEMBERS}/invite", fields)
        found = re.search(r'value="http://testserver/invitations/(ct_\w+)"', page.content.decode())
        assert found is not None
        assert find_invitation(found.group(1)).role == "lead"
        page = browser.get(MEMBERS)
        assert "ct_" not in page.content.decode()
        assert "new@example.org Lead maria" in text_of(page)

    @pytest.mark.parametrize(
        "fields",
        [
            {"role": "lead", "days": "0"},
            {"role": "lead", "days": "91"},
            {"role": "lead", "days": ""},
            {"role": "king", "days": "7"},
            {"role": "lead", "days": "7", "email": "not an address"},
        ],
    )
    def test_a_bad_one_is_refused(self, maria: User, fields: dict[str, str]) -> None:
        page = browser_of(maria).post(f"{MEMBERS}/invite", fields)
        assert page.status_code == 400
        assert 'aria-invalid="true"' in page.content.decode()
        assert not Invitation.objects.exists()

    def test_it_is_withdrawn_once(self, maria: User, acme: Organization) -> None:
        invitation, _ = invite(acme, Role.VIEWER, by=maria, email="new@example.org")
        browser = browser_of(maria)
        address = f"{ACME}/invitations/{invitation.pk}/withdraw"
        assert "was withdrawn. Its link no longer works." in text_of(browser.post(address, follow=True))
        assert "was withdrawn." in text_of(browser.post(address, follow=True))
        assert "No open invitations." in text_of(browser.get(MEMBERS))

    def test_one_of_another_organization_is_not_found(self, maria: User, charlie: User) -> None:
        other = Organization.objects.get(name="other")
        invitation, _ = invite(other, Role.VIEWER, by=charlie)
        assert browser_of(maria).post(f"{ACME}/invitations/{invitation.pk}/withdraw").status_code == 404
