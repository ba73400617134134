"""The fake Replicate signs its webhooks as the real one does, and delivers them as unreliably."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from replicate.webhook import InvalidSignatureError, InvalidTimestampError, Webhooks, WebhookSigningSecret

from examples.fake_replicate import INSTANT, FakeReplicate, Script
from examples.fake_replicate.inbox import Inbox, Received
from examples.fake_replicate.webhooks import PAUSES, sign
from tests.servers import free_port
from tests.web import wait_until

INPUT = {"config_json": "{}"}
TOLERANCE = 300
VECTORS = {
    "ascii": (
        "whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYX",
        "msg_2cloudtrainTestVector0001",
        "1760000000",
        '{"id":"gm3qorzdhgbfurvjtvhg6dckhu","model":"replicate/hello-world",'
        '"version":"5c7d5dc6dd8bf75c1acaa8565735e7986bc5b66206b55cca93cb72c9bf15ccaa","input":{"text":"Alice"},'
        '"logs":"","output":"hello Alice","data_removed":false,"error":null,"status":"succeeded"}',
        "v1,iF2UKM54M91Wpb3IOS98kuoN+INf4Jls6cRVPAkAFCk=",
    ),
    "upstream": (
        "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
        "msg_p5jXN8AQM9LWM0D4loKWxJek",
        "1614265330",
        '{"test": 2432232314}',
        "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=",
    ),
}


@pytest.fixture
def fake() -> Iterator[FakeReplicate]:
    with FakeReplicate.start(script=INSTANT) as running:
        running.faults.webhook_retry_seconds = 0.001
        yield running


@pytest.fixture
def inbox() -> Iterator[Inbox]:
    with Inbox() as running:
        yield running


def create(fake: FakeReplicate, webhook: str, *events: str) -> dict[str, Any]:
    body: dict[str, Any] = {"version": fake.version(), "input": INPUT, "webhook": webhook}
    with fake.client() as http:
        response = http.post("/predictions", json=body | ({"webhook_events_filter": events} if events else {}))
        assert response.status_code == 201
        return dict(response.json())


def deliver(fake: FakeReplicate, inbox: Inbox, *events: str, count: int) -> list[Received]:
    """The webhooks of one prediction, when `count` have come and nothing more is under way."""
    identifier = create(fake, inbox.url, *events)["id"]
    wait_until(lambda: fake.predictions[identifier].ended)
    settle(fake)
    wait_until(lambda: len(inbox.received) >= count)
    assert len(inbox.received) == count
    return inbox.received


def settle(fake: FakeReplicate) -> None:
    """Wait until no webhook is on its way any more."""
    wait_until(lambda: not fake.world.busy)


def validate(received: Received, secret: str) -> None:
    """Raise as the official client does when the signature is wrong."""
    Webhooks.validate(
        headers=received.headers,
        body=received.body.decode(),
        secret=WebhookSigningSecret(key=secret),
        tolerance=TOLERANCE,
    )


@pytest.mark.parametrize("name", VECTORS)
def test_signatures_are_those_of_the_standard(name: str) -> None:
    secret, message, timestamp, body, signature = VECTORS[name]
    assert sign(secret, message, timestamp, body.encode()) == signature
    headers = {"webhook-id": message, "webhook-timestamp": timestamp, "webhook-signature": signature}
    Webhooks.validate(headers=headers, body=body, secret=WebhookSigningSecret(key=secret))


def test_the_official_client_accepts_what_is_delivered(fake: FakeReplicate, inbox: Inbox) -> None:
    started, completed = deliver(fake, inbox, "start", "completed", count=2)
    validate(started, fake.webhook_secret)
    validate(completed, fake.webhook_secret)
    assert inbox.statuses == ["processing", "succeeded"]
    assert completed.path == "/hook?ct=42"
    assert completed.headers["content-type"] == "application/json"
    assert completed.headers["webhook-id"] != started.headers["webhook-id"]


def test_the_body_is_the_prediction(fake: FakeReplicate, inbox: Inbox) -> None:
    (received,) = deliver(fake, inbox, "completed", count=1)
    payload = received.prediction
    with fake.client() as http:
        shown = http.get(payload["urls"]["get"]).json()
    assert list(payload) == sorted(payload)
    assert (payload["logs"], payload["output"], payload["status"]) == (shown["logs"], shown["output"], shown["status"])
    assert (payload["webhook"], payload["webhook_events_filter"]) == (inbox.url, ["completed"])
    assert set(payload["metrics"]) == {"predict_time"}


def test_without_a_filter_it_tells_of_the_output_and_the_end(fake: FakeReplicate, inbox: Inbox) -> None:
    output, _ = deliver(fake, inbox, count=2)
    assert inbox.statuses == ["processing", "succeeded"]
    assert output.prediction["output"].startswith("Training complete.")


def test_the_older_field_asks_for_the_end_alone(fake: FakeReplicate, inbox: Inbox) -> None:
    with fake.client() as http:
        body = {"version": fake.version(), "input": INPUT, "webhook_completed": inbox.url}
        assert http.post("/predictions", json=body).status_code == 201
    wait_until(lambda: inbox.received)
    settle(fake)
    assert inbox.statuses == ["succeeded"]


@pytest.mark.parametrize(("throttle", "count"), [(60, 2), (0, 31)])
def test_logs_are_told_of_now_and_then(fake: FakeReplicate, inbox: Inbox, throttle: float, count: int) -> None:
    fake.script = Script(run=0.1, steps=30)
    fake.faults.webhook_throttle_seconds = throttle
    received = deliver(fake, inbox, "logs", "completed", count=count)
    lengths = [len(one.prediction["logs"]) for one in received]
    assert lengths == sorted(lengths)
    assert inbox.statuses == ["processing"] * (count - 1) + ["succeeded"]


def test_the_start_can_be_told_before_it_is_one(fake: FakeReplicate, inbox: Inbox) -> None:
    fake.faults.start_webhook_at_creation = True
    deliver(fake, inbox, "start", "completed", count=2)
    assert inbox.statuses == ["starting", "succeeded"]


def test_a_canceled_one_tells_of_its_end_once(fake: FakeReplicate, inbox: Inbox) -> None:
    fake.script = Script(run=60)
    identifier = create(fake, inbox.url, "completed")["id"]
    with fake.client() as http:
        for _ in range(2):
            http.post(f"/predictions/{identifier}/cancel")
    wait_until(lambda: inbox.received)
    assert inbox.statuses == ["canceled"]


@pytest.mark.parametrize(("is_sent", "count"), [(True, 1), (False, 0)])
def test_an_aborted_one_may_not_tell_of_its_end(fake: FakeReplicate, inbox: Inbox, is_sent: bool, count: int) -> None:
    fake.faults.aborted_webhook = is_sent
    fake.faults.add("aborted")
    deliver(fake, inbox, "completed", count=count)


def test_only_the_end_is_tried_again(fake: FakeReplicate, inbox: Inbox) -> None:
    inbox.answers.extend([500, 503, 404])
    start, *ends = deliver(fake, inbox, "start", "completed", count=4)
    assert start.prediction["status"] == "processing"
    assert {end.headers["webhook-id"] for end in ends} == {ends[0].headers["webhook-id"]}
    assert {end.body for end in ends} == {ends[0].body}
    assert [delivery.status for delivery in fake.deliveries] == [500, 503, 404, 200]
    validate(ends[-1], fake.webhook_secret)


def test_it_gives_up_in_the_end(fake: FakeReplicate) -> None:
    create(fake, f"http://127.0.0.1:{free_port()}", "completed")
    wait_until(lambda: fake.deliveries)
    settle(fake)
    assert [delivery.status for delivery in fake.deliveries] == [None] * (1 + len(PAUSES))


def test_it_follows_no_redirect_and_does_not_come_back(fake: FakeReplicate, inbox: Inbox) -> None:
    inbox.answers.append(301)
    deliver(fake, inbox, "completed", count=1)


def test_a_redirected_webhook_is_lost(fake: FakeReplicate, inbox: Inbox) -> None:
    fake.faults.add("redirected")
    deliver(fake, inbox, "completed", count=0)
    assert [delivery.status for delivery in fake.deliveries] == [301]


def test_a_lost_webhook_never_comes(fake: FakeReplicate, inbox: Inbox) -> None:
    fake.faults.add("lose", path="completed")
    deliver(fake, inbox, "start", "completed", count=1)
    assert inbox.statuses == ["processing"]


def test_a_doubled_webhook_comes_twice_with_one_id(fake: FakeReplicate, inbox: Inbox) -> None:
    fake.faults.add("duplicate")
    first, second = deliver(fake, inbox, "completed", count=2)
    assert first.headers["webhook-id"] == second.headers["webhook-id"]
    assert first.body == second.body


def test_a_reordered_webhook_comes_after_later_ones(fake: FakeReplicate, inbox: Inbox) -> None:
    fake.faults.add("reorder", path="start")
    fake.faults.webhook_reorder_seconds = 0.1
    deliver(fake, inbox, "start", "completed", count=2)
    assert inbox.statuses == ["succeeded", "processing"]


def test_an_unsigned_webhook_has_none_of_the_headers(fake: FakeReplicate, inbox: Inbox) -> None:
    fake.faults.add("unsigned")
    (received,) = deliver(fake, inbox, "completed", count=1)
    assert not [name for name in received.headers if name.startswith("webhook-")]


@pytest.mark.parametrize(
    ("kind", "error"), [("badly_signed", InvalidSignatureError), ("too_old", InvalidTimestampError)]
)
def test_a_bad_signature_is_refused(fake: FakeReplicate, inbox: Inbox, kind: str, error: type[Exception]) -> None:
    fake.faults.add(kind)
    (received,) = deliver(fake, inbox, "completed", count=1)
    with pytest.raises(error):
        validate(received, fake.webhook_secret)


def test_the_secret_can_change(fake: FakeReplicate, inbox: Inbox) -> None:
    old = fake.webhook_secret
    fake.rotate_secret()
    (received,) = deliver(fake, inbox, "completed", count=1)
    with pytest.raises(InvalidSignatureError):
        validate(received, old)
    with fake.client() as http:
        validate(received, http.get("/webhooks/default/secret").json()["key"])


def test_a_webhook_tells_of_what_a_test_does(fake: FakeReplicate, inbox: Inbox) -> None:
    (prediction,) = fake.fill(1, status="starting", webhook=inbox.url, webhook_events_filter=["start", "completed"])
    fake.update(prediction.id, "processing", logs="on the way")
    fake.update(prediction.id, "failed", error="out of luck")
    settle(fake)
    assert inbox.statuses == ["processing", "failed"]
    assert json.loads(inbox.received[1].body)["error"] == "out of luck"


def test_many_can_end_at_a_steady_pace(fake: FakeReplicate, inbox: Inbox) -> None:
    made = fake.fill(20, webhook=inbox.url)
    fake.update_all([one.id for one in made], per_second=200, status="succeeded")
    wait_until(lambda: len(inbox.received) == 20)
    assert {one.prediction["id"] for one in inbox.received} == {one.id for one in made}


def test_a_receiver_that_hangs_is_given_up(fake: FakeReplicate) -> None:
    fake.faults.webhook_timeout_seconds = 0.05
    fake.faults.add("hang", path="/account")
    create(fake, f"{fake.url}/v1/account", "start")
    wait_until(lambda: fake.deliveries)
    assert fake.deliveries[0].status is None
    assert httpx.get(f"{fake.url}/_fake/state").json()["deliveries"] == {"None": 1}
