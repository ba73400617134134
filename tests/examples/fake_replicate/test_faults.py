"""Each switch of the fake Replicate does what it says."""

from __future__ import annotations

import json
import time
from collections import Counter
from collections.abc import Iterator
from datetime import datetime
from typing import Any

import httpx
import pytest
from replicate.client import Client

from examples.fake_replicate import INSTANT, FakeReplicate, Faults, Script
from examples.fake_replicate.faults import REQUESTS
from tests.web import wait_until

pytestmark = pytest.mark.slow

MARKER = "run-7f3a"
INPUT = {"config_json": json.dumps({"tracker_run_name": MARKER})}
SHORT = httpx.Timeout(5, read=0.3)


@pytest.fixture
def fake() -> Iterator[FakeReplicate]:
    with FakeReplicate.start(script=INSTANT) as running:
        yield running


@pytest.fixture
def http(fake: FakeReplicate) -> Iterator[httpx.Client]:
    with fake.client(timeout=10) as plain:
        yield plain


def create(fake: FakeReplicate, http: httpx.Client, **options: Any) -> httpx.Response:
    return http.post("/predictions", json={"version": fake.version(), "input": INPUT}, **options)


def ended(fake: FakeReplicate, http: httpx.Client) -> dict[str, Any]:
    """A prediction that was created and has come to its end."""
    made = create(fake, http).json()
    wait_until(lambda: fake.predictions[made["id"]].ended)
    return dict(http.get(made["urls"]["get"]).json())


@pytest.mark.parametrize(("kind", "made"), [("drop_reply", 1), ("drop", 0)])
def test_a_dropped_reply_leaves_the_client_in_doubt(
    fake: FakeReplicate, http: httpx.Client, kind: str, made: int
) -> None:
    fake.faults.add(kind, times=1)
    # An end or a reset, whichever of the two the client reads first.
    with pytest.raises((httpx.RemoteProtocolError, httpx.ReadError)):
        create(fake, http)
    assert len(fake.predictions.marked(MARKER)) == made
    assert create(fake, http).status_code == 201


@pytest.mark.parametrize("after", [False, True])
def test_a_server_error_is_a_page_for_people(fake: FakeReplicate, http: httpx.Client, after: bool) -> None:
    fake.faults.add("server_error", status=503, after=after)
    response = create(fake, http)
    assert response.status_code == 503
    assert response.headers["Content-Type"].startswith("text/html")
    assert "503: Bad gateway" in response.text
    assert len(fake.predictions) == after


@pytest.mark.parametrize("after", [False, True])
def test_a_request_that_hangs_delays_no_other(fake: FakeReplicate, http: httpx.Client, after: bool) -> None:
    fake.faults.add("hang", method="POST", after=after)
    with pytest.raises(httpx.ReadTimeout):
        create(fake, http, timeout=SHORT)
    assert http.get("/predictions").status_code == 200
    assert len(fake.predictions) == after


def test_a_request_that_hangs_is_cut_in_the_end(fake: FakeReplicate, http: httpx.Client) -> None:
    fake.faults.add("hang", seconds=0.05)
    with pytest.raises(httpx.RemoteProtocolError):
        http.get("/account")


def test_slow_answers_and_the_latency_of_all_answers(fake: FakeReplicate, http: httpx.Client) -> None:
    fake.latency = 0.1
    fake.faults.add("slow", seconds=0.2)
    started = time.monotonic()
    assert http.get("/account").status_code == 200
    assert time.monotonic() - started >= 0.3


def test_garbage_is_no_json(fake: FakeReplicate, http: httpx.Client) -> None:
    fake.faults.add("garbage", path="/account")
    with pytest.raises(json.JSONDecodeError):
        http.get("/account").json()


@pytest.mark.parametrize(
    ("wait_in", "header", "keys", "text"),
    [
        ("body", None, {"detail", "status", "retry_after"}, "Your rate limit resets in ~7s."),
        ("text", None, {"detail"}, "Your rate limit resets in ~7s."),
        ("header", "7", {"detail", "status"}, "Request was throttled."),
        ("nothing", None, {"detail", "status"}, "Request was throttled."),
    ],
)
def test_a_throttled_request_may_be_told_how_long(
    fake: FakeReplicate, http: httpx.Client, wait_in: str, header: str | None, keys: set[str], text: str
) -> None:
    fake.faults.add("throttle", wait_in=wait_in, seconds=7)
    response = http.get("/predictions")
    assert response.status_code == 429
    assert response.headers.get("Retry-After") == header
    assert set(response.json()) == keys
    assert response.json()["detail"].endswith(text)


def test_limits_can_be_enforced(fake: FakeReplicate, http: httpx.Client) -> None:
    fake.faults.change({"enforce_limits": True, "creates_per_minute": 2})
    assert [create(fake, http).status_code for _ in range(3)] == [201, 201, 429]
    assert len(fake.predictions) == 2
    assert http.get("/predictions").status_code == 200


@pytest.mark.parametrize(
    ("kind", "status", "title"),
    [
        ("no_credit", 402, "Insufficient credit"),
        ("invalid_version", 422, "Invalid version or not permitted"),
        ("invalid_input", 422, "Input validation failed"),
        ("unauthenticated", 401, "Unauthenticated"),
    ],
)
def test_a_refused_creation_makes_nothing(
    fake: FakeReplicate, http: httpx.Client, kind: str, status: int, title: str
) -> None:
    fake.faults.add(kind)
    response = create(fake, http)
    assert (response.status_code, response.json()["title"]) == (status, title)
    assert len(fake.predictions) == 0


def test_invalid_input_names_the_fields(fake: FakeReplicate, http: httpx.Client) -> None:
    fake.faults.add("invalid_input")
    assert create(fake, http).json() == {
        "detail": "- input: prompt is required\n- input.num_inference_steps: Must be less than or equal to 4\n",
        "status": 422,
        "title": "Input validation failed",
        "invalid_fields": [
            {"type": "required", "field": "input", "description": "prompt is required"},
            {
                "type": "number_lte",
                "field": "input.num_inference_steps",
                "description": "Must be less than or equal to 4",
            },
        ],
    }


def test_a_new_prediction_may_not_be_visible_at_once(fake: FakeReplicate, http: httpx.Client) -> None:
    fake.faults.hidden_gets = 2
    for _ in range(2):
        address = create(fake, http).json()["urls"]["get"]
        assert [http.get(address).status_code for _ in range(3)] == [404, 404, 200]


@pytest.mark.parametrize("status", [200, 404, 422])
def test_cancelling_an_ended_one_changes_nothing(fake: FakeReplicate, http: httpx.Client, status: int) -> None:
    fake.faults.cancel_finished = status
    prediction = ended(fake, http)
    response = http.post(f"/predictions/{prediction['id']}/cancel")
    assert response.status_code == status
    assert http.get(prediction["urls"]["get"]).json() == prediction


@pytest.mark.parametrize(
    ("kind", "status", "error"),
    [
        ("aborted", "aborted", None),
        ("interrupted", "failed", "Prediction interrupted; please retry (code: PA)"),
        ("out_of_memory", "failed", "CUDA out of memory. Tried to allocate 2.00 GiB (E1001)"),
        ("timed_out", "failed", "Prediction timed out."),
        ("canceled", "canceled", None),
    ],
)
def test_a_life_can_end_badly(
    fake: FakeReplicate, http: httpx.Client, kind: str, status: str, error: str | None
) -> None:
    fake.faults.add(kind)
    prediction = ended(fake, http)
    assert (prediction["status"], prediction["error"], prediction["output"]) == (status, error, None)
    assert (prediction["started_at"] is None) == (status == "aborted")


def test_an_interruption_stops_the_real_trainer_too(fake: FakeReplicate, http: httpx.Client) -> None:
    fake.script = None
    fake.faults.add("interrupted")
    config = {"max_train_steps": 1_000_000, "learning_rate": 1e-4, "sample_trainer_width": 4}
    made = http.post("/predictions", json={"version": fake.version(), "input": {"config_json": json.dumps(config)}})
    prediction = fake.predictions[made.json()["id"]]
    wait_until(lambda: prediction.ended)
    assert prediction.error == "Prediction interrupted; please retry (code: PA)"
    wait_until(lambda: "Stopped by SIGTERM" in prediction.logs)


def test_an_unknown_status_lasts_until_something_happens(fake: FakeReplicate, http: httpx.Client) -> None:
    fake.faults.add("unknown_status")
    made = create(fake, http).json()
    wait_until(lambda: fake.predictions[made["id"]].status == "hibernating")
    assert http.get(made["urls"]["get"]).json()["status"] == "hibernating"
    fake.update(made["id"], "processing")
    fake.update(made["id"], "succeeded", output="done")
    assert http.get(made["urls"]["get"]).json()["output"] == "done"


def test_the_official_client_cannot_read_aborted(fake: FakeReplicate) -> None:
    (prediction,) = fake.fill(1, status="aborted")
    client = Client(api_token=fake.token, base_url=fake.url)
    with pytest.raises(ValueError, match="status"):
        client.predictions.get(prediction.id)
    client._client.close()


@pytest.mark.parametrize("skew", [0.0338, -2.0])
def test_the_list_has_its_own_idea_of_when_it_was_created(fake: FakeReplicate, http: httpx.Client, skew: float) -> None:
    fake.faults.created_at_skew = skew
    fake.fill(150)
    (newest, *_) = http.get("/predictions").json()["results"]
    seen = http.get(newest["urls"]["get"]).json()
    apart = datetime.fromisoformat(newest["created_at"]) - datetime.fromisoformat(seen["created_at"])
    assert apart.total_seconds() == pytest.approx(skew)
    assert len(http.get("/predictions", params={"created_after": newest["created_at"]}).json()["results"]) == 1


def test_what_is_not_there_yet_can_be_null(fake: FakeReplicate, http: httpx.Client) -> None:
    fake.faults.nulls = True
    fake.script = Script(start=60)
    made = create(fake, http).json()
    assert (made["output"], made["started_at"], made["metrics"]) == (None, None, {})


def test_keys_can_be_left_out(fake: FakeReplicate, http: httpx.Client) -> None:
    fake.faults.change({"get_omits": ["version"], "list_omits": ["logs", "version", "model", "input"]})
    address = create(fake, http).json()["urls"]["get"]
    assert "version" not in http.get(address).json()
    assert not {"version", "model", "input", "logs"} & set(http.get("/predictions").json()["results"][0])


def test_pages_can_lead_elsewhere(fake: FakeReplicate, http: httpx.Client) -> None:
    fake.faults.foreign_links = True
    fake.fill(101)
    assert http.get("/predictions").json()["next"].startswith("https://replicate.example/v1/predictions?cursor=")


@pytest.mark.parametrize("returns", [False, True])
def test_bars_end_their_lines_one_way_or_the_other(fake: FakeReplicate, http: httpx.Client, returns: bool) -> None:
    fake.faults.carriage_returns = returns
    logs = ended(fake, http)["logs"]
    assert ("\r" in logs, "\n" in logs) == (returns, not returns)
    assert logs.endswith("step_loss=0.0909]")


def test_logs_can_be_huge(fake: FakeReplicate, http: httpx.Client) -> None:
    fake.faults.log_padding_bytes = 5_000_000
    assert len(ended(fake, http)["logs"]) > 5_000_000


def test_uploads_can_be_slow(fake: FakeReplicate, http: httpx.Client) -> None:
    fake.faults.upload_bytes_per_second = 1_000_000
    started = time.monotonic()
    assert http.post("/files", files={"content": ("data.zip", b"x" * 200_000)}).status_code == 201
    assert time.monotonic() - started >= 0.2


def test_a_rule_strikes_what_it_aims_at_and_as_often_as_it_says(fake: FakeReplicate, http: httpx.Client) -> None:
    rule = fake.faults.add("server_error", method="GET", path="/predictions$", times=2)
    assert http.get("/account").status_code == 200
    assert [http.get("/predictions").status_code for _ in range(3)] == [502, 502, 200]
    assert rule.used == 2


def statuses_in_a_storm(seed: int) -> list[int]:
    with FakeReplicate.start() as fake, fake.client() as http:
        fake.faults.storm({"server_error": 0.25, "throttle": 0.25}, seed=seed)
        statuses = [http.get("/account").status_code for _ in range(60)]
        fake.faults.calm()
        assert http.get("/account").status_code == 200
        return statuses


def test_a_storm_comes_back_with_its_seed() -> None:
    first = statuses_in_a_storm(1)
    assert first == statuses_in_a_storm(1) != statuses_in_a_storm(2)
    assert 5 < Counter(first)[502] < 25
    assert 5 < Counter(first)[429] < 25


@pytest.mark.parametrize("settings", [{"cancel_finsihed": 404}, {"cancel_finished": "404"}, {"rules": []}])
def test_a_setting_that_is_not_there_or_does_not_fit_changes_nothing(settings: dict[str, Any]) -> None:
    faults = Faults()
    with pytest.raises(ValueError, match=next(iter(settings))):
        faults.change({"hidden_gets": 3} | settings)
    assert faults.hidden_gets == 0


def test_there_are_no_other_faults() -> None:
    with pytest.raises(ValueError, match="earthquake"):
        Faults().add("earthquake")
    for kind in REQUESTS:
        Faults().add(kind)
