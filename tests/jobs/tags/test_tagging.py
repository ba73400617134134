"""Which jobs carry which tags: on submission, on the job's page, over the API, and in lists."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.core.exceptions import ValidationError
from django.test import Client
from rest_framework.test import APIClient

from cloudtrain_site.states import Source
from jobs.models import Job, JobEvent, Organization, Tag
from jobs.organizations.tags import add_tag
from jobs.roles import Role
from jobs.statuses import JobStatus
from jobs.tags.tagging import MAX_TAGS_OF_JOB, set_tags, tags_by_job
from tests.factories import make_user
from tests.settings_pages import browser_of, text_of

pytestmark = pytest.mark.django_db
MakeJob = Callable[..., Job]
ClientOf = Callable[[User | None], APIClient]
SUBMIT = "/api/cloud/jobs/submit?provider=local"


@pytest.fixture
def adam(acme: Organization) -> User:
    return make_user("adam", acme, Role.ADMIN)


@pytest.fixture(autouse=True)
def _tags(acme: Organization, adam: User) -> None:
    for name in ("lora", "ablation", "paper"):
        add_tag(acme, name, by=adam)


def carried(job: Job | str) -> list[str]:
    return tags_by_job([Job.objects.get(pk=job if isinstance(job, str) else job.pk)]).get(
        job if isinstance(job, str) else job.pk, []
    )


class TestSubmission:
    def body(self, *tags: str) -> dict[str, Any]:
        return {"config": {"max_train_steps": 1}, "tags": list(tags)}

    def test_a_job_carries_its_tags_from_the_beginning(self, alice: User, client_of: ClientOf) -> None:
        answer = client_of(alice).post(SUBMIT, self.body("Paper", "lora"))
        assert answer.status_code == 201, answer.json()
        job_id = answer.json()["job_id"]
        assert client_of(alice).get(f"/api/cloud/jobs/{job_id}").json()["job"]["tags"] == ["lora", "paper"]
        plain = client_of(alice).post(SUBMIT, {"config": {"max_train_steps": 1}}).json()["job_id"]
        assert client_of(alice).get(f"/api/cloud/jobs/{plain}").json()["job"]["tags"] == []

    def test_an_unknown_tag_is_refused_and_nothing_is_stored(self, alice: User, client_of: ClientOf) -> None:
        for tags, sentence in (
            (["lora", "dora"], "acme has no tag “dora”. There are: ablation, lora, paper."),
            (["a\x00b"], "Null characters are not allowed."),
            ([f"t{number}" for number in range(MAX_TAGS_OF_JOB + 1)], "no more than 10 elements"),
        ):
            answer = client_of(alice).post(SUBMIT, self.body(*tags))
            assert answer.status_code == 400
            assert sentence in str(answer.json()["errors"]["tags"])
        assert not Job.objects.exists()

    def test_a_tag_of_another_organization_is_unknown(self, alice: User, root: User, client_of: ClientOf) -> None:
        add_tag(Organization.objects.create(name="other"), "theirs", by=root)
        answer = client_of(alice).post(SUBMIT, self.body("theirs"))
        assert answer.status_code == 400 and "acme has no tag “theirs”" in str(answer.json()["errors"])

    def test_a_repeated_key_with_other_tags_is_another_request(self, alice: User, client_of: ClientOf) -> None:
        client = client_of(alice)
        first = client.post(SUBMIT, {**self.body("lora"), "idempotency_key": "k"})
        again = client.post(SUBMIT, {**self.body("lora"), "idempotency_key": "k"})
        assert (again.status_code, again.json()["job_id"]) == (200, first.json()["job_id"])
        assert client.post(SUBMIT, {**self.body("paper"), "idempotency_key": "k"}).status_code == 409

    def test_a_retry_carries_the_tags_of_the_job(self, alice: User, make_job: MakeJob, client_of: ClientOf) -> None:
        job = make_job(status=JobStatus.FAILED)
        set_tags(job, ["lora"], by=alice, source=Source.API)
        again = client_of(alice).post(f"/api/cloud/jobs/{job.pk}/retry")
        assert again.status_code == 201
        assert carried(again.json()["job_id"]) == ["lora"]


class TestChange:
    def test_it_is_in_the_history(self, alice: User, make_job: MakeJob) -> None:
        job = make_job()
        assert set_tags(job, ["paper", "LoRA"], by=alice, source=Source.API)
        assert not set_tags(job, ["lora", "paper"], by=alice, source=Source.API)
        assert set_tags(job, ["ablation", "paper"], by=alice, source=Source.API)
        assert carried(job) == ["ablation", "paper"]
        assert set_tags(job, [], by=alice, source=Source.API)
        events = JobEvent.objects.filter(job=job).order_by("id").values_list("actor", "reason")
        assert list(events) == [
            ("alice", "tags: lora, paper"),
            ("alice", "tags: ablation, paper"),
            ("alice", "tags: none"),
        ]

    def test_what_can_not_be_changes_nothing(
        self, acme: Organization, alice: User, adam: User, make_job: MakeJob
    ) -> None:
        job = make_job()
        set_tags(job, ["lora"], by=alice, source=Source.API)
        many = [add_tag(acme, f"t{number}", by=adam).name for number in range(MAX_TAGS_OF_JOB + 1)]
        for tags in (["lora", "dora"], many):
            with pytest.raises(ValidationError):
                set_tags(job, tags, by=alice, source=Source.API)
        assert carried(job) == ["lora"]
        with pytest.raises(ValidationError, match="belongs to no organization"):
            set_tags(make_job(organization=None), ["lora"], by=alice, source=Source.API)

    def test_who_may_change_the_job_chooses_its_tags_over_the_api(
        self, acme: Organization, alice: User, bob: User, charlie: User, make_job: MakeJob, client_of: ClientOf
    ) -> None:
        job = make_job()
        address = f"/api/cloud/jobs/{job.pk}/tags"
        answer = client_of(alice).post(address, {"tags": ["paper"]})
        assert answer.json() == {"success": True, "job_id": job.pk, "tags": ["paper"]}
        assert client_of(bob).post(address, {"tags": []}).json()["tags"] == []
        colleague = make_user("carol", acme)
        for user, status in ((colleague, 403), (charlie, 404), (None, 401)):
            assert client_of(user).post(address, {"tags": ["lora"]}).status_code == status
        for body in ({"tags": ["dora"]}, {"tags": "lora"}, {}, {"tags": ["lora"], "more": 1}):
            assert client_of(alice).post(address, body).status_code == 400
        assert carried(job) == []


class TestPages:
    def test_the_page_of_a_job_shows_them_and_offers_the_others(
        self, acme: Organization, alice: User, make_job: MakeJob
    ) -> None:
        job, browser = make_job(), browser_of(alice)
        page = browser.get(f"/jobs/{job.pk}").content.decode()
        assert "Add a tag" in page and 'value="ablation"' in page
        page = text_of(browser.post(f"/jobs/{job.pk}/tags", {"tag": ["lora", "paper"]}, follow=True))
        assert "Tags lora paper Change" in page
        refused = browser.post(f"/jobs/{job.pk}/tags", {"tag": ["dora"]}, follow=True)
        assert "acme has no tag “dora”." in text_of(refused)
        assert carried(job) == ["lora", "paper"]

    def test_a_colleague_sees_them_and_changes_nothing(
        self, acme: Organization, alice: User, charlie: User, make_job: MakeJob
    ) -> None:
        job = make_job()
        set_tags(job, ["lora"], by=alice, source=Source.API)
        viewer = browser_of(make_user("victor", acme, Role.VIEWER))
        page = viewer.get(f"/jobs/{job.pk}").content.decode()
        assert "tag=lora" in page and 'name="tag"' not in page
        address = f"/jobs/{job.pk}/tags"
        assert viewer.post(address, {"tag": []}).status_code == 403
        assert browser_of(charlie).post(address, {"tag": []}).status_code == 404
        assert viewer.get(address).status_code == 405
        assert "/login" in Client().post(address)["Location"]
        assert carried(job) == ["lora"]

    def test_without_any_tag_there_is_no_card(self, alice: User, make_job: MakeJob) -> None:
        Tag.objects.all().delete()
        assert "tags-title" not in browser_of(alice).get(f"/jobs/{make_job().pk}").content.decode()


class TestLists:
    def test_the_list_is_narrowed_to_a_tag(
        self, alice: User, root: User, charlie: User, make_job: MakeJob, client_of: ClientOf
    ) -> None:
        tagged, plain = make_job(), make_job()
        set_tags(tagged, ["lora"], by=alice, source=Source.API)
        other = Organization.objects.create(name="elsewhere")
        add_tag(other, "Lora", by=root)
        theirs = make_job(organization=other)
        set_tags(theirs, ["lora"], by=root, source=Source.API)
        for user, ids in ((alice, [tagged.pk]), (root, [theirs.pk, tagged.pk]), (charlie, [])):
            answer = client_of(user).get("/api/cloud/jobs?tag=LORA").json()
            assert ([job["job_id"] for job in answer["jobs"]], answer["total"]) == (ids, len(ids))
        assert client_of(alice).get("/api/cloud/jobs?tag=lora").json()["jobs"][0]["tags"] == ["lora"]
        assert client_of(alice).get("/api/cloud/jobs?tag=nothing").json()["jobs"] == []
        assert plain.pk in str(client_of(alice).get("/api/cloud/jobs").json())

    def test_the_page_offers_the_tags_and_keeps_the_chosen_one(
        self, alice: User, root: User, make_job: MakeJob
    ) -> None:
        add_tag(Organization.objects.create(name="elsewhere"), "theirs", by=root)
        tagged, plain = make_job(config_name="with"), make_job(config_name="without")
        set_tags(tagged, ["lora"], by=alice, source=Source.API)
        page = browser_of(alice).get("/?tag=lora").content.decode()
        form = browser_of(alice).get("/jobs/filters?tag=lora").content.decode()
        assert "<option selected>lora</option>" in form and "theirs" not in page + form
        assert tagged.pk in page and plain.pk not in page
        assert "tag=lora&amp;status=failed" in page
        Tag.objects.all().delete()
        assert "<span>Tag</span>" not in browser_of(alice).get("/jobs/filters").content.decode()
        assert "<option selected>lora</option>" in browser_of(alice).get("/jobs/filters?tag=lora").content.decode()

    def test_a_page_of_jobs_takes_one_query_more_however_many_carry_one(
        self, alice: User, make_job: MakeJob, django_assert_max_num_queries: Any
    ) -> None:
        for _ in range(5):
            set_tags(make_job(), ["lora", "paper"], by=alice, source=Source.API)
        with django_assert_max_num_queries(1):
            assert len(tags_by_job(list(Job.objects.all()[:0]))) == 0
        jobs = list(Job.objects.all())
        with django_assert_max_num_queries(1):
            assert len(tags_by_job(jobs)) == 5
