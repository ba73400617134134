"""Searches find names whatever their capitals and however their letters are put together, on both databases."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from unicodedata import normalize

import pytest
from django.contrib.auth.models import User
from django.db import OperationalError, connection
from django.test import Client

from approvals.models import ApprovalRequest, ApprovalRule
from cloudtrain_site.database.folding import folded
from cloudtrain_site.states import SYSTEM, Source
from jobs.finding import name_index, pages, search
from jobs.finding.name_index import named
from jobs.models import Job, Organization, TrainingConfig
from jobs.roles import Role
from queueing import claims
from tests.jobs.dashboard.test_list_views import shown_names

pytestmark = [pytest.mark.slow, pytest.mark.django_db]
MakeJob = Callable[..., Job]

FOUND = [
    ("Übung Größe", "übung"),
    ("Übung Größe", "GRÖSSE"),
    ("Übung Größe", normalize("NFD", "größe")),
    (normalize("NFD", "Übung"), "Übung"),
    ("STRASSE", "straße"),
    ("ẞ", "ß"),
    ("ПРИВЕТ мир", "привет"),
    ("ΑΘΗΝΑ", "αθηνα"),
    ("ΟΔΥΣΣΕΥΣ", "οδυσσευς"),
    (normalize("NFD", "éclair"), normalize("NFC", "éclair")),
    (normalize("NFC", "éclair"), normalize("NFD", "ÉCLAIR")),
    ("ﬁne ｗｉｄｅ", "FINE WIDE"),
    ("Flux-LoRA 100%", "lora 100%"),
]
NOT_FOUND = [("Übung", "ubung"), ("flux_1", "flux-1"), ("100 steps", "100%"), ("éclair", "ecl")]


@pytest.fixture
def as_root(root: User) -> Client:
    client = Client()
    client.force_login(root)
    return client


def over_api(client: Client, text: str) -> int:
    answer = client.get("/api/cloud/jobs", {"search": text}).json()
    assert len(answer["jobs"]) == answer["total"]
    return int(answer["total"])


def on_page(client: Client, text: str) -> int:
    return len(shown_names(client.get("/", {"search": text}).content.decode()))


def in_admin(page: str) -> Callable[[Client, str], int]:
    def search(client: Client, text: str) -> int:
        answer = client.get(f"/admin/{page}/", {"q": text})
        assert answer.status_code == 200
        return int(answer.context["cl"].result_count)

    return search


SEARCHES = {"api": over_api, "page": on_page, "admin": in_admin("jobs/job"), "queue": in_admin("queueing/queueentry")}


@pytest.mark.parametrize("search", SEARCHES.values(), ids=SEARCHES)
@pytest.mark.parametrize(
    ("name", "text", "count"), [*((*pair, 1) for pair in FOUND), *((*pair, 0) for pair in NOT_FOUND)]
)
def test_a_job_is_found_by_its_name(
    as_root: Client, make_job: MakeJob, search: Callable[[Client, str], int], name: str, text: str, count: int
) -> None:
    job = make_job(config_name=name)
    claims.enqueue(job, role=Role.VIEWER, held=False, actor=SYSTEM, source=Source.API)
    make_job(config_name="another")
    assert search(as_root, text) == count


@pytest.mark.parametrize(("name", "text", "count"), [("Übung", "ÜBUNG", 1), ("STRASSE", "straße", 1), ("A", "y", 0)])
def test_other_names_in_the_admin_too(as_root: Client, acme: Organization, name: str, text: str, count: int) -> None:
    Organization.objects.create(name=name)
    ApprovalRule.objects.create(name=name, first_job=True)
    TrainingConfig.objects.create(name=name, organization=acme, config={})
    User.objects.create_user(name)
    for page in ("jobs/organization", "approvals/approvalrule", "jobs/trainingconfig", "auth/user"):
        assert in_admin(page)(as_root, text) == count, page


def test_a_request_is_found_by_the_name_of_its_job(as_root: Client, alice: User, make_job: MakeJob) -> None:
    ApprovalRule.objects.create(name="all", first_job=True)
    as_alice = Client()
    as_alice.force_login(alice)
    body: Any = {"config": {"max_train_steps": 5}, "config_name": "Übung"}
    assert as_alice.post("/api/cloud/jobs/submit", body, content_type="application/json").json()["requires_approval"]
    assert ApprovalRequest.objects.count() == 1
    assert in_admin("approvals/approvalrequest")(as_root, "üBUNG") == 1
    assert in_admin("approvals/approvalrequest")(as_root, "ubung") == 0


@pytest.mark.parametrize(
    ("text", "count"),
    [("JÖRG", 1), (normalize("NFD", "jörg"), 1), ("jör", 0), ("x-123", 1), ("x-12", 0), ("corr-9", 1), ("CORR-9", 0)],
)
def test_a_job_is_found_by_what_else_it_has(as_root: Client, make_job: MakeJob, text: str, count: int) -> None:
    """Its submitter and ids have to be whole."""
    submitter = User.objects.create_user("Jörg")
    make_job(submitted_by=submitter, external_id="x-123", correlation_id="corr-9")
    make_job(external_id="y")
    assert over_api(as_root, text) == count


def test_a_job_is_found_by_the_beginning_of_its_id_and_once(as_root: Client, make_job: MakeJob) -> None:
    ids = ["01m8psj35vaaaaaaaaaaaaaaaa", "01m8psj35vzzzzzzzzzzzzzzzz", "01m8psj36w0000000000000000"]
    for job_id in ids:
        make_job(pk=job_id, external_id=f"same-{job_id}", correlation_id="same", config_name="same")
    found = {
        text: over_api(as_root, text) for text in ("01M8PSJ35V", "01m8psj35vz", ids[2], "01m8psj36w1", "7", "same")
    }
    assert found == {"01M8PSJ35V": 2, "01m8psj35vz": 1, ids[2]: 1, "01m8psj36w1": 0, "7": 0, "same": 3}


def test_the_filters_narrow_what_a_search_finds(as_root: Client, make_job: MakeJob) -> None:
    make_job(config_name="Übung", provider="replicate")
    make_job(config_name="Übung")
    answer = as_root.get("/api/cloud/jobs", {"search": "übung", "provider": "replicate"}).json()
    assert [job["provider"] for job in answer["jobs"]] == ["replicate"]


def test_folding_twice_changes_nothing() -> None:
    for text in (text for pair in FOUND for text in pair):
        assert folded(folded(text)) == folded(text)


@pytest.mark.parametrize(("limit", "offset"), [(1, 0), (2, 2), (50, 0)])
@pytest.mark.parametrize("text", ["übung", "corr-9"])
def test_the_total_is_of_all_pages(as_root: Client, make_job: MakeJob, limit: int, offset: int, text: str) -> None:
    for _ in range(3):
        make_job(config_name="Übung", correlation_id="corr-9")
    make_job(config_name="another")
    answer = as_root.get(f"/api/cloud/jobs?search={text}&limit={limit}&offset={offset}").json()
    assert (answer["total"], len(answer["jobs"])) == (3, min(limit, 3 - offset))


def test_few_names_are_found_by_their_parts_and_no_others(make_job: MakeJob) -> None:
    jobs = [make_job(config_name=name) for name in ('say "flux"', "FLUX 1", "flu", "lux f", "xulf")]
    assert sorted(named("flux", 10) or []) == sorted(job.pk for job in jobs[:2])
    assert named('y "f', 10) == [jobs[0].pk]
    assert named("flx", 10) == []
    assert len(named("flu", 2) or []) == 2
    assert sorted(named("fl", 10) or []) == sorted(job.pk for job in jobs[:3])
    assert sorted(named("lu", 10) or []) == sorted(job.pk for job in jobs[:4])
    assert named(" f", 10) == [jobs[3].pk]
    assert named('"f', 10) == [jobs[0].pk]
    assert named("lf", 10) == [jobs[4].pk]
    assert named("xx", 10) == []
    assert len(named("lu", 2) or []) == 2
    assert named("f", 10) is None


@pytest.mark.parametrize("name", ["é", "aé", "aéb", "aéb%", "a_éb"])
def test_two_characters_are_found_wherever_they_stand(make_job: MakeJob, name: str) -> None:
    job, key = make_job(config_name=name), folded(name)
    for start in range(len(key) - 1):
        assert named(key[start : start + 2], 10) == [job.pk]


@pytest.mark.skipif("connection.vendor != 'postgresql'")
def test_what_very_many_names_contain_is_not_asked_of_the_index(
    make_job: MakeJob, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(name_index, "_SAMPLED", name_index._SAMPLED.replace("(0.2)", "(100)"))
    for number in range(name_index.FREQUENT):
        assert named("flux", 10) is not None
        make_job(config_name=f"flux {number}")
    assert named("flux", 10) is None


@pytest.mark.parametrize("few", [0, 1, 2000])
@pytest.mark.parametrize("text", ["flux", "x", "corr-9", "sam"])
def test_as_many_are_found_when_they_are_no_longer_few(
    as_root: Client, make_job: MakeJob, monkeypatch: pytest.MonkeyPatch, few: int, text: str
) -> None:
    monkeypatch.setattr(search, "MOST_IDS", few)
    monkeypatch.setattr(pages, "FEW", few)
    sam = User.objects.create_user("sam")
    for number in range(3):
        make_job(config_name=f"FLUX sam {number}", correlation_id="corr-9", submitted_by=sam)
    make_job(config_name="another", correlation_id="corr-10")
    assert (over_api(as_root, text), on_page(as_root, text)) == (3, 3)


@pytest.mark.skipif("connection.vendor != 'sqlite'")
def test_the_index_of_names_is_made_as_a_whole(make_job: MakeJob, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a kill leaves of a migration must not stop the next one."""
    job, editor = make_job(config_name="Übung"), connection.schema_editor()
    name_index.uninstall(None, editor)
    with monkeypatch.context() as patch, pytest.raises(OperationalError):
        patch.setattr(name_index, "_SQLITE", (*name_index._SQLITE[:-1], "CREATE nothing"))
        name_index.install(None, editor)
    name_index.install(None, editor)
    assert named("übung", 5) == [job.pk]
