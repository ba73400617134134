"""The fake Replicate trains for real: a process for each prediction, fed from the account's files."""

from __future__ import annotations

import io
import json
import subprocess
import zipfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import pytest
from replicate.client import Client

from examples.fake_replicate import FakeReplicate
from tests.web import wait_until

pytestmark = pytest.mark.slow

QUICK = {"max_train_steps": 2, "learning_rate": 1e-4, "seed": 3, "sample_trainer_width": 4}
ENDLESS = QUICK | {"max_train_steps": 1_000_000}


@pytest.fixture
def fake() -> Iterator[FakeReplicate]:
    with FakeReplicate.start() as running:
        yield running


@pytest.fixture
def client(fake: FakeReplicate) -> Iterator[Client]:
    """The official client."""
    made = Client(api_token=fake.token, base_url=fake.url)
    made.poll_interval = 0.02
    yield made
    made._client.close()


def config(**changes: object) -> dict[str, Any]:
    return {"config_json": json.dumps(QUICK | changes)}


def create(fake: FakeReplicate, http: httpx.Client, **body: Any) -> httpx.Response:
    return http.post("/predictions", json={"version": fake.version(), "input": config()} | body)


def archive() -> io.BytesIO:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as zipped:
        for name in ("a.png", "b.png", "b.txt"):
            zipped.writestr(name, name)
    content.name = "data.zip"
    return content


def test_a_prediction_trains_for_real(fake: FakeReplicate, client: Client) -> None:
    prediction = client.predictions.create(version=fake.version(), input=config())
    assert prediction.status == "starting"
    prediction.wait()
    assert (prediction.status, prediction.error) == ("succeeded", None)
    assert prediction.output == f"Training complete. Output: /src/output/{prediction.id}"
    assert prediction.logs is not None
    assert "Epoch 1/1, Steps: 100%" in prediction.logs
    assert "Training complete: loss" in prediction.logs
    assert prediction.metrics is not None
    assert 0 < prediction.metrics["predict_time"] <= prediction.metrics["total_time"]


def test_what_cannot_be_trained_fails_with_what_the_trainer_said(fake: FakeReplicate, client: Client) -> None:
    prediction = client.predictions.create(version=fake.version(), input=config(learning_rate=-1))
    prediction.wait()
    assert prediction.status == "failed"
    assert prediction.error == "sample_trainer: learning_rate must be a number above 0, not -1."


def test_images_are_fetched_from_the_accounts_files(fake: FakeReplicate, client: Client) -> None:
    inputs = config() | {"images": archive(), "dataloader_json": '[{"id": "cats", "type": "local"}]'}
    prediction = client.predictions.create(version=fake.version(), input=inputs)
    prediction.wait()
    assert prediction.status == "succeeded"
    assert prediction.logs is not None
    assert prediction.logs.startswith("[COG] Extracted 3 files from images\n")
    assert "Loading data set cats" in prediction.logs


def test_images_that_have_expired_fail_the_prediction(fake: FakeReplicate, client: Client) -> None:
    file = client.files.create(archive())
    fake.age(25 * 3600)
    prediction = client.predictions.create(version=fake.version(), input=config() | {"images": file.urls["get"]})
    prediction.wait()
    assert (prediction.status, prediction.error) == ("failed", "images could not be fetched: 404 File not found")


def test_cancel_ends_a_running_one_at_once_and_stops_its_trainer(fake: FakeReplicate, client: Client) -> None:
    prediction = client.predictions.create(version=fake.version(), input={"config_json": json.dumps(ENDLESS)})
    wait_until(lambda: "Steps:" in fake.predictions[prediction.id].logs)
    prediction.cancel()
    assert prediction.status == "canceled"
    assert prediction.completed_at
    wait_until(lambda: "Stopped by SIGTERM" in fake.predictions[prediction.id].logs)


def test_trainers_that_find_no_free_machine_wait_in_starting() -> None:
    with FakeReplicate.start(parallel=1) as fake, fake.client() as http:
        endless = {"config_json": json.dumps(ENDLESS)}
        first, second = (create(fake, http, input=endless).json()["id"] for _ in range(2))
        wait_until(lambda: fake.predictions[first].status == "processing")
        assert fake.predictions[second].status == "starting"
        http.post(f"/predictions/{first}/cancel")
        wait_until(lambda: fake.predictions[second].status == "processing")


def test_a_trainer_that_is_not_there_fails_the_prediction() -> None:
    with FakeReplicate.start(trainer="no-such-trainer") as fake, fake.client() as http:
        prediction = fake.predictions[create(fake, http).json()["id"]]
        wait_until(lambda: prediction.status == "failed")
        assert "no-such-trainer" in str(prediction.error)


def test_stopping_leaves_no_trainer_behind_and_waits_for_nobody() -> None:
    with FakeReplicate.start() as fake, fake.client() as http, ThreadPoolExecutor(1) as pool:
        folder = str(fake.world.data)
        create(fake, http, input={"config_json": json.dumps(ENDLESS)})
        wait_until(lambda: folder in processes())
        fake.faults.add("hang")
        hanging = pool.submit(http.get, "/account")
        wait_until(lambda: fake.requests.count(path="/v1/account"))
        fake.stop()
        assert folder not in processes()
        assert isinstance(hanging.exception(timeout=5), httpx.TransportError)


def processes() -> str:
    """The command lines of all processes."""
    return subprocess.run(["ps", "-eww", "-o", "args"], capture_output=True, text=True, check=True).stdout
