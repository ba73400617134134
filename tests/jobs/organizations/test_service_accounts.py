"""Service accounts: made by admins, used by keys alone, and nobody's."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.contrib.auth.models import User
from django.core.exceptions import PermissionDenied as SignInRefused
from django.http import Http404
from django.test import Client
from rest_framework.exceptions import PermissionDenied

from approvals.reviewers import reviewers_in
from cloudtrain_site.audit.models import AuditRecord
from cloudtrain_site.errors import Conflict
from cloudtrain_site.models import ApiKey, Scope
from jobs.models import Job, Membership, Organization, ServiceAccount
from jobs.organizations.endings import close
from jobs.organizations.members import add_member, change_role, find_member, leave, members_of
from jobs.organizations.people import make_superuser, reactivate_user
from jobs.organizations.service_accounts import (
    find_service_account,
    make_service_account,
    make_service_key,
    remove_service_account,
    revoke_service_key,
    service_accounts_of,
)
from jobs.roles import Role
from tests.factories import make_user
from tests.settings_pages import browser_of

pytestmark = pytest.mark.django_db
API = "/api/organizations/acme/service-accounts"
DAY = timedelta(days=1)


@pytest.fixture
def maria(acme: Organization) -> User:
    """The admin of acme."""
    return make_user("maria", acme, Role.ADMIN)


@pytest.fixture
def nightly(acme: Organization, maria: User) -> ServiceAccount:
    return make_service_account(acme, "nightly", Role.RESEARCHER, by=maria)


@pytest.fixture
def key(nightly: ServiceAccount, maria: User) -> str:
    return make_service_key(nightly, "build server", DAY, scopes=list(Scope), by=maria)[1]


def with_key(key: str) -> Client:
    return Client(headers={"X-API-Key": key})


def test_its_key_submits_under_its_name(key: str, bob: User) -> None:
    body = {"config": {"max_train_steps": 1}}
    answer = with_key(key).post("/api/cloud/jobs/submit", body, content_type="application/json")
    assert answer.status_code == 201, answer.content
    job = Job.objects.get()
    assert (job.submitted_by and job.submitted_by.username, str(job.organization)) == ("acme:nightly", "acme")
    shown = browser_of(bob).get(f"/api/cloud/jobs/{job.pk}").json()["job"]
    assert shown["submitted_by"] == "acme:nightly"


def test_only_admins_make_and_remove_one(acme: Organization, bob: User, charlie: User, nightly: ServiceAccount) -> None:
    for stranger in (bob, charlie):
        with pytest.raises(PermissionDenied):
            make_service_account(acme, "other", Role.VIEWER, by=stranger)
        with pytest.raises(PermissionDenied):
            make_service_key(nightly, "x", DAY, scopes=["read"], by=stranger)
        with pytest.raises(PermissionDenied):
            remove_service_account(nightly, by=stranger)
    assert ServiceAccount.objects.get().removed_at is None
    assert not ApiKey.objects.exists()


@pytest.mark.parametrize("door", ["session", "password"])
def test_nobody_signs_in_as_one(nightly: ServiceAccount, door: str) -> None:
    nightly.user.set_password("however-it-came-there")
    nightly.user.save()
    browser = Client()
    if door == "session":
        with pytest.raises(SignInRefused):
            browser.force_login(nightly.user)
    else:
        browser.post("/login", {"login": "acme:nightly", "password": "however-it-came-there"})
    assert browser.get("/account")["Location"] == "/login?next=/account"


def test_is_no_member_no_admin_and_no_reviewer(acme: Organization, maria: User) -> None:
    account = make_service_account(acme, "boss", Role.ADMIN, by=maria)
    assert [member.user.username for member in members_of(acme)] == ["maria"]
    with pytest.raises(Http404):
        find_member(acme, account.user.username)
    with pytest.raises(Conflict, match="last admin"):
        leave(acme, maria)
    with pytest.raises(Http404):
        change_role(acme, account.user, Role.VIEWER, by=maria)
    assert list(reviewers_in(acme.pk, Role.LEAD, None)) == [maria]


def test_joins_nothing_else(nightly: ServiceAccount, root: User) -> None:
    other = Organization.objects.create(name="other")
    with pytest.raises(Conflict, match="is a service account"):
        add_member(other, nightly.user, Role.VIEWER, by=root)
    with pytest.raises(Conflict, match="is a service account"):
        make_superuser(nightly.user, by=root)


def test_a_removed_one_is_out_and_its_name_stays_its_own(
    acme: Organization, maria: User, root: User, nightly: ServiceAccount, key: str
) -> None:
    assert remove_service_account(nightly, by=maria)
    assert with_key(key).get("/api/cloud/jobs").status_code == 401
    assert not service_accounts_of(acme).exists()
    assert not Membership.objects.filter(user=nightly.user).exists()
    assert not remove_service_account(nightly, by=maria)
    with pytest.raises(Conflict, match="There is or was"):
        make_service_account(acme, "nightly", Role.VIEWER, by=maria)
    with pytest.raises(Conflict, match="was removed"):
        make_service_key(nightly, "x", DAY, scopes=["read"], by=maria)
    with pytest.raises(Conflict, match="is a service account"):
        reactivate_user(nightly.user, by=root)


def test_its_keys_end_when_the_organization_closes(acme: Organization, root: User, maria: User, key: str) -> None:
    kept, _ = ApiKey.objects.create(user=maria)
    close(acme, by=root)
    assert list(ApiKey.objects.all()) == [kept]


def test_all_of_it_is_on_record(acme: Organization, maria: User, nightly: ServiceAccount, key: str) -> None:
    row = ApiKey.objects.get()
    assert revoke_service_key(nightly, row.token_key, by=maria)
    assert not revoke_service_key(nightly, row.token_key, by=maria)
    remove_service_account(nightly, by=maria)
    actions = list(AuditRecord.objects.order_by("pk").values_list("action", "organization", "actor"))
    names = ("service_account_made", "key_made", "key_revoked", "service_account_removed")
    assert actions == [(name, "acme", "maria") for name in names]


class TestOverTheApi:
    def test_an_admin_makes_lists_and_removes(self, maria: User) -> None:
        browser = browser_of(maria)
        made = browser.post(API, {"name": "ci", "role": "lead"}, content_type="application/json")
        assert (made.status_code, made.json()["user"], made.json()["role"]) == (201, "acme:ci", "lead")
        body = {"name": "server", "scopes": ["read", "submit"], "days": 3}
        key = browser.post(f"{API}/ci/keys", body, content_type="application/json").json()
        assert (key["scopes"], key["organization"]) == (["read", "submit"], "acme")
        assert with_key(key["key"]).get("/api/cloud/jobs").status_code == 200
        assert [row["id"] for row in browser.get(f"{API}/ci/keys").json()["keys"]] == [key["id"]]
        (shown,) = browser.get(API).json()["service_accounts"]
        assert (shown["name"], shown["made_by"]) == ("ci", "maria")
        assert shown["last_used_at"] is not None
        assert browser.delete(f"{API}/ci/keys/{key['id']}").status_code == 200
        assert browser.delete(f"{API}/ci").json() == {"success": True, "name": "ci"}
        assert browser.delete(f"{API}/ci").status_code == 404

    @pytest.mark.parametrize("name", ["", "A", "-x", "a:b", "x" * 41, "a/b"])
    def test_a_bad_name_makes_none(self, maria: User, name: str) -> None:
        answer = browser_of(maria).post(API, {"name": name}, content_type="application/json")
        assert (answer.status_code, list(answer.json()["errors"])) == (400, ["name"])
        assert not ServiceAccount.objects.exists()

    def test_a_key_makes_no_key(self, maria: User, nightly: ServiceAccount) -> None:
        _, key = ApiKey.objects.create(user=maria)
        body = {"name": "x", "scopes": ["read"]}
        answer = with_key(key).post(f"{API}/nightly/keys", body, content_type="application/json")
        assert answer.status_code == 403
        assert ApiKey.objects.count() == 1

    def test_strangers_find_nothing_and_members_may_not(
        self, nightly: ServiceAccount, bob: User, charlie: User
    ) -> None:
        for user, status in ((charlie, 404), (bob, 403)):
            browser = browser_of(user)
            assert browser.get(API).status_code == status
            assert browser.delete(f"{API}/nightly").status_code == status
            assert browser.get(f"{API}/nightly/keys").status_code == status
        assert ServiceAccount.objects.get().removed_at is None


class TestPages:
    PAGES = "/organizations/acme/settings/service-accounts"

    def test_an_admin_makes_one_and_a_key_that_is_shown_once(self, acme: Organization, maria: User) -> None:
        browser = browser_of(maria)
        page = browser.post(self.PAGES, {"name": "ci", "role": "researcher"}, follow=True)
        assert "The service account ci was created." in page.content.decode()
        form = {"name": "server", "scopes": ["read"], "days": "7"}
        made = browser.post(f"{self.PAGES}/ci", form)
        account = find_service_account(acme, "ci")
        row = ApiKey.objects.get(user=account.user)
        key = made.context["key"]
        assert key in made.content.decode()
        assert key not in browser.get(f"{self.PAGES}/ci").content.decode()
        browser.post(f"{self.PAGES}/ci/keys/{row.token_key}/revoke")
        assert not ApiKey.objects.exists()
        assert "was removed" in browser.post(f"{self.PAGES}/ci/remove", follow=True).content.decode()

    def test_a_bad_form_makes_nothing_and_says_why(self, maria: User, nightly: ServiceAccount) -> None:
        browser = browser_of(maria)
        assert browser.post(self.PAGES, {"name": "NO", "role": "king"}).status_code == 400
        assert (
            "There is or was"
            in browser.post(self.PAGES, {"name": "nightly", "role": "viewer"}, follow=True).content.decode()
        )
        assert browser.post(f"{self.PAGES}/nightly", {"name": "x", "days": "7"}).status_code == 400
        assert not ApiKey.objects.exists()
        assert ServiceAccount.objects.count() == 1

    def test_a_lead_sees_none_of_it(self, bob: User, nightly: ServiceAccount) -> None:
        assert browser_of(bob).get(self.PAGES).status_code == 403
