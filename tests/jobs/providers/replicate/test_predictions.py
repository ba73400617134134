"""Replicate's predictions, read and written: whatever stands in them, and whatever is missing."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone

from jobs.providers.base import ProviderError, Snapshot
from jobs.providers.replicate.client import retry_after
from jobs.providers.replicate.predictions import (
    read_discovered,
    read_snapshot,
    webhook_address,
    write_input,
)
from tests.jobs.providers.replicate.calls import MARKER, spec


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
