"""Going on from a checkpoint of an ended run: which there are, and where the new run gets it from."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jobs.configs.reading import keys_of
from jobs.models import Job
from jobs.outputs.folder import NotFoundError
from jobs.outputs.store import absence_of, folder_of
from jobs.providers import get_provider, label_of
from jobs.providers.base import ProviderError, ResumesTrainings
from jobs.statuses import BEFORE_PROVIDER

#: SimpleTuner's name of a checkpoint, which it looks for in its own output.
NAME = re.compile(r"checkpoint-([0-9]{1,12})")
#: The option by which SimpleTuner goes on from one.
OPTION = "resume_from_checkpoint"
NOT_KEPT = "{} keeps no files that another run could use."


@dataclass(frozen=True, slots=True)
class Checkpoint:
    #: Its folder, relative to the output; its last part is its name.
    path: str
    step: int
    #: In bytes.
    size: int


@dataclass(frozen=True, slots=True)
class Checkpoints:
    """Those that a run can go on from, the newest first, or why there are none, as a sentence."""

    items: Sequence[Checkpoint]
    reason: str = ""


def checkpoints_of(job: Job) -> Checkpoints:
    reason = _hindrance(job)
    folder = None if reason else folder_of(job)
    if folder is None:
        return Checkpoints([], reason or "No file of this training is on this machine.")
    sizes: dict[str, int] = {}
    try:
        for file in folder.files():
            parts = file.path.split("/")
            inner = next((number for number, part in enumerate(parts[:-1]) if NAME.fullmatch(part)), None)
            if inner is not None:
                path = "/".join(parts[: inner + 1])
                sizes[path] = sizes.get(path, 0) + file.size
    except NotFoundError:  # it was removed meanwhile
        sizes = {}
    items = [Checkpoint(path, step_of(path), size) for path, size in sizes.items()]
    items.sort(key=lambda one: (-one.step, one.path))
    return Checkpoints(items, "" if items else "The run wrote no folder called checkpoint-STEP.")


def _hindrance(job: Job) -> str:
    if job.status in BEFORE_PROVIDER:
        return "The training has not begun."
    if not job.is_terminal:
        return "The run has not ended. Its checkpoints can be used when it has."
    if not _provider_resumes(job.provider):
        return NOT_KEPT.format(label_of(job.provider))
    return absence_of(job)


def _provider_resumes(name: str) -> bool:
    try:
        provider = get_provider(name)
    except ProviderError:
        return False
    return isinstance(provider, ResumesTrainings) and provider.may_resume()


def step_of(path: str) -> int:
    match = NAME.fullmatch(path.rpartition("/")[2])
    return int(match[1]) if match else 0


def with_checkpoint(config: dict[str, Any], path: str) -> dict[str, Any]:
    """Return the config with SimpleTuner's option set to the checkpoint, in whatever spelling the option was."""
    spelled = keys_of(config, OPTION)
    others = {key: value for key, value in config.items() if key not in spelled}
    return {**others, OPTION: path.rpartition("/")[2]}


def without_checkpoint(config: dict[str, Any]) -> dict[str, Any]:
    """Return the config without that option."""
    spelled = keys_of(config, OPTION)
    return {key: value for key, value in config.items() if key not in spelled}


def source_of(job: Job) -> tuple[Path, str] | None:
    """Return the output and the path in it from which the job goes on; None: it begins anew.

    Raises ProviderError when that checkpoint is not, or no longer, where this machine can see it.
    """
    if not job.checkpoint:
        return None
    source = job.checkpoint_of
    folder = folder_of(source) if source is not None else None
    try:
        if folder is not None and next(folder.files(job.checkpoint), None) is not None:
            return folder.root, job.checkpoint
    except NotFoundError:
        pass
    raise ProviderError(
        f"{job.checkpoint} of the run {job.checkpoint_of_id}, which the run continues from, is not on this machine.",
        nothing_created=True,
    )
