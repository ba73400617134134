"""The life of a prediction: its moves from one status to the next, and a life without a process."""

from __future__ import annotations

import asyncio
import time
from typing import Any

from examples.fake_replicate.faults import LIVES, Rule
from examples.fake_replicate.predictions import Prediction, Script
from examples.fake_replicate.times import now_ns
from examples.fake_replicate.world import World

FOREVER = 10**6
UNKNOWN_STATUS = "hibernating"
BREAKS = {
    "interrupted": ("failed", "Prediction interrupted; please retry (code: PA)"),
    "out_of_memory": ("failed", "CUDA out of memory. Tried to allocate 2.00 GiB (E1001)"),
    "timed_out": ("failed", "Prediction timed out."),
    "canceled": ("canceled", None),
}
PADDING = "INFO     | cache: nothing to do for this image, it is there already\n"


def begin(world: World, prediction: Prediction) -> None:
    """The model runs from here on, unless the prediction was canceled before it could."""
    if prediction.ended:
        return
    prediction.status = "processing"
    prediction.started_ns = now_ns()
    if padding := world.faults.log_padding_bytes:
        write_log(world, prediction, PADDING * (padding // len(PADDING) + 1))
    if not world.faults.start_webhook_at_creation:
        world.webhooks.notify(prediction, "start")


def write_log(world: World, prediction: Prediction, text: str) -> None:
    prediction.write_log(text if world.faults.carriage_returns else text.replace("\r\n", "\n").replace("\r", "\n"))
    if not prediction.ended:
        world.webhooks.notify(prediction, "logs")


def finish(world: World, prediction: Prediction, status: str, *, output: Any = None, error: str | None = None) -> bool:
    """End it, unless it has ended already: the first end stays."""
    if prediction.ended:
        return False
    prediction.output = output
    if output is not None:
        world.webhooks.notify(prediction, "output")
    prediction.error = error
    prediction.completed_ns = now_ns()
    if status == "canceled" and prediction.started_ns is None:
        prediction.started_ns = prediction.completed_ns
    prediction.kept_from = time.monotonic()
    prediction.status = status
    if status != "aborted" or world.faults.aborted_webhook:
        world.webhooks.notify(prediction, "completed")
    if prediction.stop is not None:
        prediction.stop()
    return True


def draw_break(world: World, prediction: Prediction) -> Rule | None:
    """What goes wrong in this life, if anything does."""
    return next(world.faults.draw(LIVES, prediction.model), None)


async def never_start(world: World, prediction: Prediction, broken: Rule) -> None:
    """The lives that end, or stand still, before the model runs."""
    await asyncio.sleep(broken.seconds or 0)
    if broken.kind == "aborted":
        finish(world, prediction, "aborted")
    elif not prediction.ended:
        prediction.status = UNKNOWN_STATUS


async def follow_script(world: World, prediction: Prediction, script: Script) -> None:
    """Live as `script` says; when something goes wrong, it does so half-way."""
    await asyncio.sleep(script.start)
    if prediction.ended:
        return
    broken = draw_break(world, prediction)
    if broken is not None and broken.kind not in BREAKS:
        await never_start(world, prediction, broken)
        return
    begin(world, prediction)
    started = time.monotonic()
    for step in range(1, script.steps + 1):
        if script.run:
            await asyncio.sleep(script.run / script.steps)
        if prediction.ended:
            return
        write_log(world, prediction, bar(step, script.steps, time.monotonic() - started))
        if broken is not None and step >= script.steps / 2:
            finish_broken(world, prediction, broken)
            return
    finish(world, prediction, "succeeded", output=output_of(prediction, script))


def finish_broken(world: World, prediction: Prediction, broken: Rule) -> None:
    status, error = BREAKS[broken.kind]
    finish(world, prediction, status, error=error)


def output_of(prediction: Prediction, script: Script | None = None) -> Any:
    """What the predictor returns: where the result is."""
    if script is not None and script.output is not None:
        return script.output
    if "text" in prediction.inputs:
        return f"hello {prediction.inputs['text']}"
    if hub := prediction.inputs.get("hub_model_id"):
        return f"https://huggingface.co/{hub}"
    return f"Training complete. Output: /src/output/{prediction.id}"


def bar(step: int, steps: int, seconds: float) -> str:
    """The line that a trainer's bar shows after a step."""
    cells = 10 * step // steps
    drawn = f"{100 * step // steps:3d}%|{'█' * cells}{' ' * (10 - cells)}| {step}/{steps}"
    left = seconds * (steps - step) / step
    rate = f"{seconds / step:5.2f}s/it, lr=0.0001, step_loss={1 / (step + 1):.3g}"
    return f"\rEpoch 1/1, Steps: {drawn} [{_clock(seconds)}<{_clock(left)}, {rate}]"


def _clock(seconds: float) -> str:
    minutes, rest = divmod(int(seconds), 60)
    return f"{minutes:02d}:{rest:02d}"
