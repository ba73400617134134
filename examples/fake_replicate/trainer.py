"""A life with a process: the trainer runs for real, and what it prints are the logs."""

from __future__ import annotations

import asyncio
import codecs
import io
import json
import os
import sys
import tarfile
import zipfile
from asyncio.subprocess import DEVNULL, PIPE, STDOUT, Process
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from examples.fake_replicate.faults import Rule
from examples.fake_replicate.lives import (
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
from examples.fake_replicate.predictions import INSTANT, Prediction
from examples.fake_replicate.problems import ProblemError
from examples.fake_replicate.world import World

ROOT = Path(__file__).resolve().parent.parent.parent
TRAINER = "python -m jobs.sample_trainer"
PATIENCE_SECONDS = 10.0
CHUNK = 65536
# What a container has: no variable of whoever started the fake but those that find Python.
KEPT_VARIABLES = ("PATH", "HOME", "LANG", "TMPDIR")
OWN_VARIABLES = {"PYTHONUNBUFFERED": "1", "PYTHONIOENCODING": "utf-8", "SIMPLETUNER_DISABLE_COLORS": "1"}


class UnusableInputError(Exception):
    """The input can't be trained with; the message is the prediction's error."""


@dataclass(frozen=True)
class Run:
    """What to start, and what the predictor says before it does."""

    command: list[str]
    greeting: str


async def live(world: World, prediction: Prediction) -> None:
    """Bring a new prediction to its end, as its script says or with the trainer."""
    script = prediction.script
    if script is None and not prediction.model.partition("/")[2].startswith("advanced-trainer"):
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
        run = await asyncio.to_thread(prepare, world, prediction)
        process = await start(run)
    except (UnusableInputError, OSError) as error:
        begin(world, prediction)
        finish(world, prediction, "failed", error=str(error))
        return
    try:
        await attend(world, prediction, process, run, broken)
    finally:
        with suppress(ProcessLookupError):
            process.kill()
        await process.wait()


async def start(run: Run) -> Process:
    environment = {name: os.environ[name] for name in KEPT_VARIABLES if name in os.environ} | OWN_VARIABLES
    return await asyncio.create_subprocess_exec(
        *run.command, cwd=ROOT, stdin=DEVNULL, stdout=PIPE, stderr=STDOUT, env=environment
    )


async def attend(world: World, prediction: Prediction, process: Process, run: Run, broken: Rule | None) -> None:
    """Follow a running trainer to its end."""
    prediction.stop = lambda: terminate(process)
    if prediction.ended:  # canceled while the process was being made
        terminate(process)
    else:
        begin(world, prediction)
        write_log(world, prediction, run.greeting)
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


def prepare(world: World, prediction: Prediction) -> Run:
    """Lay the input out in a folder. Raises UnusableInputError."""
    folder = world.data / "runs" / prediction.id
    folder.mkdir(parents=True)
    inputs = prediction.inputs
    config = _parsed(inputs, "config_json", dict)
    if steps := inputs.get("max_train_steps"):
        config["max_train_steps"] = steps
    command = [*world.trainer, "--config", _written(folder / "config.json", config)]
    command += ["--output-dir", str(folder / "output")]
    if "dataloader_json" in inputs:
        backends = _parsed(inputs, "dataloader_json", list)
        command += ["--dataloader", _written(folder / "dataloader.json", backends)]
    return Run(command, _unpack(world, inputs["images"]) if "images" in inputs else "")


def _parsed(inputs: dict[str, Any], key: str, kind: type) -> Any:
    try:
        value = json.loads(inputs.get(key, ""))
    except ValueError:
        raise UnusableInputError(f"{key} is not valid JSON") from None
    if not isinstance(value, kind):
        raise UnusableInputError(f"{key} must hold a JSON {'object' if kind is dict else 'list'}")
    return value


def _written(path: Path, value: object) -> str:
    path.write_text(json.dumps(value))
    return str(path)


def _unpack(world: World, address: str) -> str:
    """Fetch the images as the container does, and say how many there are."""
    try:
        content = world.files.content(address, world.url)
    except ProblemError as problem:
        raise UnusableInputError(f"images could not be fetched: {problem.status} {problem.body['detail']}") from None
    except ValueError as error:
        raise UnusableInputError(f"images could not be fetched: {error}") from None
    return f"[COG] Extracted {count_files(content)} files from images\n"


def count_files(content: bytes) -> int:
    """How many files a zip or a tar holds. Raises UnusableInputError for anything else."""
    archive = io.BytesIO(content)
    try:
        if zipfile.is_zipfile(archive):
            with zipfile.ZipFile(archive) as zipped:
                return sum(not entry.is_dir() for entry in zipped.infolist())
        archive.seek(0)
        with tarfile.open(fileobj=archive) as tarred:
            return sum(entry.isfile() for entry in tarred)
    except (zipfile.BadZipFile, tarfile.TarError, EOFError):
        raise UnusableInputError("images must be a zip or tar archive") from None


def split_command(text: str) -> list[str]:
    """A command line as a list; `python` is the one that runs us."""
    command = text.split()
    return [sys.executable, *command[1:]] if command[:1] == ["python"] else command
