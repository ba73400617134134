"""The fake Replicate answers as the real one: its official client finds nothing amiss."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from datetime import datetime, timedelta
from typing import Any

import httpx
import pytest
from replicate.client import Client
from replicate.exceptions import ReplicateError
from replicate.pagination import paginate

from examples.fake_replicate import INSTANT, FakeReplicate, FakeReplicateProcess, Script
from examples.fake_replicate.catalog import PROFILES
from examples.fake_replicate.creating import REDACTED
from tests.web import wait_until

MODEL = "simpletuner/advanced-trainer-h100"
INPUT = {"config_json": "{}"}
EARLY_KEYS = {"id", "model", "version", "input", "logs", "data_removed", "error", "status", "created_at", "urls"}


@pytest.fixture
def fake() -> Iterator[FakeReplicate]:
    with FakeReplicate.start(script=INSTANT) as running:
        yield running


@pytest.fixture
def client(fake: FakeReplicate) -> Iterator[Client]:
    """The official client."""
    made = Client(api_token=fake.token, base_url=fake.url)
    made.poll_interval = 0.02
    yield made
    made._client.close()


@pytest.fixture
def http(fake: FakeReplicate) -> Iterator[httpx.Client]:
    """A plain client, to see what the official one hides."""
    with fake.client(timeout=10) as plain:
        yield plain


def create(fake: FakeReplicate, http: httpx.Client, **body: Any) -> httpx.Response:
    return http.post("/predictions", json={"version": fake.version(), "input": INPUT} | body)


def archive() -> io.BytesIO:
    content = io.BytesIO(b"not really zipped")
    content.name = "data.zip"
    return content


def test_cancel_before_the_start_counts_no_time(fake: FakeReplicate, http: httpx.Client) -> None:
    fake.script = Script(start=60)
    made = create(fake, http).json()
    canceled = http.post(f"/predictions/{made['id']}/cancel").json()
    assert canceled["status"] == "canceled"
    assert canceled["started_at"] == canceled["completed_at"]
    assert canceled["metrics"]["predict_time"] == 0


def test_a_created_one_has_only_its_early_keys(fake: FakeReplicate, http: httpx.Client) -> None:
    fake.script = Script(start=60)
    response = create(fake, http, webhook="https://example.com/hook", webhook_events_filter=["completed"])
    assert response.status_code == 201
    made = response.json()
    assert set(made) == EARLY_KEYS | {"webhook", "webhook_events_filter"}
    assert re.fullmatch(r"[0-9a-z]{26}", made["id"])
    assert response.headers["Location"] == made["urls"]["get"] == f"{fake.url}/v1/predictions/{made['id']}"
    assert http.get(made["urls"]["get"]).json() == made


def test_secrets_and_undeclared_inputs_are_not_echoed(fake: FakeReplicate, http: httpx.Client) -> None:
    inputs = INPUT | {"hf_token": "not-a-token", "lycoris_json": "{}"}
    made = create(fake, http, input=inputs).json()
    assert made["input"] == INPUT | {"hf_token": REDACTED}
    assert fake.predictions[made["id"]].inputs == inputs


def test_it_waits_for_the_end_when_the_client_prefers_it(fake: FakeReplicate, http: httpx.Client) -> None:
    fake.script = Script(run=0.05)
    body = {"version": fake.version(), "input": INPUT}
    response = http.post("/predictions", json=body, headers={"Prefer": "wait=5"})
    assert response.headers["Preference-Applied"] == "wait=5"
    assert response.json()["status"] == "succeeded"


@pytest.mark.parametrize(("start", "ended"), [(60, "aborted"), (0, "canceled")])
def test_cancel_after_ends_it_at_its_deadline(
    fake: FakeReplicate, http: httpx.Client, start: int, ended: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("examples.fake_replicate.api.SHORTEST_DEADLINE", 0)
    fake.script = Script(start=start, run=60)
    body = {"version": fake.version(), "input": INPUT}
    made = http.post("/predictions", json=body, headers={"Cancel-After": "0s"}).json()
    assert made["deadline"]
    wait_until(lambda: fake.predictions[made["id"]].status == ended)


def test_cancel_after_must_leave_some_time(fake: FakeReplicate, http: httpx.Client) -> None:
    body = {"version": fake.version(), "input": INPUT}
    assert http.post("/predictions", json=body, headers={"Cancel-After": "4"}).status_code == 422


@pytest.mark.parametrize(
    ("change", "kind", "field", "text"),
    [
        ({"model": MODEL}, "additional_property_not_allowed", "", "Additional property model is not allowed"),
        ({"input": "x"}, "invalid_type", "input", "Invalid type. Expected: object, given: string"),
        (
            {"input": {"config_json": {}}},
            "invalid_type",
            "input.config_json",
            "Invalid type. Expected: string, given: object",
        ),
        (
            {"input": {"max_train_steps": 0}},
            "number_gte",
            "input.max_train_steps",
            "Must be greater than or equal to 1",
        ),
        ({"webhook": "nowhere"}, "format", "webhook", "Does not match format 'uri'"),
    ],
)
def test_a_body_is_read_strictly(
    fake: FakeReplicate, http: httpx.Client, change: dict[str, Any], kind: str, field: str, text: str
) -> None:
    response = create(fake, http, **change)
    assert response.status_code == 422
    assert response.headers["Content-Type"].startswith("application/problem+json")
    assert response.json() == {
        "title": "Input validation failed",
        "detail": f"- {field}: {text}\n" if field else f"- {text}\n",
        "status": 422,
        "invalid_fields": [{"type": kind, "field": field, "description": text}],
    }
    assert len(fake.predictions) == 0


@pytest.mark.parametrize("text", ["0" * 64, MODEL, f"{MODEL}:latest", "replicate/hello-world:{hex}", ""])
def test_a_version_must_exist_and_fit_its_model(fake: FakeReplicate, http: httpx.Client, text: str) -> None:
    response = create(fake, http, version=text.replace("{hex}", fake.world.models[MODEL].versions[0]))
    assert response.status_code == 422
    assert response.json()["title"] == "Invalid version or not permitted"


def test_the_latest_version_of_an_official_model_needs_no_number(fake: FakeReplicate, http: httpx.Client) -> None:
    made = create(fake, http, version="black-forest-labs/flux-schnell", input={"prompt": "a cat"}).json()
    assert made["version"] == "hidden"


def test_nobody_is_served_without_the_token(fake: FakeReplicate) -> None:
    for headers in ({}, {"Authorization": "Bearer wrong"}):
        response = httpx.get(f"{fake.url}/v1/predictions", headers=headers)
        assert response.status_code == 401
        assert response.json()["detail"] == "You did not pass a valid authentication token"
        assert "ratelimit-remaining" not in response.headers


def test_the_older_scheme_of_the_token_still_works(fake: FakeReplicate) -> None:
    assert httpx.get(f"{fake.url}/v1/account", headers={"Authorization": f"Token {fake.token}"}).status_code == 200


def test_limits_are_told_with_every_answer_but_those_about_files(fake: FakeReplicate, http: httpx.Client) -> None:
    assert create(fake, http).headers["ratelimit-remaining"] == "599"
    listed = http.get("/predictions")
    assert (listed.headers["ratelimit-remaining"], listed.headers["ratelimit-reset"]) == ("2999", "1")
    assert "ratelimit-remaining" not in http.get("/files").headers


def test_pages_lead_through_all_predictions_newest_first(fake: FakeReplicate, client: Client) -> None:
    made = fake.fill(250)
    pages = list(paginate(client.predictions.list))
    assert [len(page) for page in pages] == [100, 100, 50]
    assert [one.id for page in pages for one in page] == [one.id for one in reversed(made)]
    back = client.predictions.list(pages[2].previous)
    assert [one.id for one in back] == [one.id for one in pages[1]]
    assert client.predictions.list(back.previous).previous is None


def test_new_predictions_do_not_shift_the_pages(fake: FakeReplicate, client: Client) -> None:
    made = fake.fill(150)
    first = client.predictions.list()
    fake.fill(10)
    assert [one.id for one in client.predictions.list(first.next)] == [one.id for one in reversed(made[:50])]


def test_the_list_is_thinner_and_has_nulls(fake: FakeReplicate, http: httpx.Client) -> None:
    fake.fill(1, status="starting", webhook="https://example.com")
    (item,) = http.get("/predictions").json()["results"]
    assert item["output"] is item["started_at"] is item["completed_at"] is None
    assert item["metrics"] == {}
    assert not {"logs", "webhook"} & set(item)


def test_the_list_can_be_cut_by_date(fake: FakeReplicate, http: httpx.Client) -> None:
    fake.fill(120, age_seconds=3600)
    middle = http.get("/predictions").json()["results"][99]
    after = http.get("/predictions", params={"created_after": middle["created_at"]}).json()
    before = http.get("/predictions", params={"created_before": middle["created_at"]}).json()
    assert (len(after["results"]), after["next"]) == (100, None)
    assert len(before["results"]) == 20
    page = http.get("/predictions", params={"created_before": "2999-01-01T00:00:00Z"}).json()
    assert "created_before=2999" in page["next"]
    assert len(http.get(page["next"]).json()["results"]) == 20


@pytest.mark.parametrize(
    ("query", "status"), [({"cursor": "?"}, 404), ({"created_after": "yesterday"}, 400), ({"source": "api"}, 400)]
)
def test_a_list_of_nonsense_is_refused(http: httpx.Client, query: dict[str, str], status: int) -> None:
    assert http.get("/predictions", params=query).status_code == status


def test_each_profile_has_a_model_with_versions_newest_first(client: Client) -> None:
    for profile in PROFILES:
        model = client.models.get(f"simpletuner/advanced-trainer-{profile}")
        versions = model.versions.list().results
        assert model.latest_version == versions[0]
        assert versions[0].created_at > versions[1].created_at
        assert "config_json" in versions[0].openapi_schema["components"]["schemas"]["Input"]["properties"]
    with pytest.raises(ReplicateError) as caught:
        client.models.get("simpletuner/advanced-trainer-tpu")
    assert caught.value.status == 404


def test_account_and_hardware(client: Client) -> None:
    assert client.accounts.current().type == "organization"
    skus = [hardware.sku for hardware in client.hardware.list()]
    assert {"gpu-h100", "gpu-h100-2x", "gpu-2x-l40s"} <= set(skus)


def test_files_are_kept_described_and_deleted(fake: FakeReplicate, client: Client, http: httpx.Client) -> None:
    content = archive()
    file = client.files.create(content, metadata={"job": "42"})
    assert (file.name, file.content_type, file.size) == ("data.zip", "application/zip", len(content.getvalue()))
    assert file.metadata == {"job": "42"}
    assert file.expires_at is not None
    assert datetime.fromisoformat(file.expires_at) - datetime.fromisoformat(file.created_at) == timedelta(days=1)
    assert client.files.list() == [client.files.get(file.id)] == [file]
    assert http.get(f"/files/{file.id}/download").content == content.getvalue()
    assert client.files.delete(file.id)
    assert http.get(f"/files/{file.id}").json() == {"detail": "File not found"}


def test_files_expire(fake: FakeReplicate, client: Client, http: httpx.Client) -> None:
    fake.faults.file_seconds = 60
    file = client.files.create(archive())
    fake.age(61)
    assert http.get(f"/files/{file.id}").status_code == 404
    assert client.files.list() == []
    later = client.files.create(archive())
    assert client.files.list() == [later]


def test_a_file_may_not_be_too_large(fake: FakeReplicate, http: httpx.Client) -> None:
    fake.faults.file_limit = 1000
    response = http.post("/files", files={"content": ("data.zip", b"x" * 200_000)})
    assert response.status_code == 413
    assert response.json() == {"detail": "Files must be less than 100MB in size"}
    assert len(fake.files) == 0


def test_the_part_of_a_file_must_have_the_right_name(http: httpx.Client) -> None:
    assert http.post("/files", files={"file": ("data.zip", b"x")}).status_code == 422


def test_data_is_removed_an_hour_after_the_end(fake: FakeReplicate, http: httpx.Client) -> None:
    made = create(fake, http).json()
    wait_until(lambda: fake.predictions[made["id"]].ended)
    fake.age(3599)
    assert http.get(made["urls"]["get"]).json()["logs"]
    fake.age(1)
    gone = http.get(made["urls"]["get"]).json()
    assert (gone["data_removed"], gone["input"], gone["output"], gone["logs"]) == (True, {}, None, None)
    assert http.get("/predictions").json()["results"][0]["data_removed"] is True


def test_requests_are_counted(fake: FakeReplicate, http: httpx.Client) -> None:
    made = create(fake, http).json()
    http.get(made["urls"]["get"], headers={"X-Correlation-ID": "abc"})
    assert fake.requests.count("GET", "/v1/predictions/{id}") == 1
    assert fake.requests.count(path="/v1/predictions") == 1
    assert [seen.method for seen in fake.requests] == ["POST", "GET"]
    assert list(fake.requests)[-1].headers["x-correlation-id"] == "abc"


def test_an_outage_refuses_connections_and_loses_nothing(fake: FakeReplicate, http: httpx.Client) -> None:
    fake.fill(3)
    http.get("/predictions")
    with fake.outage(), pytest.raises(httpx.TransportError):
        http.get("/predictions")
    assert len(http.get("/predictions").json()["results"]) == 3


@pytest.mark.slow
def test_it_runs_as_a_process_and_is_steered_over_http() -> None:
    with FakeReplicateProcess.start("--token", "T", "--script", "0,60") as fake:
        first, _ = fake.fill(2, input={"config_json": "run {n}"})
        fake.update(first, status="succeeded", logs="the end")
        assert [one["status"] for one in fake.predictions()] == ["succeeded", "processing"]
        state = fake.spoil(settings={"cancel_finished": 404}, rules=[{"kind": "throttle", "times": 1}])
        assert state["settings"]["cancel_finished"] == 404
        headers = {"Authorization": "Bearer T"}
        assert httpx.get(f"{fake.url}/v1/account", headers=headers).status_code == 429
        assert httpx.post(f"{fake.url}/v1/predictions/{first}/cancel", headers=headers).status_code == 404
        fake.change(age_seconds=3600)
        assert httpx.get(f"{fake.url}/v1/predictions/{first}", headers=headers).json()["data_removed"]
        assert fake.state()["requests"]["GET /v1/predictions/{id}"] == 1
        with pytest.raises(httpx.HTTPStatusError, match="422"):
            fake.spoil(settings={"cancel_finished": "never"})
    assert fake.process.returncode == 0
