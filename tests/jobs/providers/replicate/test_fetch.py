"""Snapshots of Replicate's predictions: few requests for many jobs, and one error for one job alone."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from examples.fake_replicate import FakeReplicate
from jobs.providers.base import Handle, ProviderError, Snapshot
from jobs.providers.replicate import client
from jobs.providers.replicate.provider import ReplicateProvider
from tests.jobs.providers.replicate.calls import handles_of, refusal, run


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


@pytest.mark.slow
def test_a_server_that_never_answers_is_an_outage_too(
    fake: FakeReplicate, provider: ReplicateProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client, "TIMEOUT", 0.05)
    handles = handles_of(fake, 50)
    fake.faults.add("hang")
    refusal(provider.fetch(handles))
    assert len(fake.requests) <= 2 * client.MAX_UNANSWERED


@pytest.mark.slow
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


@pytest.mark.slow
@pytest.mark.parametrize("wait_in", ["header", "body", "text"])
def test_a_throttled_question_waits_for_as_long_as_it_is_told(
    fake: FakeReplicate, provider: ReplicateProvider, wait_in: str
) -> None:
    (handle,) = handles_of(fake, 1)
    fake.faults.add("throttle", times=1, seconds=1, wait_in=wait_in)
    assert isinstance(run(provider.fetch([handle]))["job-0"], Snapshot)
