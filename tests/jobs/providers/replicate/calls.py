"""Calls of Replicate's client, as the tests make them."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

import pytest

from examples.fake_replicate import FakeReplicate, Prediction
from jobs.providers.base import Handle, ProviderError, TrainingSpec

T = TypeVar("T")

MARKER = "ct-" + "0123456789ab" * 2


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


def handles_of(fake: FakeReplicate, count: int, **ages: timedelta) -> list[Handle]:
    age = ages.get("age", timedelta(0))
    made = [Prediction(model="simpletuner/advanced-trainer-h100", version="v", input={}) for _ in range(count)]
    begin = datetime.now(UTC) - age
    for index, prediction in enumerate(made):
        prediction.created_ns = int((begin.timestamp() - count + index) * 1e9)
    fake.call(fake.predictions.add, *made)
    since = [begin - timedelta(seconds=count - index) for index in range(count)]
    return [Handle(f"job-{index}", one.id, since[index]) for index, one in enumerate(made)]
