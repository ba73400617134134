"""The jobs over HTTP."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db import OperationalError, connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone
from rest_framework.test import APIClient

from cloudtrain_site.models import ApiKey
from cloudtrain_site.states import SYSTEM, Source, change_state
from jobs.api.serializers import JobSerializer
from jobs.finding import pages
from jobs.models import Job, Organization
from jobs.roles import Role
from tests.factories import make_job as make_any_job
from tests.factories import make_user
from tests.web import queries_of

pytestmark = [pytest.mark.slow, pytest.mark.django_db]
ClientOf = Callable[[User | None], APIClient]
MakeJob = Callable[..., Job]
JOBS = "/api/cloud/jobs"


@pytest.fixture
def as_alice(alice: User, client_of: ClientOf) -> APIClient:
    return client_of(alice)


def ids(body: dict[str, Any]) -> list[str]:
    return [job["job_id"] for job in body["jobs"]]


def test_the_list_is_newest_first_with_a_cursor_to_the_rest(as_alice: APIClient, make_job: MakeJob) -> None:
    made = sorted((make_job().pk for _ in range(5)), reverse=True)
    first = as_alice.get(f"{JOBS}?limit=3").json()
    rest = as_alice.get(f"{JOBS}?limit=3&cursor={first['next_cursor']}").json()
    assert ids(first) + ids(rest) == made
    assert (first["total"], rest["next_cursor"]) == (5, None)


def test_an_offset_works_as_well(as_alice: APIClient, make_job: MakeJob) -> None:
    made = sorted((make_job().pk for _ in range(3)), reverse=True)
    assert ids(as_alice.get(f"{JOBS}?offset=1&limit=1").json()) == made[1:2]


def test_what_lies_before_an_offset_far_down_is_left_to_the_database(
    as_alice: APIClient, make_job: MakeJob, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = sorted((make_job(status="failed").pk for _ in range(4)), reverse=True)
    monkeypatch.setattr(pages, "MOST_COUNTED", 1)
    with CaptureQueriesContext(connection) as queries:
        answer = as_alice.get(f"{JOBS}?status=failed&offset=2&limit=1").json()
    assert (ids(answer), answer["next_cursor"]) == (made[2:3], made[2])
    assert any("OFFSET 2" in query["sql"] for query in queries.captured_queries)


def test_the_list_is_empty_before_the_first_job(as_alice: APIClient) -> None:
    assert as_alice.get(JOBS).json() == {"jobs": [], "total": 0, "total_is_capped": False, "next_cursor": None}


@pytest.mark.parametrize(
    ("query", "found"),
    [
        ("status=running", 1),
        ("status=running&status=failed", 2),
        ("provider=replicate", 1),
        ("job_type=cloud", 1),
        ("job_type=local", 2),
        ("organization=acme", 3),
        ("organization=other", 0),
        ("search=ux-l", 2),
        ("search=corr-7", 1),
        ("search=alice", 3),
        ("search=nothing", 0),
    ],
)
def test_the_list_is_filtered(as_alice: APIClient, make_job: MakeJob, query: str, found: int) -> None:
    make_job(status="running")
    make_job(status="failed", correlation_id="corr-7")
    make_job(provider="replicate", external_id="r-1", config_name="sdxl")
    assert as_alice.get(f"{JOBS}?{query}").json()["total"] == found


@pytest.mark.parametrize(
    "query", ["limit=0", "limit=501", "limit=x", "offset=-1", f"offset={2**64}", "status=odd", "search=%00"]
)
def test_a_bad_query_is_refused(as_alice: APIClient, query: str) -> None:
    response = as_alice.get(f"{JOBS}?{query}")
    assert response.status_code == 400
    assert response.json()["errors"]


def test_a_page_costs_the_same_number_of_queries_however_long_it_is(as_alice: APIClient, make_job: MakeJob) -> None:
    counts = []
    for count in (2, 28):
        for _ in range(count):
            make_job()
        counts.append(queries_of(as_alice, JOBS))
    assert counts[0] == counts[1]


def test_a_job_is_shown_with_every_field_of_the_contract(as_alice: APIClient, make_job: MakeJob) -> None:
    job = make_job()
    shown = as_alice.get(f"{JOBS}/{job.pk}").json()["job"]
    assert list(shown) == list(JobSerializer().fields)
    assert shown["created_at"].endswith("Z")
    assert (shown["job_type"], shown["organization"], shown["submitted_by"]) == ("local", "acme", "alice")


def test_a_job_is_found_by_its_external_id_too(as_alice: APIClient, make_job: MakeJob) -> None:
    job = make_job(external_id="x-17")
    assert as_alice.get(f"{JOBS}/x-17").json()["job"]["job_id"] == job.pk


def test_inline_progress_has_exactly_four_fields(as_alice: APIClient, make_job: MakeJob) -> None:
    job = make_job(status="running", stage="Training", progress=30.0, last_log="Step 1500/5000 - loss: 0.0234")
    assert as_alice.get(f"{JOBS}/{job.pk}/inline-progress").json() == {
        "job_id": job.pk,
        "stage": "Training",
        "last_log": "Step 1500/5000 - loss: 0.0234",
        "progress": 30.0,
    }


def test_the_history_is_told_oldest_first(as_alice: APIClient, make_job: MakeJob) -> None:
    job = make_job()
    change_state(job, "queued", actor=SYSTEM, source=Source.DISPATCHER)
    change_state(job, "running", actor=SYSTEM, source=Source.POLL)
    events = as_alice.get(f"{JOBS}/{job.pk}/events").json()["events"]
    assert [(event["old"], event["new"]) for event in events] == [("pending", "queued"), ("queued", "running")]


def test_the_log_of_a_job_that_was_not_started_is_empty(as_alice: APIClient, make_job: MakeJob) -> None:
    job = make_job()
    body = as_alice.get(f"{JOBS}/{job.pk}/logs").json()
    assert body == {"job_id": job.pk, "logs": "", "offset": 0, "complete": False}
    assert as_alice.get(f"{JOBS}/{job.pk}/metrics").json() == {
        "series": {"loss": [], "learning_rate": []},
        "seconds": [],
        "gaps": {},
    }


def test_cancel_answers_with_the_status(as_alice: APIClient, make_job: MakeJob) -> None:
    job = make_job()
    response = as_alice.post(f"{JOBS}/{job.pk}/cancel")
    assert response.json() == {"success": True, "job_id": job.pk, "status": "cancelled"}


@pytest.mark.parametrize("status", ["completed", "failed", "cancelled"])
def test_an_ended_job_can_not_be_cancelled(as_alice: APIClient, make_job: MakeJob, status: str) -> None:
    response = as_alice.post(f"{JOBS}/{make_job(status=status).pk}/cancel")
    assert response.status_code == 409
    assert response.json()["detail"] == f"The job has already ended ({status})."


def test_only_an_ended_job_is_deleted(as_alice: APIClient, make_job: MakeJob) -> None:
    running, ended = make_job(status="running"), make_job(status="failed")
    assert as_alice.delete(f"{JOBS}/{running.pk}").status_code == 409
    assert as_alice.delete(f"{JOBS}/{ended.pk}").json() == {"success": True, "job_id": ended.pk}
    assert as_alice.get(f"{JOBS}/{ended.pk}").status_code == 404


def test_a_researcher_changes_only_their_own(acme: Organization, make_job: MakeJob, client_of: ClientOf) -> None:
    other = client_of(make_user("olga", acme, Role.RESEARCHER))
    job = make_job()
    assert other.get(f"{JOBS}/{job.pk}").status_code == 200
    assert other.post(f"{JOBS}/{job.pk}/cancel").status_code == 403
    assert Job.objects.get().status == "pending"


def test_a_lead_changes_everybodys(bob: User, make_job: MakeJob, client_of: ClientOf) -> None:
    assert client_of(bob).post(f"{JOBS}/{make_job().pk}/cancel").status_code == 200


PATHS = ["", "/inline-progress", "/logs", "/events", "/metrics"]
VERBS = ["/cancel", "/retry"]


@pytest.mark.parametrize("path", [*PATHS, *VERBS])
def test_a_stranger_gets_the_answer_of_a_job_that_is_not_there(
    charlie: User, make_job: MakeJob, client_of: ClientOf, path: str
) -> None:
    client, job = client_of(charlie), make_job(status="failed")
    ask = client.post if path in VERBS else client.get
    theirs, missing = ask(f"{JOBS}/{job.pk}{path}"), ask(f"{JOBS}/{'0' * 26}{path}")
    assert theirs.status_code == missing.status_code == 404
    assert theirs.json()["detail"] == missing.json()["detail"]


@pytest.mark.parametrize("path", ["/api/cloud/jobs", "/api/queue", "/api/approvals", "/api/configs", "/api/schema"])
def test_nobody_sees_anything_anonymously(client_of: ClientOf, db: None, path: str) -> None:
    response = client_of(None).get(path)
    assert response.status_code == 401
    assert set(response.json()) == {"detail", "code", "correlation_id"}


@pytest.fixture
def key(alice: User) -> str:
    _, key = ApiKey.objects.create(user=alice, name="laptop")
    return str(key)


@pytest.mark.parametrize("header", ["Authorization", "X-API-Key"])
def test_a_key_opens_the_api_by_either_header(key: str, header: str) -> None:
    value = f"Bearer {key}" if header == "Authorization" else key
    assert APIClient().get(JOBS, headers={header: value}).status_code == 200
    assert ApiKey.objects.get().last_used_at is not None


def test_a_key_opens_the_api_though_nothing_can_be_written(transactional_db: None, key: str) -> None:
    def refuse_writes(execute: Any, sql: str, *rest: Any) -> Any:
        if sql.startswith("UPDATE"):
            raise OperationalError("database or disk is full")
        return execute(sql, *rest)

    with connection.execute_wrapper(refuse_writes):
        assert APIClient().get(JOBS, headers={"X-API-Key": key}).status_code == 200
    assert ApiKey.objects.get().last_used_at is None


@pytest.mark.parametrize("value", ["", "wrong", "ct_" + "0" * 61, "nul\x00", "\xff\xfe", "k" * 10_000])
def test_a_bad_key_is_refused(key: str, value: str) -> None:
    response = APIClient().get(JOBS, headers={"X-API-Key": value})
    assert response.status_code == 401
    assert response.json()["code"] == "authentication_failed"


def test_an_expired_key_is_refused_and_says_so(key: str) -> None:
    ApiKey.objects.update(expiry=timezone.now() - timedelta(seconds=1))
    response = APIClient().get(JOBS, headers={"X-API-Key": key})
    assert response.status_code == 401
    assert response.json()["detail"] == "This API key has expired. Ask for a new one."


def test_the_key_of_a_deactivated_user_is_refused(key: str, alice: User) -> None:
    alice.is_active = False
    alice.save(update_fields=["is_active"])
    assert APIClient().get(JOBS, headers={"X-API-Key": key}).status_code == 401


def test_a_key_is_kept_as_a_digest_alone(key: str) -> None:
    row = ApiKey.objects.values().get()
    assert key not in map(str, row.values())


def test_a_session_needs_its_csrf_token(alice: User, make_job: MakeJob) -> None:
    client = APIClient(enforce_csrf_checks=True)
    client.force_login(alice)
    assert client.get(JOBS).status_code == 200
    assert client.post(f"{JOBS}/{make_job().pk}/cancel").status_code == 403


def test_the_providers_are_listed_and_say_whether_they_would_take_a_job(as_alice: APIClient) -> None:
    local, _ = as_alice.get("/api/cloud/providers").json()["providers"]
    assert (local["name"], local["default_hardware"]) == ("local", "cpu")
    assert as_alice.get("/api/cloud/providers/local/validate").json()["valid"] is True
    assert as_alice.get("/api/cloud/providers/moon/validate").status_code == 404


def test_a_superuser_sees_what_belongs_to_nobody(root: User, as_alice: APIClient, client_of: ClientOf) -> None:
    job = make_any_job(organization=None)
    assert ids(client_of(root).get(JOBS).json()) == [job.pk]
    assert as_alice.get(f"{JOBS}/{job.pk}").status_code == 404


def test_what_is_not_there_is_told_in_the_shape_of_every_error(as_alice: APIClient) -> None:
    response = as_alice.get("/api/nothing/here")
    assert response.status_code == 404
    assert set(response.json()) == {"detail", "code", "correlation_id"}


def test_the_schema_is_complete_and_consistent(root: User) -> None:
    from django.core.management import call_command

    call_command("spectacular", validate=True, fail_on_warn=True, file="/dev/null")


class TestShortenedIds:
    """As SimpleTuner's list prints them: 12 characters."""

    ADDRESSES = ("", "/inline-progress", "/logs", "/events", "/metrics")

    @pytest.mark.parametrize("address", ADDRESSES)
    @pytest.mark.parametrize("length", [8, 12, 25])
    def test_one_that_begins_so_is_found(
        self, as_alice: APIClient, make_job: MakeJob, address: str, length: int
    ) -> None:
        job = make_job(id="01m81da9kqkb7r5gyetc6bkhj0", status="completed")
        make_job(id="01m81daakqkb7r5gyetc6bkhj0")
        assert as_alice.get(f"{JOBS}/{job.pk[:length].upper()}{address}").status_code == 200
        assert as_alice.get(f"{JOBS}/{job.pk[:length]}").json()["job"]["job_id"] == job.pk

    def test_several_are_named_and_nothing_is_done(self, as_alice: APIClient, make_job: MakeJob) -> None:
        first, second = (make_job(id=f"01m81da9kqkb7r5gyetc6bkhj{end}") for end in "ab")
        for answer in (as_alice.get(f"{JOBS}/{first.pk[:12]}"), as_alice.post(f"{JOBS}/{first.pk[:12]}/cancel")):
            assert (answer.status_code, answer.json()["code"]) == (409, "ambiguous_job_id")
            assert f"{first.pk}, {second.pk}. Enter more of the id." in answer.json()["detail"]
        assert Job.objects.filter(status="pending", cancel_requested_at=None).count() == 2

    def test_of_many_five_are_named(self, as_alice: APIClient, make_job: MakeJob) -> None:
        for end in "abcdefg":
            make_job(id=f"01m81da9kqkb7r5gyetc6bkhj{end}")
        detail = as_alice.get(f"{JOBS}/01m81da9kqkb").json()["detail"]
        assert detail.count("01m81da9kqkb7") == 5
        assert "and more" in detail

    def test_a_whole_id_wins_over_an_external_id_and_both_over_a_beginning(
        self, as_alice: APIClient, make_job: MakeJob
    ) -> None:
        job = make_job(external_id="01m81da9kqkb")
        make_job(id="01m81da9kqkb7r5gyetc6bkhj0")
        assert as_alice.get(f"{JOBS}/01m81da9kqkb").json()["job"]["job_id"] == job.pk

    @pytest.mark.parametrize("start", ["01m81da", "01m81da9kqkc", "01m81da9%", "01m81da9kqk_"])
    def test_too_few_and_other_characters_find_nothing(
        self, as_alice: APIClient, make_job: MakeJob, start: str
    ) -> None:
        make_job(id="01m81da9kqkb7r5gyetc6bkhj0")
        assert as_alice.get(f"{JOBS}/{start}").status_code == 404

    def test_other_peoples_jobs_and_deleted_ones_do_not_count(
        self, as_alice: APIClient, make_job: MakeJob, charlie: User, client_of: ClientOf
    ) -> None:
        job = make_job(id="01m81da9kqkb7r5gyetc6bkhja")
        make_any_job(id="01m81da9kqkb7r5gyetc6bkhjb", organization=Organization.objects.get(name="other"))
        make_job(id="01m81da9kqkb7r5gyetc6bkhjc", status="failed", deleted_at=timezone.now())
        assert as_alice.get(f"{JOBS}/{job.pk[:12]}").json()["job"]["job_id"] == job.pk
        hers = client_of(charlie).get(f"{JOBS}/{job.pk[:12]}").json()["job"]["job_id"]
        assert hers == "01m81da9kqkb7r5gyetc6bkhjb"

    def test_the_verbs_take_them(self, as_alice: APIClient, make_job: MakeJob) -> None:
        job = make_job(id="01m81da9kqkb7r5gyetc6bkhj0")
        cancelled = as_alice.post(f"{JOBS}/{job.pk[:12]}/cancel").json()
        assert (cancelled["job_id"], cancelled["status"]) == (job.pk, "cancelled")
        assert as_alice.post(f"{JOBS}/{job.pk[:12]}/retry").status_code == 201
        assert as_alice.delete(f"{JOBS}/{job.pk[:12]}").json()["job_id"] == job.pk


@pytest.mark.parametrize(
    "address",
    [
        *(JOBS, "/api/cloud/metrics", "/api/cloud/uploads", "/api/queue", "/api/approvals"),
        *("POST /api/cloud/jobs/sync", "POST /api/cloud/jobs/submit", "POST /api/queue/cleanup"),
    ],
)
def test_an_unknown_parameter_is_refused_as_an_unknown_field_is(as_alice: APIClient, address: str) -> None:
    method, _, path = address.rpartition(" ")
    ask = as_alice.post if method == "POST" else as_alice.get
    refused = ask(f"{path}?limti=3")
    assert refused.status_code == 400
    assert "limti: Unknown field. Known fields:" in refused.json()["detail"]


def test_a_log_is_not_read_from_its_beginning_for_a_misspelled_place(as_alice: APIClient, make_job: MakeJob) -> None:
    job = make_job(status="completed")
    assert as_alice.get(f"{JOBS}/{job.pk}/logs?form=5").status_code == 400
    assert as_alice.get(f"{JOBS}/{job.pk}/logs?since=0&tail=3").status_code == 200
