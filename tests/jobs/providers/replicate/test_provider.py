"""Replicate's client against a server that answers as Replicate does: never two trainings for one submission."""

from __future__ import annotations

import json
from typing import Any

import pytest

from cloudtrain_site.correlation_ids import correlation
from examples.fake_replicate import FakeReplicate, Prediction
from jobs.providers.base import Handle
from jobs.providers.replicate.access import Access
from jobs.providers.replicate.provider import ReplicateProvider, SubmissionSettings
from jobs.statuses import JobStatus
from tests.jobs.providers.replicate.calls import MARKER, handles_of, refusal, run, spec

REDACTED = "[REDACTED]"


def test_a_submission_is_one_prediction_of_the_profiles_model(fake: FakeReplicate, provider: ReplicateProvider) -> None:
    snapshot = run(provider.submit(spec(hardware_profile="l40s-x2")))
    (made,) = fake.predictions.marked(MARKER)
    assert (snapshot.external_id, snapshot.status) == (made.id, JobStatus.QUEUED)
    assert made.model == "simpletuner/advanced-trainer-l40s-x2"


def test_the_version_is_looked_up_once(fake: FakeReplicate, provider: ReplicateProvider) -> None:
    run(provider.submit(spec()))
    run(provider.submit(spec()))
    assert fake.requests.count("GET") == 1


@pytest.mark.parametrize("pinned", ["{model}:{version}", "{version}"])
def test_a_pinned_version_is_run_unasked(fake: FakeReplicate, pinned: str) -> None:
    model = fake.world.models["simpletuner/advanced-trainer-h100"]
    setting = pinned.format(model=model.full_name, version=model.versions[-1])
    run(ReplicateProvider(Access(fake.url, fake.token), SubmissionSettings(model=setting)).submit(spec()))
    assert [made.version for made in fake.predictions] == [model.versions[-1]]
    assert not fake.requests.count("GET")


def test_a_withdrawn_version_is_looked_up_again(fake: FakeReplicate, provider: ReplicateProvider) -> None:
    run(provider.submit(spec()))
    fake.faults.add("invalid_version", times=1)
    assert refusal(provider.submit(spec())).permanent
    run(provider.submit(spec()))
    assert fake.requests.count("GET") == 2


def test_the_correlation_id_travels_along(fake: FakeReplicate, provider: ReplicateProvider) -> None:
    with correlation("corr-1"):
        run(provider.submit(spec()))
    assert {seen.headers.get("x-correlation-id") for seen in fake.requests} == {"corr-1"}


def test_the_marker_goes_into_the_run_name_and_the_webhook(fake: FakeReplicate) -> None:
    provider = ReplicateProvider(
        Access(fake.url, fake.token), SubmissionSettings(webhook_url="http://127.0.0.1:9/hook?a=1")
    )
    run(provider.submit(spec(tracker_run_name="night run")))
    (made,) = fake.predictions
    assert json.loads(made.inputs["config_json"])["tracker_run_name"] == f"night run {MARKER}"
    assert made.webhook == f"http://127.0.0.1:9/hook?a=1&ct={MARKER}"
    assert made.webhook_events_filter == ["start", "completed"]


def test_secrets_go_into_secret_inputs(fake: FakeReplicate, provider: ReplicateProvider) -> None:
    config = {"hf_token": "hf_abcdefghijklmnopqrst1", "hub_model_id": "acme/x", "lycoris_config": {"algo": "lokr"}}
    run(provider.submit(spec(config=config)))
    (made,) = fake.predictions
    assert made.inputs["hf_token"] == config["hf_token"]
    assert made.input["hf_token"] == REDACTED
    assert "hf_abc" not in json.dumps(made.input)
    assert json.loads(made.inputs["lycoris_config"]) == {"algo": "lokr"}


@pytest.mark.parametrize(
    ("config", "where"),
    [
        ({"wandb": {"api_key": "abcdef0123456789"}}, "config.wandb.api_key"),
        ({"publish": [{"password": "open sesame"}]}, "config.publish[0].password"),
        ({"note": "use r8_abcdefghijklmnop for it"}, "config.note"),
    ],
)
def test_any_other_secret_is_refused_before_anything_is_sent(
    fake: FakeReplicate, provider: ReplicateProvider, config: dict[str, Any], where: str
) -> None:
    error = refusal(provider.submit(spec(config=config)))
    assert (error.permanent, error.nothing_created) == (True, True)
    assert str(error).startswith(where)
    assert not fake.requests


@pytest.mark.parametrize(
    ("fault", "permanent", "text"),
    [
        ("unauthenticated", True, "did not pass a valid authentication token"),
        ("no_credit", True, "insufficient credit"),
        ("invalid_input", True, "Input validation failed"),
        ("throttle", False, "throttled"),
    ],
)
def test_a_refusal_made_nothing_and_says_why(
    fake: FakeReplicate, provider: ReplicateProvider, fault: str, permanent: bool, text: str
) -> None:
    run(provider.submit(spec()))
    fake.faults.add(fault, method="POST", path="predictions", times=1, seconds=7)
    error = refusal(provider.submit(spec()))
    assert (error.permanent, error.nothing_created) == (permanent, True)
    assert text in str(error)
    assert error.retry_after == (7 if fault == "throttle" else None)


@pytest.mark.parametrize("fault", ["drop_reply", "server_error", "garbage", "drop"])
def test_an_unclear_answer_is_not_repeated(fake: FakeReplicate, provider: ReplicateProvider, fault: str) -> None:
    run(provider.submit(spec()))
    fake.requests.clear()
    fake.faults.add(fault, method="POST", path="predictions")
    error = refusal(provider.submit(spec()))
    assert (error.permanent, error.nothing_created) == (False, False)
    assert fake.requests.count("POST") == 1


def test_a_server_that_is_not_there_made_nothing(fake: FakeReplicate, provider: ReplicateProvider) -> None:
    run(provider.submit(spec()))
    fake.stop()
    error = refusal(provider.submit(spec()))
    assert (error.permanent, error.nothing_created) == (False, True)


def test_without_a_token_nothing_is_asked(fake: FakeReplicate) -> None:
    error = refusal(ReplicateProvider(Access(fake.url, ""), SubmissionSettings()).submit(spec()))
    assert (error.permanent, error.nothing_created) == (True, True)
    assert "REPLICATE_API_TOKEN" in str(error)


def test_what_a_lost_answer_made_is_found_by_its_marker(fake: FakeReplicate, provider: ReplicateProvider) -> None:
    fake.faults.add("drop_reply", times=1)
    refusal(provider.submit(spec()))
    found = run(provider.find_by_marker([MARKER, "ct-" + "f" * 24]))
    assert {marker: snapshot.external_id for marker, snapshot in found.items()} == {
        MARKER: fake.predictions.marked(MARKER)[0].id
    }


def test_it_is_found_behind_many_others(fake: FakeReplicate, provider: ReplicateProvider) -> None:
    run(provider.submit(spec()))
    fake.call(fake.predictions.add, *(Prediction(model="a/b", version="v", input={"prompt": "x"}) for _ in range(250)))
    assert MARKER in run(provider.find_by_marker([MARKER]))


def test_links_to_another_host_are_not_followed(fake: FakeReplicate, provider: ReplicateProvider) -> None:
    fake.call(fake.predictions.add, *(Prediction(model="a/b", version="v", input={}) for _ in range(150)))
    fake.faults.foreign_links = True
    assert "another host" in str(refusal(provider.find_by_marker([MARKER])))


@pytest.mark.parametrize("link", ["http://[::1", "http://127.0.0.1:port/x", "//", "/v1/predictions"])
def test_what_is_no_address_is_not_followed(fake: FakeReplicate, provider: ReplicateProvider, link: str) -> None:
    async def follow() -> Any:
        async with provider._connect() as connection:
            return await connection.follow(link)

    refusal(follow())
    assert not fake.requests


def test_a_cancelled_prediction_is_cancelled(fake: FakeReplicate, provider: ReplicateProvider) -> None:
    handle = Handle("job-1", run(provider.submit(spec())).external_id)
    run(provider.cancel(handle))
    assert fake.predictions[handle.external_id].status == "canceled"


@pytest.mark.parametrize("code", [200, 404, 422])
def test_cancelling_what_has_ended_is_no_error(fake: FakeReplicate, provider: ReplicateProvider, code: int) -> None:
    handle = Handle("job-1", run(provider.submit(spec())).external_id)
    fake.update(handle.external_id, "succeeded")
    fake.faults.cancel_finished = code
    run(provider.cancel(handle))


def test_a_cancel_that_was_refused_while_it_runs_is_an_error(fake: FakeReplicate, provider: ReplicateProvider) -> None:
    handle = Handle("job-1", run(provider.submit(spec())).external_id)
    fake.faults.add("server_error", method="POST", path="cancel")
    assert not refusal(provider.cancel(handle)).permanent


def test_it_says_whose_token_it_has(provider: ReplicateProvider) -> None:
    assert run(provider.validate()) == "Replicate knows this token as acme."


def test_a_log_is_read_from_any_byte(fake: FakeReplicate, provider: ReplicateProvider) -> None:
    (handle,) = handles_of(fake, 1)
    fake.update(handle.external_id, "processing", logs="one\ntwo\n")
    fake.update(handle.external_id, "succeeded")
    piece = run(provider.read_log(handle, start=4))
    assert (piece.text, piece.end, piece.complete) == ("two\n", 8, True)
