"""The discovered jobs in an organization's settings."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal

import pytest
from django.contrib.auth.models import User
from django.db.models import Sum
from django.utils import timezone
from rest_framework.test import APIClient

from cloudtrain_site.audit.models import AuditRecord
from cloudtrain_site.database.unit_of_work import unit_of_work
from jobs.costs import ledger
from jobs.costs.verification import verify
from jobs.models import DayCost, Job, JobEvent, LedgerEntry, Organization, ProviderConfig
from jobs.permissions import can_change
from jobs.roles import Role
from jobs.statuses import JobStatus
from tests.factories import make_job, make_user
from tests.settings_pages import ACME, browser_of, text_of

pytestmark = [pytest.mark.slow, pytest.mark.django_db]
ClientOf = Callable[[User | None], APIClient]
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


class TestWhose:
    """A discovered job of the organization is given to a member, or deleted, by its admins."""

    @pytest.fixture
    def found(self, acme: Organization) -> Job:
        return make_job(organization=acme, provider="replicate", config_name="sdxl", metadata={"discovered": True})

    def test_an_admin_gives_a_job_to_a_member_who_may_change_it_then(
        self, maria: User, alice: User, acme: Organization, found: Job
    ) -> None:
        browser = browser_of(maria)
        assert "Not assigned in acme yet" in text_of(browser.get(DISCOVERED))
        assert not can_change(alice, found)
        page = browser.post(f"{DISCOVERED}/jobs/{found.pk}/assign", {"user": "alice"}, follow=True)
        assert "The job sdxl is alice’s now." in text_of(page)
        assert "Every discovered job of acme is assigned." in text_of(page)
        found.refresh_from_db()
        assert found.submitted_by == alice and can_change(alice, found)
        record = AuditRecord.objects.get(action="job_assigned")
        assert (record.actor, record.organization) == ("maria", "acme")
        assert (record.before, record.after) == ({"user": None}, {"user": "alice"})
        assert JobEvent.objects.get(job=found).reason == "assigned to alice"
        again = browser.post(f"{DISCOVERED}/jobs/{found.pk}/assign", {"user": "maria"})
        assert again.status_code == 404 and Job.objects.get(pk=found.pk).submitted_by == alice

    def test_its_cost_is_the_members_from_then_on(self, maria: User, alice: User, found: Job) -> None:
        Job.objects.filter(pk=found.pk).update(cost_usd=Decimal("1.5"))
        found.refresh_from_db()
        with unit_of_work():
            ledger.count([found])
        browser_of(maria).post(f"{DISCOVERED}/jobs/{found.pk}/assign", {"user": "alice"})
        assert [(day.user, day.spent) for day in DayCost.objects.all()] == [(alice, Decimal("1.5"))]
        sums = LedgerEntry.objects.order_by("user").values_list("user").annotate(Sum("amount"))
        assert dict(sums) == {None: 0, alice.pk: Decimal("1.5")}
        assert not verify().differences

    def test_somebody_who_is_no_member_gets_none(self, maria: User, charlie: User, found: Job) -> None:
        for user in ("charlie", "nobody", "", "a\x00b"):
            answer = browser_of(maria).post(f"{DISCOVERED}/jobs/{found.pk}/assign", {"user": user})
            assert answer.status_code == 404
        found.refresh_from_db()
        assert found.submitted_by is None

    def test_an_admin_reaches_no_job_of_others(self, maria: User, alice: User, acme: Organization) -> None:
        other = Organization.objects.get(name="other")
        ended = {"provider": "replicate", "metadata": {"discovered": True}, "status": JobStatus.COMPLETED}
        theirs, nobodys = make_job(organization=other, **ended), make_job(organization=None, **ended)
        own = make_job(organization=acme, submitted_by=alice, status=JobStatus.COMPLETED)
        page = browser_of(maria).get(DISCOVERED).content.decode()
        for job in (theirs, nobodys, own):
            assert job.pk not in page
            for act in ("assign", "discard", "take"):
                address = f"{DISCOVERED}/jobs/{job.pk}/{act}"
                assert browser_of(maria).post(address, {"user": "alice"}).status_code == 404
                assert browser_of(alice).post(address, {"user": "alice"}).status_code == 403
        assert Job.objects.kept().count() == 3
        assert not AuditRecord.objects.exists()

    def test_an_ended_one_is_deleted_and_a_running_one_is_not(self, maria: User, found: Job) -> None:
        browser = browser_of(maria)
        page = browser.post(f"{DISCOVERED}/jobs/{found.pk}/discard", follow=True)
        assert "The job sdxl has not ended. Cancel it on its page first." in text_of(page)
        Job.objects.filter(pk=found.pk).update(status=JobStatus.FAILED, completed_at=timezone.now())
        page = browser.post(f"{DISCOVERED}/jobs/{found.pk}/discard", follow=True)
        assert "The job sdxl was deleted." in text_of(page)
        assert not Job.objects.kept().exists()

    def test_a_superuser_gives_one_job_of_none_to_the_organization(
        self, maria: User, root: User, acme: Organization
    ) -> None:
        job, left = (
            make_job(organization=None, provider="replicate", config_name=name, metadata={"discovered": True})
            for name in ("ours", "theirs")
        )
        browser = browser_of(root)
        assert "Of no organization" in text_of(browser.get(DISCOVERED))
        page = text_of(browser.post(f"{DISCOVERED}/jobs/{job.pk}/take", follow=True))
        assert "The job ours belongs to acme now." in page
        assert browser.post(f"{DISCOVERED}/jobs/{job.pk}/take").status_code == 404
        job.refresh_from_db()
        left.refresh_from_db()
        assert (job.organization, left.organization) == (acme, None)
        assert "ours" in text_of(browser_of(maria).get(DISCOVERED))
        assert AuditRecord.objects.get(action="job_assigned").after == {"organization": "acme"}


class TestApi:
    ADDRESS = "/api/organizations/acme/discovered"

    def test_admins_list_and_assign(
        self, maria: User, alice: User, charlie: User, root: User, acme: Organization, client_of: ClientOf
    ) -> None:
        job = make_job(organization=acme, provider="replicate", metadata={"discovered": True})
        nobodys = make_job(organization=None, provider="replicate", metadata={"discovered": True})
        answer = client_of(maria).get(self.ADDRESS).json()
        assert ([one["job_id"] for one in answer["jobs"]], answer["total"]) == ([job.pk], 1)
        for user, status in ((alice, 403), (charlie, 404)):
            assert client_of(user).get(self.ADDRESS).status_code == status
            assert client_of(user).post(f"{self.ADDRESS}/{job.pk}", {"user": "alice"}).status_code == status
        assert client_of(maria).post(f"{self.ADDRESS}/{nobodys.pk}", {"user": "alice"}).status_code == 404
        assert client_of(maria).post(f"{self.ADDRESS}/{job.pk}", {"user": "charlie"}).status_code == 404
        assert client_of(maria).post(f"{self.ADDRESS}/{job.pk}", {"owner": "alice"}).status_code == 400
        done = client_of(maria).post(f"{self.ADDRESS}/{job.pk}", {"user": "alice"})
        assert done.json()["job"]["submitted_by"] == "alice"
        assert client_of(maria).post(f"{self.ADDRESS}/{job.pk}", {"user": "maria"}).status_code == 409
        both = client_of(root).post(f"{self.ADDRESS}/{nobodys.pk}", {"user": "alice"}).json()["job"]
        assert (both["organization"], both["submitted_by"]) == ("acme", "alice")
        assert client_of(maria).get(self.ADDRESS).json() == {"jobs": [], "total": 0, "next_cursor": None}
