"""How one sees the list: picked columns, and saved views."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.core.exceptions import ValidationError
from django.http import Http404, QueryDict
from django.test import Client
from rest_framework.exceptions import PermissionDenied

from cloudtrain_site.audit.models import AuditRecord
from cloudtrain_site.errors import Conflict
from jobs.dashboard.listing.columns import columns_of
from jobs.models import Job, KeptCurves, Organization, SavedView
from jobs.organizations import saved_lists
from jobs.organizations.saved_lists import remove_view, save_view, views_for
from jobs.permissions import teams_of
from jobs.roles import Role
from tests.factories import make_user
from tests.jobs.dashboard.test_list_views import get

pytestmark = [pytest.mark.slow, pytest.mark.django_db]
MakeJob = Callable[..., Job]


def heads(page: str) -> list[str]:
    return re.findall(r'<span class="cut" title="([^"]*)" ?>', page)


def cells(page: str) -> list[str]:
    return re.findall(r'<bdi class="cut" title="([^"]*)">', page)[:-1]  # the last is the person


def post(user: User, address: str, **fields: Any) -> Any:
    client = Client()
    client.force_login(user)
    return client.post(address, fields)


class TestColumns:
    def test_of_the_address_have_config_values_in_each_spelling(self, alice: User, make_job: MakeJob) -> None:
        make_job(config={"--learning_rate": 1e-4, "network_dim": 16, "model_family": "flux"})
        page = get(alice, "/?columns=learning_rate,rank,family,unheard-of")
        assert heads(page) == ["Learning rate", "Rank", "Model family"]
        assert cells(page) == ["1e-4", "16", "flux"]

    def test_have_the_last_loss_tags_and_note(self, acme: Organization, alice: User, make_job: MakeJob) -> None:
        job = make_job(note="best so far <b>")
        tag = acme.tags.create(name="paper", name_key="paper")
        job.job_tags.create(tag=tag)
        KeptCurves.objects.create(job=job, requested_at=job.created_at, last_loss=0.123456)
        assert cells(get(alice, "/?columns=loss,tags,note")) == ["0.1235", "paper", "best so far &lt;b&gt;"]

    def test_are_remembered_for_a_person(self, alice: User, bob: User, make_job: MakeJob) -> None:
        make_job(config={"lora_rank": 64})
        answer = post(alice, "/jobs/columns", column=["rank", "nothing"], query="status=pending&columns=loss")
        assert answer["Location"] == "/?status=pending"
        assert (cells(get(alice)), heads(get(bob))) == (["64"], ["Hardware"])
        assert re.search(r'value="rank" checked', get(alice, "/jobs/view"))
        post(alice, "/jobs/columns")
        assert heads(get(alice)) == ["Hardware"]

    def test_are_no_more_than_have_room(self) -> None:
        assert columns_of("tags,note,loss,rank,rank,steps,family,model,provider") == (
            *("tags", "note", "loss", "rank", "steps", "family"),
        )
        assert columns_of("") == columns_of("x") == ("hardware",)

    def test_show_nothing_of_a_long_config(self, alice: User, make_job: MakeJob) -> None:
        make_job(config={"lora_rank": 64, "notes": "x" * 50_000})
        assert cells(get(alice, "/?columns=rank")) == [""]


class TestSavedViews:
    def test_are_links_beside_the_tabs(self, alice: User, bob: User) -> None:
        answer = post(alice, "/jobs/views", name="mine & failed", query="status=failed&mine=true&cursor=x")
        assert answer["Location"] == "/?status=failed&mine=true&cursor=x"
        link = '<a class="saved-view" href="?status=failed&amp;mine=true"><bdi>mine &amp; failed</bdi></a>'
        assert link in get(alice)
        assert "saved-view" not in get(bob)

    def test_of_an_organization_are_its_members(
        self, acme: Organization, alice: User, bob: User, charlie: User
    ) -> None:
        post(alice, "/jobs/views", name="paper", query="tag=paper", organization="acme")
        assert "<bdi>paper</bdi>" in get(bob)
        assert "<bdi>paper</bdi>" not in get(charlie)
        assert AuditRecord.objects.get().action == "view_shared"
        assert post(charlie, "/jobs/views", name="x", organization="acme").status_code == 404

    def test_are_removed_by_who_made_them_or_an_admin(
        self, acme: Organization, alice: User, bob: User, charlie: User
    ) -> None:
        view = save_view("paper", QueryDict("tag=paper"), by=alice, organization=acme)
        admin = make_user("ada", acme, Role.ADMIN)
        with pytest.raises(PermissionDenied):
            remove_view(view.pk, by=bob, teams=teams_of(bob))
        with pytest.raises(Http404):
            remove_view(view.pk, by=charlie, teams=teams_of(charlie))
        assert SavedView.objects.count() == 1
        remove_view(view.pk, by=admin, teams=teams_of(admin))
        assert not SavedView.objects.exists()
        own = save_view("own", QueryDict(), by=alice)
        with pytest.raises(Http404):
            remove_view(own.pk, by=admin, teams=teams_of(admin))
        assert post(alice, f"/jobs/views/{own.pk}").status_code == 302
        assert list(views_for(alice, teams_of(alice))) == []

    def test_have_one_name_each_and_an_end(self, alice: User, monkeypatch: pytest.MonkeyPatch) -> None:
        save_view("paper", QueryDict(), by=alice)
        for name, error in (("paper", Conflict), ("", ValidationError), ("x" * 41, ValidationError)):
            with pytest.raises(error):
                save_view(name, QueryDict(), by=alice)
        monkeypatch.setattr(saved_lists, "MOST_OF_ONE", 1)
        with pytest.raises(Conflict, match="the maximum"):
            save_view("another", QueryDict(), by=alice)
        assert SavedView.objects.count() == 1
