"""What a file of a training is, by its path: its kind, and the step at which it was written.

The names are those of SimpleTuner (`checkpoint-500/`, `validation_images/step_500_...`), kohya's sd-scripts
(`NAME-step00000500.safetensors`, `sample/NAME_000500_00_...`) and ai-toolkit (`NAME_000000500.safetensors`,
`samples/1723456789__000000500_0.jpg`).
"""

from __future__ import annotations

import re
from functools import lru_cache
from typing import NamedTuple

from django.db import models


class OutputKind(models.TextChoices):
    CHECKPOINT = "checkpoint"
    IMAGE = "image"
    VIDEO = "video"
    WEIGHTS = "weights"
    LOG = "log"
    OTHER = "other"


#: The media types that a browser may show in place. SVG is not among them: it runs scripts.
IMAGE_TYPES = {
    "png": "image/png",
    "jpg": "image/jpeg",
    "jpeg": "image/jpeg",
    "webp": "image/webp",
    "gif": "image/gif",
    "avif": "image/avif",
}
VIDEO_TYPES = {"mp4": "video/mp4", "webm": "video/webm"}
WEIGHTS_ENDINGS = frozenset({"safetensors", "ckpt", "pt", "pth", "bin", "gguf", "onnx"})
LOG_ENDINGS = frozenset({"log", "jsonl"})

#: A folder, or kohya's `NAME-step00000500-state`, to resume from.
CHECKPOINT = re.compile(r"(?:^|/)(?:checkpoint-([0-9]{1,12})|[^/]*?-(?:step([0-9]{8})-)?state)/")
#: A step in the name of a file; the first that matches counts.
STEPS = tuple(
    re.compile(pattern)
    for pattern in (
        r"(?:^|[_-])step[_-]?([0-9]{1,12})(?=[_.-])",
        r"__([0-9]{9})_[0-9]+\.",  # ai-toolkit's samples
        r"_([0-9]{6})_[0-9]{2}_[0-9]{14}",  # kohya's samples
        r"_([0-9]{9})\.",  # ai-toolkit's weights
    )
)


class Description(NamedTuple):
    kind: OutputKind
    #: None: its name does not say.
    step: int | None


def ending_of(path: str) -> str:
    return path.rpartition("/")[2].rpartition(".")[2].lower()


def describe(path: str) -> Description:
    """Return the kind and the step of the file at `path`, which is relative to the training's output."""
    folder, slash, name = path.rpartition("/")
    if checkpoint := _checkpoint_of(folder + slash):
        return checkpoint
    for pattern in STEPS:
        if match := pattern.search(name):
            return Description(_kind_of(name), int(match[1]))
    return Description(_kind_of(name), None)


@lru_cache(maxsize=1024)
def _checkpoint_of(folder: str) -> Description | None:
    """Return what all files of a checkpoint's folder are, for the many files of each; None for another folder."""
    match = CHECKPOINT.search(folder)
    if match is None:
        return None
    step = match[1] or match[2]
    return Description(OutputKind.CHECKPOINT, int(step) if step else None)


def _kind_of(path: str) -> OutputKind:
    ending = ending_of(path)
    if ending in IMAGE_TYPES:
        return OutputKind.IMAGE
    if ending in VIDEO_TYPES:
        return OutputKind.VIDEO
    if ending in WEIGHTS_ENDINGS:
        return OutputKind.WEIGHTS
    return OutputKind.LOG if ending in LOG_ENDINGS else OutputKind.OTHER
