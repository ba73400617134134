"""Predictions without a life of their own: made at once in any number and state, moved on by whoever tests."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterable
from typing import Any

from examples.fake_replicate.catalog import OWNER
from examples.fake_replicate.lives import begin, finish, write_log
from examples.fake_replicate.predictions import ENDED, Prediction
from examples.fake_replicate.times import MICROSECOND, SECOND, now_ns
from examples.fake_replicate.world import World

USUAL_INPUT = {"config_json": '{"model_type": "lora", "tracker_run_name": "run-{n}", "max_train_steps": 1000}'}


def fill(
    world: World,
    count: int = 1,
    *,
    status: str = "processing",
    model: str = f"{OWNER}/advanced-trainer-h100",
    input: dict[str, Any] | None = None,
    age_seconds: float = 0.0,
    **fields: Any,
) -> list[Prediction]:
    """Add `count` predictions in `status`, the oldest made `age_seconds` ago. `{n}` in an input is its number."""
    template = USUAL_INPUT if input is None else input
    made = [
        Prediction(
            model=model, version=world.models[model].versions[0], input=numbered(template, n), status=status, **fields
        )
        for n in range(count)
    ]
    first = now_ns() - round(age_seconds * SECOND)
    for number, prediction in enumerate(made):
        prediction.created_ns = first + number * MICROSECOND
        prediction.inputs = prediction.input
        world.predictions.add(prediction)
        _date(prediction)
    return made


def numbered(template: dict[str, Any], number: int) -> dict[str, Any]:
    return {
        key: value.replace("{n}", str(number)) if isinstance(value, str) else value for key, value in template.items()
    }


def _date(prediction: Prediction) -> None:
    if prediction.status != "starting" and prediction.started_ns is None:
        prediction.started_ns = prediction.created_ns
    if prediction.ended and prediction.completed_ns is None:
        prediction.completed_ns = now_ns()
    if prediction.ended:
        prediction.kept_from = time.monotonic()


def move(
    world: World, prediction: Prediction, status: str = "", logs: str = "", output: Any = None, error: str | None = None
) -> None:
    """Let something happen to a prediction: more logs, its start, its end. Webhooks tell of it."""
    if status == "processing" and prediction.started_ns is None:
        begin(world, prediction)
    if logs:
        write_log(world, prediction, logs)
    if status in ENDED:
        finish(world, prediction, status, output=output, error=error)
    elif status:
        prediction.status = status


async def move_all(world: World, identifiers: Iterable[str], per_second: float = 0, **fields: Any) -> None:
    """The same for many, one after another: so many a second, or as fast as it can."""
    started = time.monotonic()
    for number, identifier in enumerate(identifiers):
        if per_second:
            # By the clock: pauses that come out too long are made up for.
            await asyncio.sleep(started + number / per_second - time.monotonic())
        move(world, world.predictions[identifier], **fields)
