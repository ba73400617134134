"""Jobs and keys in the admin."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
from django.contrib import admin
from django.contrib.auth.models import Permission, User
from django.db import connection
from django.test import Client
from django.test.utils import CaptureQueriesContext
from django.urls import reverse
from django.utils import timezone

from cloudtrain_site.limits import streams
from cloudtrain_site.limits.uses import note_refusal
from cloudtrain_site.models import ApiKey
from jobs.admin.pages import JobAdmin, PlainUserAdmin
from jobs.models import DatasetUpload, Job, Organization
from tests.limits import SetLimits

pytestmark = [pytest.mark.slow, pytest.mark.django_db]
JOBS = "/admin/jobs/job/"


@pytest.fixture
def as_bob(client: Client, bob: User) -> Client:
    client.force_login(bob)
    return client


@pytest.fixture
def as_root(client: Client, root: User) -> Client:
    client.force_login(root)
    return client


def page(client: Client, path: str) -> str:
    response = client.get(path)
    assert response.status_code == 200
    return response.content.decode()


def test_a_lead_without_the_staff_flag_gets_in_and_sees_the_organizations_jobs(
    as_bob: Client, make_job: Callable[..., Job]
) -> None:
    make_job()
    assert "flux-lora" in page(as_bob, JOBS)


def test_a_researcher_is_sent_to_the_login(client: Client, alice: User) -> None:
    client.force_login(alice)
    assert client.get("/admin/").status_code == 302


@pytest.mark.parametrize("path", ["", "{}/change/", "{}/history/", "?q={}"])
def test_a_lead_of_another_organization_finds_nothing(
    client: Client, charlie: User, make_job: Callable[..., Job], path: str
) -> None:
    client.force_login(charlie)
    job = make_job()
    response = client.get(JOBS + path.format(job.pk), follow=True)
    page = response.content.decode()
    assert response.status_code == 200
    assert "No jobs" in page if path in ("", "?q={}") else "doesn’t exist" in page
    assert "flux-lora" not in page


def test_every_value_of_a_list_has_its_columns_name_and_the_shown_page_is_marked(
    as_root: Client, make_job: Callable[..., Job], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(JobAdmin, "list_per_page", 1)
    job, _ = make_job(), make_job()
    shown = page(as_root, f"{JOBS}?p=2")
    assert re.search(r'<td role="cell" data-label="Status" class="field-shown_status">\w+</td>', shown)
    assert re.search(r'<td role="cell" data-label="Progress" data-empty[^>]*>-</td>', shown)
    assert re.search(r'<td role="cell" class="action-checkbox"><input', shown)
    assert re.search(r'aria-current="page"\s*>2<', shown)
    assert "Show all</a></span>" not in shown
    as_root.post(JOBS, {"action": "cancel_jobs", "_selected_action": [job.pk]})
    assert re.search(r'class="field-actor"\s+data-label="By"', page(as_root, f"{JOBS}{job.pk}/change/"))


def test_an_empty_list_says_so_and_offers_no_acts(as_root: Client, make_job: Callable[..., Job]) -> None:
    make_job()
    for there, sentence in {
        f"{JOBS}?q=nothing-like-this": "No jobs match this search or filter",
        "/admin/queueing/providerlimit/": "No provider has a limit of its own.",
        "/admin/django_q/ormq/": "A task waits here until a worker takes it",
        "/admin/auth/group/": "Add a group to let its members decide",
        "/admin/": "You haven’t changed anything in the admin yet.",
    }.items():
        shown = page(as_root, there)
        assert sentence in shown
        assert 'name="action"' not in shown
        assert "paginator" not in shown


def test_a_lead_is_not_shown_what_only_superusers_edit(as_bob: Client) -> None:
    assert as_bob.get("/admin/jobs/organization/").status_code == 403
    assert as_bob.get("/admin/auth/user/").status_code == 403
    assert as_bob.get("/admin/cloudtrain_site/apikey/").status_code == 403


def test_a_job_is_found_by_its_correlation_id(as_bob: Client, make_job: Callable[..., Job]) -> None:
    make_job(config_name="wanted", correlation_id="abc123")
    make_job(config_name="unwanted")
    found = page(as_bob, f"{JOBS}?q=abc123")
    assert "wanted" in found
    assert "unwanted" not in found


def test_the_page_of_a_job_masks_secrets_and_edits_nothing(as_bob: Client, make_job: Callable[..., Job]) -> None:
    job = make_job(config={"hf_token": "not-a-real-one", "seed": 1}, config_name="تدريب", number=48)
    shown = page(as_bob, f"{JOBS}{job.pk}/change/")
    assert shown.count("<bdi>تدريب</bdi> #48") == 2
    assert "Queued at the provider" in shown and "unknown" in shown
    assert "not-a-real-one" not in shown
    assert "&quot;seed&quot;: 1" in shown
    assert 'name="status"' not in shown
    assert as_bob.post(f"{JOBS}{job.pk}/change/", {"status": "completed"}).status_code == 403


def test_cancelling_several_reports_who_won_and_who_came_too_late(as_bob: Client, make_job: Callable[..., Job]) -> None:
    waiting, ended = make_job(), make_job(status="completed")
    body = {"action": "cancel_jobs", "_selected_action": [waiting.pk, ended.pk]}
    page = as_bob.post(JOBS, body, follow=True).content.decode()
    assert "1 cancelled." in page
    assert "1 had already ended" in page
    assert set(Job.objects.values_list("status", flat=True)) == {"cancelled", "completed"}


def test_a_key_is_made_and_shown_once(as_root: Client, alice: User) -> None:
    add = reverse("admin:cloudtrain_site_apikey_add")
    shown = as_root.post(
        add, {"user": alice.pk, "name": "laptop", "scopes": ["read"], "days": 30}, follow=True
    ).content.decode()
    (key,) = re.findall(r"ct_[0-9a-f]{64}", shown)
    made = ApiKey.objects.get()
    assert (made.user, made.name, made.scopes) == (alice, "laptop", ["read"])
    assert key not in page(as_root, reverse("admin:cloudtrain_site_apikey_changelist"))
    assert as_root.get("/api/cloud/jobs", headers={"X-API-Key": key}).status_code == 200


@pytest.mark.parametrize(
    "model", ["jobs_organization", "jobs_providerconfig", "queueing_queuestate", "approvals_approvalrule"]
)
def test_every_page_of_the_admin_opens_for_a_superuser(as_root: Client, model: str) -> None:
    assert as_root.get(reverse(f"admin:{model}_changelist"), follow=True).status_code == 200


def test_the_admins_door_is_the_sites(client: Client, bob: User) -> None:
    form = {"login": "bob", "password": "unused-password", "next": "/admin/"}
    for answer in (client.get("/admin/"), client.post("/admin/login/", form)):
        door = client.get(answer["Location"], follow=True)
        assert door.request["PATH_INFO"] == "/login"
        assert 'name="next" value="/admin/"' in door.content.decode()
    answer = client.post("/login", form, follow=True)
    assert (answer.request["PATH_INFO"], answer.status_code) == ("/admin/", 200)


def test_a_researcher_who_goes_there_is_refused(client: Client, alice: User) -> None:
    client.force_login(alice)
    answer = client.get("/admin/", follow=True)
    assert (answer.request["PATH_INFO"], answer.status_code) == ("/admin/login/", 403)


def test_the_admin_changes_no_password_of_ones_own(client: Client, bob: User) -> None:
    client.force_login(bob)
    assert client.get("/admin/password_change/")["Location"] == "/account/password"


class TestWhoIsAtALimit:
    USERS = "/admin/auth/user/"

    @pytest.fixture(autouse=True)
    def some_use(self, alice: User, bob: User, acme: Organization, make_job: Callable[..., Job]) -> None:
        for _ in range(3):
            make_job()
        make_job(status="completed")
        make_job(submitted_by=bob)
        upload = {"organization": acme, "uploaded_by": bob, "files": 1, "unpacked_size": 1, "stored_on": "here"}
        DatasetUpload.objects.create(size=2048, **upload)
        DatasetUpload.objects.create(size=4096, removed_at=timezone.now(), **upload)
        streams.publish_counts("another-1", {str(bob.pk): 4})
        note_refusal(alice.pk, "previews_per_minute")

    @staticmethod
    def cells(client: Client, address: str) -> dict[str, list[str]]:
        """By user, what the columns about limits say."""
        shown = re.findall(r"field-(\w+)[^>]*>(?:<a[^>]*>)?([^<]*)", page(client, address))
        names = [text for name, text in shown if name == "username"]
        width = len(PlainUserAdmin.LIMIT_COLUMNS)
        texts = [text.replace("\xa0", " ") for name, text in shown if name in PlainUserAdmin.LIMIT_COLUMNS]
        return {name: texts[index * width : (index + 1) * width] for index, name in enumerate(names)}

    def test_a_superuser_sees_what_each_person_has(self, as_root: Client) -> None:
        cells = self.cells(as_root, self.USERS)
        assert cells["alice"] == ["3", "0", "0 bytes", "0", "previews_per_minute (0 minutes ago)"]
        assert cells["bob"] == ["1", "1", "2.0 KB", "4", "-"]

    @pytest.mark.parametrize(
        ("limits", "filtered", "found"),
        [
            ({}, "now", set()),
            ({"open_jobs": 3}, "now", {"alice"}),
            ({"uploads": 1}, "now", {"bob"}),
            ({"upload_bytes": 2048}, "now", {"bob"}),
            ({"streams": 4}, "now", {"bob"}),
            ({}, "lately", {"alice"}),
        ],
    )
    def test_the_filter_finds_who_is_at_a_limit(
        self, as_root: Client, set_limits: SetLimits, limits: dict[str, int], filtered: str, found: set[str]
    ) -> None:
        set_limits(**limits)
        assert set(self.cells(as_root, f"{self.USERS}?limits={filtered}")) == found

    def test_the_list_is_ordered_by_them(self, as_root: Client) -> None:
        columns = [*PlainUserAdmin(User, admin.site).list_display, *PlainUserAdmin.LIMIT_COLUMNS]
        for column in ("open_jobs", "kept_uploads", "kept_bytes"):
            ordered = list(self.cells(as_root, f"{self.USERS}?o=-{columns.index(column) + 1}"))
            assert ordered[0] == ("alice" if column == "open_jobs" else "bob")

    def test_others_do_not_see_it(self, client: Client, charlie: User) -> None:
        User.objects.filter(pk=charlie.pk).update(is_staff=True)
        charlie.user_permissions.add(Permission.objects.get(codename="view_user"))
        client.force_login(User.objects.get(pk=charlie.pk))
        assert "alice" in page(client, self.USERS)
        assert "open jobs" not in page(client, self.USERS)

    def test_a_user_is_still_changed_on_the_page(self, as_root: Client, alice: User) -> None:
        assert "alice" in page(as_root, f"{self.USERS}{alice.pk}/change/")


def test_date_and_time_of_a_schedule_have_labels(client: Client, root: User) -> None:
    client.force_login(root)
    page = client.get("/admin/django_q/schedule/add/").content.decode()
    assert [page.count(f'<label for="id_next_run_{part}">') for part in (0, 1)] == [1, 1]


@pytest.mark.postgresql
def test_a_leads_rows_are_found_by_the_numbers_of_the_organizations(
    client: Client, bob: User, make_job: Callable[..., Job]
) -> None:
    """By a query for them PostgreSQL read and sorted all of their jobs, of which a page shows fifty."""
    make_job()
    client.force_login(bob)
    with CaptureQueriesContext(connection) as queries:
        assert client.get("/admin/jobs/job/?status__exact=pending").status_code == 200
    lists = [query["sql"] for query in queries if 'FROM "jobs_job"' in query["sql"]]
    assert lists and not any("jobs_membership" in sql for sql in lists), lists
