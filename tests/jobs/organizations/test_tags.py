"""An organization's list of tags, and who changes it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.core.exceptions import ValidationError
from django.http import Http404
from rest_framework.exceptions import PermissionDenied
from rest_framework.test import APIClient

from cloudtrain_site.audit.models import AuditRecord
from cloudtrain_site.errors import Conflict
from cloudtrain_site.states import Source
from jobs.models import Job, JobTag, Organization, Tag
from jobs.organizations import tags
from jobs.organizations.tags import add_tag, find_tag, remove_tag, rename_tag, tags_of
from jobs.roles import Role
from jobs.tags.tagging import set_tags, tags_by_job
from tests.factories import make_user
from tests.settings_pages import ACME, browser_of, text_of

pytestmark = pytest.mark.django_db
MakeJob = Callable[..., Job]
ClientOf = Callable[[User | None], APIClient]
TAGS = f"{ACME}/tags"


@pytest.fixture
def adam(acme: Organization) -> User:
    return make_user("adam", acme, Role.ADMIN)


def names(organization: Organization) -> list[str]:
    return [tag.name for tag in tags_of(organization)]


class TestVerbs:
    def test_a_tag_is_added_renamed_and_removed_on_record(
        self, acme: Organization, adam: User, make_job: MakeJob
    ) -> None:
        tag = add_tag(acme, "lora", by=adam)
        job = make_job()
        assert set_tags(job, ["lora"], by=adam, source=Source.API)
        assert rename_tag(tag, "LoRA rank 8", by=adam)
        assert tags_by_job([job]) == {job.pk: ["LoRA rank 8"]}
        assert not rename_tag(tag, "LoRA rank 8", by=adam)
        assert remove_tag(tag, by=adam) == 1
        assert remove_tag(tag, by=adam) is None
        assert tags_by_job([job]) == {} and Job.objects.filter(pk=job.pk).exists()
        records = AuditRecord.objects.filter(subject_kind="tag").order_by("id")
        assert [(one.action, one.before, one.after, one.organization) for one in records] == [
            ("tag_added", None, {"name": "lora"}, "acme"),
            ("tag_renamed", {"name": "lora"}, {"name": "LoRA rank 8"}, "acme"),
            ("tag_removed", {"name": "LoRA rank 8", "jobs": 1}, None, "acme"),
        ]

    def test_only_admins_of_the_organization_change_the_list(self, acme: Organization, adam: User, bob: User) -> None:
        other = Organization.objects.create(name="other")
        tag = add_tag(acme, "lora", by=adam)
        for by, organization in ((bob, acme), (adam, other)):
            with pytest.raises(PermissionDenied):
                add_tag(organization, "mine", by=by)
        for change in (lambda: rename_tag(tag, "mine", by=bob), lambda: remove_tag(tag, by=bob)):
            with pytest.raises(PermissionDenied):
                change()
        assert names(acme) == ["lora"] and names(other) == []

    @pytest.mark.parametrize("name", ["", " lora", "a,b", "a/b", "a\x00b", "a\u202eb", "x" * 41, "ﷺ" * 40])
    def test_a_name_that_can_not_be_changes_nothing(self, acme: Organization, adam: User, name: str) -> None:
        tag = add_tag(acme, "lora", by=adam)
        with pytest.raises(ValidationError):
            add_tag(acme, name, by=adam)
        with pytest.raises(ValidationError):
            rename_tag(tag, name, by=adam)
        assert names(acme) == ["lora"]

    def test_two_tags_never_differ_in_capitals_alone(self, acme: Organization, adam: User) -> None:
        tag, ablation = add_tag(acme, "lora", by=adam), add_tag(acme, "ablation", by=adam)
        with pytest.raises(Conflict, match="There is a tag lora already"):
            add_tag(acme, "LoRA", by=adam)
        with pytest.raises(Conflict, match="There is a tag lora already"):
            rename_tag(ablation, "LORA", by=adam)
        assert rename_tag(tag, "LoRA", by=adam)
        assert names(acme) == ["ablation", "LoRA"]
        assert find_tag(acme, "lOrA") == tag
        for unknown in ("dora", "lora\x00"):
            with pytest.raises(Http404):
                find_tag(acme, unknown)

    def test_there_is_an_end_to_their_number(
        self, acme: Organization, adam: User, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(tags, "MAX_TAGS", 2)
        add_tag(acme, "a", by=adam)
        add_tag(acme, "b", by=adam)
        with pytest.raises(Conflict, match="acme has 2 tags, the maximum"):
            add_tag(acme, "c", by=adam)
        assert names(acme) == ["a", "b"]

    def test_what_is_gone_is_renamed_no_more(self, acme: Organization, adam: User) -> None:
        tag = add_tag(acme, "lora", by=adam)
        Tag.objects.all().delete()
        with pytest.raises(Http404):
            rename_tag(tag, "dora", by=adam)


class TestApi:
    def test_members_read_the_list_and_admins_change_it(
        self, acme: Organization, adam: User, alice: User, charlie: User, client_of: ClientOf
    ) -> None:
        address = "/api/organizations/acme/tags"
        made = client_of(adam).post(address, {"name": "lora r8"})
        assert (made.status_code, made.json()) == (201, {"tag": {"name": "lora r8", "jobs": 0}})
        assert client_of(alice).get(address).json() == {"tags": [{"name": "lora r8", "jobs": 0}]}
        for user, status in ((alice, 403), (charlie, 404)):
            client: Any = client_of(user)
            assert client.post(address, {"name": "mine"}).status_code == status
            assert client.patch(f"{address}/lora r8", {"name": "mine"}).status_code == status
            assert client.delete(f"{address}/lora r8").status_code == status
        assert client_of(charlie).get(address).status_code == 404
        renamed = client_of(adam).patch(f"{address}/LORA R8", {"name": "dora"})
        assert renamed.json() == {"tag": {"name": "dora", "jobs": 0}}
        assert client_of(adam).post(address, {"name": "Dora"}).status_code == 409
        assert client_of(adam).post(address, {"name": "a,b"}).json()["errors"].keys() == {"name"}
        assert client_of(adam).delete(f"{address}/dora").json() == {"success": True, "name": "dora", "jobs": 0}
        assert client_of(adam).delete(f"{address}/dora").status_code == 404


class TestPages:
    def test_an_admin_adds_renames_and_removes(self, acme: Organization, adam: User) -> None:
        browser = browser_of(adam)
        assert "acme has no tags yet." in text_of(browser.get(TAGS))
        assert "Tag lora added." in text_of(browser.post(TAGS, {"name": "lora"}, follow=True))
        tag = Tag.objects.get()
        page = browser.post(f"{TAGS}/{tag.pk}/rename", {"name": "dora"}, follow=True)
        assert "The tag lora is called dora now." in text_of(page)
        refused = browser.post(f"{TAGS}/{tag.pk}/rename", {"name": "a,b"}, follow=True)
        assert "The tag dora keeps its name. A tag can't contain commas" in text_of(refused)
        refused = browser.post(f"{TAGS}/{tag.pk}/rename", {"name": ""}, follow=True)
        assert "The tag dora keeps its name" in text_of(refused)
        assert browser.post(TAGS, {"name": "a,b"}).status_code == 400
        assert "There is a tag dora already." in text_of(browser.post(TAGS, {"name": "DORA"}, follow=True))
        assert names(acme) == ["dora"]
        page = browser.post(f"{TAGS}/{tag.pk}/remove", follow=True)
        assert "The tag dora was removed. Its jobs stay." in text_of(page)
        assert not JobTag.objects.exists() and names(acme) == []

    def test_a_member_reads_and_changes_nothing(self, acme: Organization, adam: User, alice: User) -> None:
        tag = add_tag(acme, "lora", by=adam)
        browser = browser_of(alice)
        page = text_of(browser.get(TAGS))
        assert "lora none" in page and "Add tag" not in page and "Rename" not in page
        for address in (TAGS, f"{TAGS}/{tag.pk}/rename", f"{TAGS}/{tag.pk}/remove"):
            assert browser.post(address, {"name": "mine"}).status_code == 403
        assert names(acme) == ["lora"]

    def test_a_tag_of_another_organization_is_none_here(self, acme: Organization, adam: User, root: User) -> None:
        foreign = add_tag(Organization.objects.create(name="other"), "theirs", by=root)
        for act in ("rename", "remove"):
            assert browser_of(adam).post(f"{TAGS}/{foreign.pk}/{act}", {"name": "mine"}).status_code == 404
        assert Tag.objects.get().name == "theirs"
