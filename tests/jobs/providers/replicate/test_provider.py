"""Replicate's client against a server that answers as Replicate does: never two trainings for one submission."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Coroutine
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

import pytest
from django.utils import timezone

from cloudtrain_site.correlation_ids import correlation
from examples.fake_replicate import FakeReplicate, Prediction
from jobs.providers.base import Handle, ProviderError, Snapshot, TrainingSpec
from jobs.providers.replicate import client
from jobs.providers.replicate.access import Access
from jobs.providers.replicate.client import retry_after
from jobs.providers.replicate.predictions import (
    read_discovered,
    read_snapshot,
    webhook_address,
    write_input,
)
from jobs.providers.replicate.provider import ReplicateProvider, SubmissionSettings
from jobs.statuses import JobStatus

T = TypeVar("T")
MARKER = "ct-" + "0123456789ab" * 2
REDACTED = "[REDACTED]"


@pytest.fixture
def provider(fake: FakeReplicate) -> ReplicateProvider:
    return ReplicateProvider(Access(fake.url, fake.token), SubmissionSettings())


def run(work: Coroutine[Any, Any, T]) -> T:
    return asyncio.run(work)


def spec(**fields: Any) -> TrainingSpec:
    defaults: dict[str, Any] = {
        "job_id": "job-1",
        "config": {"max_train_steps": 10},
        "dataloader_config": [],
        "hardware_profile": "h100",
        "marker": MARKER,
        "correlation_id": "corr-1",
    }
    return TrainingSpec(**{**defaults, **fields})


def refusal(work: Coroutine[Any, Any, Any]) -> ProviderError:
    with pytest.raises(ProviderError) as caught:
        run(work)
    return caught.value


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


def handles_of(fake: FakeReplicate, count: int, **ages: timedelta) -> list[Handle]:
    age = ages.get("age", timedelta(0))
    made = [Prediction(model="simpletuner/advanced-trainer-h100", version="v", input={}) for _ in range(count)]
    begin = datetime.now(UTC) - age
    for index, prediction in enumerate(made):
        prediction.created_ns = int((begin.timestamp() - count + index) * 1e9)
    fake.call(fake.predictions.add, *made)
    since = [begin - timedelta(seconds=count - index) for index in range(count)]
    return [Handle(f"job-{index}", one.id, since[index]) for index, one in enumerate(made)]


def test_a_list_page_answers_for_a_hundred(fake: FakeReplicate, provider: ReplicateProvider) -> None:
    handles = handles_of(fake, 100)
    answers = run(provider.fetch(handles))
    assert set(answers) == {handle.job_id for handle in handles}
    assert len(fake.requests) == 1


def test_a_thousand_jobs_take_at_most_fifteen_requests(fake: FakeReplicate, provider: ReplicateProvider) -> None:
    handles = handles_of(fake, 1000)
    assert len(run(provider.fetch(handles))) == 1000
    assert len(fake.requests) <= 15


def test_old_jobs_behind_many_finished_ones_are_asked_about(fake: FakeReplicate, provider: ReplicateProvider) -> None:
    handles = handles_of(fake, 50, age=timedelta(hours=5))
    handles_of(fake, 300)
    assert len(run(provider.fetch(handles))) == 50
    assert len(fake.requests) <= 5


def test_what_no_page_shows_is_asked_for_alone(fake: FakeReplicate, provider: ReplicateProvider) -> None:
    handles = handles_of(fake, 10)
    lost = [Handle("far", handles_of(fake, 1, age=timedelta(days=3))[0].external_id, handles[0].since)]
    assert set(run(provider.fetch([*handles, *lost]))) == {*(handle.job_id for handle in handles), "far"}


def test_a_few_jobs_come_with_their_logs(fake: FakeReplicate, provider: ReplicateProvider) -> None:
    (handle,) = handles_of(fake, 1)
    fake.update(handle.external_id, "processing", logs="Epoch 1/1, Steps:  42%|##| 42/100 [00:10<00:14,  4.0it/s]\n")
    (answer,) = run(provider.fetch([handle])).values()
    assert isinstance(answer, Snapshot)
    assert answer.log is not None
    assert answer.progress is not None
    assert answer.progress.percent == 42


def test_one_unknown_prediction_is_its_jobs_error_alone(fake: FakeReplicate, provider: ReplicateProvider) -> None:
    handles = [*handles_of(fake, 2), Handle("gone", "x" * 26, datetime.now(UTC) - timedelta(hours=1))]
    answers = run(provider.fetch(handles))
    assert isinstance(answers["gone"], ProviderError)
    assert isinstance(answers["job-0"], Snapshot)


def test_a_new_prediction_may_not_be_visible_yet(fake: FakeReplicate, provider: ReplicateProvider) -> None:
    assert run(provider.fetch([Handle("new", "x" * 26, datetime.now(UTC))])) == {}


@pytest.mark.parametrize("fault", ["server_error", "drop", "garbage"])
def test_a_question_is_asked_again(fake: FakeReplicate, provider: ReplicateProvider, fault: str) -> None:
    (handle,) = handles_of(fake, 1)
    fake.faults.add(fault, times=2)
    assert isinstance(run(provider.fetch([handle]))["job-0"], Snapshot)


@pytest.mark.parametrize("fault", ["server_error", "unauthenticated"])
def test_an_outage_is_one_error(fake: FakeReplicate, provider: ReplicateProvider, fault: str) -> None:
    handles = handles_of(fake, 50)
    fake.faults.add(fault)
    refusal(provider.fetch(handles))
    assert len(fake.requests) <= 3


def test_a_server_that_never_answers_is_an_outage_too(
    fake: FakeReplicate, provider: ReplicateProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client, "TIMEOUT", 0.05)
    handles = handles_of(fake, 50)
    fake.faults.add("hang")
    refusal(provider.fetch(handles))
    assert len(fake.requests) <= 2 * client.MAX_UNANSWERED


def test_one_that_never_answers_is_its_jobs_error_alone(
    fake: FakeReplicate, provider: ReplicateProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client, "TIMEOUT", 0.5)
    handles = handles_of(fake, 3)
    fake.faults.add("hang", path=handles[0].external_id)
    answers = run(provider.fetch(handles))
    assert [isinstance(answers[handle.job_id], Snapshot) for handle in handles] == [False, True, True]


def test_who_is_told_to_wait_for_long_asks_nothing_meanwhile(fake: FakeReplicate, provider: ReplicateProvider) -> None:
    handles = handles_of(fake, 40)
    fake.faults.add("garbage", path="predictions$")
    fake.faults.add("throttle", path=r"predictions/\w+", seconds=30)
    assert refusal(provider.fetch(handles)).retry_after == 30
    assert fake.requests.count("GET", "/v1/predictions/{id}") <= client.MAX_CONCURRENT_REQUESTS


@pytest.mark.parametrize("wait_in", ["header", "body", "text"])
def test_a_throttled_question_waits_for_as_long_as_it_is_told(
    fake: FakeReplicate, provider: ReplicateProvider, wait_in: str
) -> None:
    (handle,) = handles_of(fake, 1)
    fake.faults.add("throttle", times=1, seconds=1, wait_in=wait_in)
    assert isinstance(run(provider.fetch([handle]))["job-0"], Snapshot)


@pytest.mark.parametrize(
    ("headers", "body", "seconds"),
    [
        ({"retry-after": "3"}, {"retry_after": 5}, 3),
        ({}, {"retry_after": 5, "detail": "resets in ~7s."}, 5),
        ({}, {"detail": "Request was throttled. Your rate limit resets in ~30s."}, 30),
        ({}, {"detail": "Expected available in 1 second."}, 1),
        ({"retry-after": "Wed, 21 Oct 2026 07:28:00 GMT"}, None, None),
        ({}, "text", None),
    ],
)
def test_the_wait_is_read_wherever_it_stands(headers: dict[str, str], body: Any, seconds: float | None) -> None:
    assert retry_after(headers, body) == seconds


@pytest.mark.parametrize(
    "body",
    [
        {"id": "a"},
        {"id": "a", "status": None, "metrics": None, "urls": None, "logs": None, "error": "", "output": {}},
        {"id": "a", "status": 3, "metrics": [], "urls": "x", "logs": 4, "started_at": "soon", "input": None},
    ],
)
def test_a_prediction_needs_nothing_but_its_id(body: dict[str, Any]) -> None:
    assert read_snapshot(body) == Snapshot("a", None)


ONE, TWO, THREE = (f"https://a.example/{number}.tar" for number in (1, 2, 3))


@pytest.mark.parametrize(
    ("output", "outputs"),
    [
        (ONE, [ONE]),
        ("Pushed to the hub", ["Pushed to the hub"]),
        ([ONE, TWO], [ONE, TWO]),
        ([[ONE], {"log": "done", "b": TWO}, THREE, ONE], [ONE, TWO, THREE]),
        ({"samples": [ONE, TWO], "weights": THREE}, [THREE, ONE, TWO]),
        ({"version": "acme/x:1", "samples": ONE}, ["acme/x:1", ONE]),
        ({"file": ONE, "seed": 3}, [ONE]),
        ([f"http://a/{number}" for number in range(500)], [f"http://a/{number}" for number in range(100)]),
        (["some", "words"], []),
        ([], []),
        ({"weights": 3}, []),
        (7, []),
    ],
)
def test_results_are_read_from_texts_lists_and_objects(output: Any, outputs: list[str]) -> None:
    read = read_snapshot({"id": "a", "output": output})
    assert read.output_url == (outputs[0] if outputs else None)
    assert read.metadata.get("more_outputs", []) == outputs[1:]


@pytest.mark.parametrize("body", [None, [], "x", {}, {"id": 3}, {"id": ""}, {"id": "x" * 200}])
def test_what_is_no_prediction_is_refused(body: Any) -> None:
    with pytest.raises(ProviderError):
        read_snapshot(body)


@pytest.mark.parametrize(
    ("reported", "read"),
    [
        (-63_000_000_000.0, None),
        (3e-06, 3e-06),
        (True, None),
        ("9", None),
        (10**400, None),
        (600, 600),
        (float("nan"), None),
        (float("inf"), None),
    ],
)
def test_an_impossible_running_time_is_not_believed(reported: Any, read: float | None) -> None:
    assert read_snapshot({"id": "a", "metrics": {"predict_time": reported}}).billed_seconds == read


@pytest.mark.parametrize("made", ["9999-12-31T23:59:59Z", "0001-01-01T00:00:00+23:59", "soon", None])
def test_a_training_made_at_an_impossible_time_was_made_just_now(made: str | None) -> None:
    found = read_discovered({"id": "a", "created_at": made})
    assert abs(found.created_at - timezone.now()) < timedelta(minutes=1)


def test_a_log_that_no_database_takes_is_cleaned() -> None:
    assert read_snapshot({"id": "a", "logs": "a\x00b\ud800"}).log == "a b?"


def test_a_bare_webhook_address_gets_our_path() -> None:
    address = webhook_address("https://ct.example", "ct-1", "replicate")
    assert address == "https://ct.example/api/webhooks/replicate?ct=ct-1"


@pytest.mark.parametrize("key", ["--tracker_run_name", "tracker-run-name", " --tracker-run-name "])
def test_a_config_that_names_its_run_keeps_the_name(key: str) -> None:
    config = json.loads(write_input(spec(config={key: "mine"}))["config_json"])
    assert config == {"tracker_run_name": f"mine {MARKER}"}


def test_inputs_of_the_model_are_found_in_each_spelling() -> None:
    token = "hf_" + "a1" * 12
    config = {"--hf-token": token, "hub-model-id": "acme/x", "--lycoris-config": {"algo": "lokr"}}
    made = write_input(spec(config=config))
    assert (made["hf_token"], made["hub_model_id"]) == (token, "acme/x")
    assert json.loads(made["lycoris_config"]) == {"algo": "lokr"}
    assert json.loads(made["config_json"]) == {"hub-model-id": "acme/x", "tracker_run_name": MARKER}


def test_a_config_that_was_read_from_a_prediction_carries_no_other_marker() -> None:
    config = {"tracker_run_name": "mine ct-" + "f" * 24}
    assert json.loads(write_input(spec(config=config))["config_json"]) == {"tracker_run_name": f"mine {MARKER}"}


def test_it_says_whose_token_it_has(provider: ReplicateProvider) -> None:
    assert run(provider.validate()) == "Replicate knows this token as acme."


def test_a_log_is_read_from_any_byte(fake: FakeReplicate, provider: ReplicateProvider) -> None:
    (handle,) = handles_of(fake, 1)
    fake.update(handle.external_id, "processing", logs="one\ntwo\n")
    fake.update(handle.external_id, "succeeded")
    piece = run(provider.read_log(handle, start=4))
    assert (piece.text, piece.end, piece.complete) == ("two\n", 8, True)
