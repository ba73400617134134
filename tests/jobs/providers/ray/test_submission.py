"""Submitting to a pretended Ray, and each way in which an address, a token or a network is wrong."""

from __future__ import annotations

import asyncio
import json
import re
from typing import Any

import pytest

from cloudtrain_site.redaction import mask_text
from jobs.providers.base import ProviderError
from jobs.providers.ray import client
from tests.jobs.providers.ray.clusters import Cluster
from tests.jobs.providers.ray.fake_ray import CUT, TRACEBACK, Answer, FakeRay, as_page, as_text
from tests.jobs.providers.ray.records import (
    files_of,
    on_submission,
)
from tests.servers import free_port


def test_a_training_is_sent_as_files_and_a_job_of_its_marker(cluster: Cluster, ray: FakeRay) -> None:
    handle = cluster.submit("gpu-x2")
    (body,) = ray.bodies
    assert body["submission_id"] == handle.external_id
    assert body["entrypoint"] == "exec python3 -I -S runner.pyz run.json"
    assert (body["entrypoint_num_gpus"], body["entrypoint_num_cpus"]) == (2, 1)
    assert body["metadata"] == {"marker": handle.external_id, "job": handle.job_id, "profile": "gpu-x2"}
    assert body["runtime_env"]["env_vars"] == {"RAY_JOB_STOP_WAIT_TIME_S": "15"}
    assert body["runtime_env"]["working_dir"].removeprefix("gcs://") in ray.packages


def test_secrets_are_in_the_files_alone(cluster: Cluster, ray: FakeRay) -> None:
    handle = cluster.submit(config={"hf_token": "hf_secretsecret"})
    files = files_of(ray)
    assert [name for name, data in files.items() if b"hf_secretsecret" in data] == ["config.json"]
    assert b"***" in files["config.json.masked"]
    assert files["job_id"].decode() == handle.job_id
    assert "hf_secretsecret" not in json.dumps(ray.bodies)


def test_a_profile_that_is_none_is_refused(cluster: Cluster, ray: FakeRay) -> None:
    refusal = cluster.refusal(profile="gpux2")
    assert (str(refusal), refusal.permanent) == ("Ray lab has no hardware profile “gpux2”.", True)
    assert ray.requests == []


@pytest.mark.parametrize("lost", [CUT, as_text(TRACEBACK.format(reason="TimeoutError"), 500), as_page(502)], ids=str)
def test_a_lost_answer_is_settled_by_asking_for_the_job(cluster: Cluster, ray: FakeRay, lost: Answer) -> None:
    ray.after = on_submission(lost)
    handle = cluster.submit()
    assert list(ray.jobs) == [handle.external_id]


def test_a_job_that_is_there_already_is_ours(cluster: Cluster, ray: FakeRay) -> None:
    handle = cluster.submit()
    again = cluster.submit(marker=handle.external_id)
    assert (again.external_id, len(ray.bodies)) == (handle.external_id, 1)


def test_an_error_after_which_there_is_no_job_created_nothing(cluster: Cluster, ray: FakeRay) -> None:
    ray.instead = on_submission(as_text(TRACEBACK.format(reason="RuntimeError: the store is full"), 500))
    refusal = cluster.refusal()
    assert str(refusal) == "Ray lab answered 500: RuntimeError: the store is full"
    assert refusal.nothing_created


def test_a_broken_connection_leaves_open_whether_there_will_be_a_job(cluster: Cluster, ray: FakeRay) -> None:
    ray.instead = on_submission(CUT)
    assert not cluster.refusal().nothing_created  # the marker may be sent again, and never another one


def test_files_that_could_not_be_sent_created_nothing(cluster: Cluster, ray: FakeRay) -> None:
    ray.instead = lambda method, path: CUT if method == "PUT" else None
    assert cluster.refusal().nothing_created
    assert ray.jobs == {}


def test_a_wrong_token_says_what_to_do(ray: FakeRay) -> None:
    refusal = Cluster(ray.address, token="6" * 64).refusal()
    assert str(refusal) == "Ray lab refused the token. It is wrong or has expired. Set the cluster's current token."
    assert mask_text(str(refusal)) == str(refusal)
    assert refusal.nothing_created
    assert not refusal.permanent  # the next attempt has the file's new one


def test_a_missing_token_says_what_to_do(ray: FakeRay) -> None:
    refusal = Cluster(ray.address, token="").refusal()
    assert str(refusal) == "Ray lab needs a token. Set this provider's `token` or `token_file`."
    assert mask_text(str(refusal)) == str(refusal)


def test_a_proxys_page_is_no_answer_of_ray(cluster: Cluster, ray: FakeRay) -> None:
    ray.instead = lambda method, path: as_page(200)
    refusal = cluster.refusal()
    assert str(refusal) == (
        "Ray lab answered 200 with a web page: its address belongs to a proxy or another service, "
        "not to a Ray dashboard."
    )


def test_a_proxy_that_refuses_us_is_told_from_a_token(cluster: Cluster, ray: FakeRay) -> None:
    ray.instead = lambda method, path: as_page(403)
    assert "behind a proxy that refuses this site (403)" in str(cluster.refusal())


def test_a_redirection_is_not_followed(cluster: Cluster, ray: FakeRay) -> None:
    ray.instead = lambda method, path: Answer(302, headers={"location": "https://login.example/"})
    assert "answered 302 with a redirection" in str(cluster.refusal())


def test_an_address_where_nobody_listens_says_so() -> None:
    refusal = Cluster(f"http://127.0.0.1:{free_port()}").refusal()
    assert re.fullmatch(r"Ray lab could not be reached at http://127\.0\.0\.1:\d+: Connection refused\.", str(refusal))
    assert refusal.nothing_created


def test_a_head_that_hangs_is_not_waited_for(cluster: Cluster, ray: FakeRay, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(client, "TIMEOUT", replace_read(0.2))
    ray.instead = lambda method, path: pause(1.0)
    refusal = cluster.refusal()
    assert str(refusal) == "Ray lab did not answer in time. Its head node may be hanging."


def replace_read(seconds: float) -> Any:
    import httpx

    return httpx.Timeout(connect=5.0, read=seconds, write=5.0, pool=None)


def pause(seconds: float) -> None:
    import threading

    threading.Event().wait(seconds)


def test_an_error_shows_its_last_line_and_no_token(cluster: Cluster, ray: FakeRay) -> None:
    reason = f"ValueError: {ray.token} {'x' * 1000}"
    ray.instead = on_submission(as_text(TRACEBACK.format(reason=reason), 400))
    refusal = cluster.refusal()
    assert str(refusal).startswith("Ray lab answered 400: ValueError: *** xxx")
    assert len(str(refusal)) < 400
    assert refusal.permanent


def test_a_dead_cluster_fails_all_its_jobs_at_once(cluster: Cluster, ray: FakeRay) -> None:
    handle = cluster.submit()
    ray.instead = lambda method, path: CUT
    with pytest.raises(ProviderError, match="broke the connection"):
        asyncio.run(cluster.provider.fetch([handle]))
