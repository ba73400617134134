"""A life with a process: the trainer runs for real, and what it prints are the logs."""

from __future__ import annotations

import asyncio
import codecs
import json
import os
import sys
from asyncio.subprocess import PIPE, STDOUT, Process
from contextlib import suppress
from pathlib import Path
from typing import Any

from tests.fake_replicate.faults import Rule
from tests.fake_replicate.lives import (
    BREAKS,
    begin,
    draw_break,
    finish,
    finish_broken,
    follow_script,
    never_start,
    output_of,
    write_log,
)
from tests.fake_replicate.predictions import INSTANT, Prediction
from tests.fake_replicate.world import World

ROOT = Path(__file__).resolve().parent.parent.parent
PATIENCE_SECONDS = 10.0
CHUNK = 65536


class UnusableInputError(Exception):
    """The input can't be trained with; the message is the prediction's error."""


async def live(world: World, prediction: Prediction) -> None:
    """Bring a new prediction to its end, as its script says or with the trainer."""
    script = prediction.script
    if script is None and "text" in prediction.given:
        script = INSTANT
    if script is not None:
        await follow_script(world, prediction, script)
        return
    # A machine has to be free: until then it stays in `starting`.
    async with world.places:
        if not prediction.ended:
            await train(world, prediction)


async def train(world: World, prediction: Prediction) -> None:
    broken = draw_break(world, prediction)
    if broken is not None and broken.kind not in BREAKS:
        await never_start(world, prediction, broken)
        return
    try:
        command = await asyncio.to_thread(prepare, world, prediction)
    except UnusableInputError as error:
        begin(world, prediction)
        finish(world, prediction, "failed", error=str(error))
        return
    process = await asyncio.create_subprocess_exec(
        *command, cwd=ROOT, stdin=asyncio.subprocess.DEVNULL, stdout=PIPE, stderr=STDOUT, env=environment()
    )
    try:
        await attend(world, prediction, process, broken)
    finally:
        with suppress(ProcessLookupError):
            process.kill()
        await process.wait()


async def attend(world: World, prediction: Prediction, process: Process, broken: Rule | None) -> None:
    """Follow a running trainer to its end."""
    prediction.stop = lambda: terminate(process)
    if prediction.ended:  # canceled while the process was being made
        terminate(process)
    else:
        begin(world, prediction)
    await read_logs(world, prediction, process, broken)
    code = await process.wait()
    if code == 0:
        finish(world, prediction, "succeeded", output=output_of(prediction))
    else:
        lines = prediction.logs.strip().splitlines() or [f"The trainer ended with {code}."]
        finish(world, prediction, "failed", error=lines[-1])


async def read_logs(world: World, prediction: Prediction, process: Process, broken: Rule | None) -> None:
    assert process.stdout is not None
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    while chunk := await process.stdout.read(CHUNK):
        write_log(world, prediction, decoder.decode(chunk))
        if broken is not None and not prediction.ended:
            finish_broken(world, prediction, broken)


def terminate(process: Process) -> None:
    """Ask it to stop, and kill it when it doesn't."""
    if process.returncode is None:
        process.terminate()
        asyncio.get_running_loop().call_later(PATIENCE_SECONDS, kill, process)


def kill(process: Process) -> None:
    if process.returncode is None:
        process.kill()


def prepare(world: World, prediction: Prediction) -> list[str]:
    """Lay the input out in a folder, and return the command. Raises UnusableInputError."""
    folder = world.data / "runs" / prediction.id
    folder.mkdir(parents=True)
    given = prediction.given
    config = _parsed(given, "config_json", dict)
    if steps := given.get("max_train_steps"):
        config["max_train_steps"] = steps
    (folder / "config.json").write_text(json.dumps(config))
    command = [*world.trainer, "--config", str(folder / "config.json"), "--output-dir", str(folder / "output")]
    if "dataloader_json" in given:
        (folder / "dataloader.json").write_text(json.dumps(_parsed(given, "dataloader_json", list)))
        command += ["--dataloader", str(folder / "dataloader.json")]
    return command


def _parsed(given: dict[str, Any], key: str, kind: type) -> Any:
    try:
        value = json.loads(given.get(key, ""))
    except ValueError:
        raise UnusableInputError(f"{key} is not valid JSON") from None
    if not isinstance(value, kind):
        raise UnusableInputError(f"{key} must hold a JSON {'object' if kind is dict else 'list'}")
    return value


def environment() -> dict[str, str]:
    """What a container has: no variable of whoever started the fake but those that find Python."""
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "LANG", "TMPDIR") if name in os.environ}
    return kept | {"PYTHONUNBUFFERED": "1", "PYTHONIOENCODING": "utf-8", "SIMPLETUNER_DISABLE_COLORS": "1"}


def split_command(text: str) -> list[str]:
    """A command line as a list; `python` is the one that runs us."""
    words = text.split()
    return [sys.executable, *words[1:]] if words[:1] == ["python"] else words
