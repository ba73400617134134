"""What made a training fail, from what its trainer or its provider says: one line, and advice for the usual causes."""

from __future__ import annotations

import re

MAX_LINE_CHARACTERS = 300
#: Instead of a cause that nothing names.
NO_CAUSE = "The job failed without an error message."

#: The last line of a Python traceback, without the names of modules: `OutOfMemoryError: CUDA out of memory.`
RAISED = re.compile(r"(?:[A-Za-z_]\w*\.)*[A-Z]\w*(?:Error|Exception|Interrupt|Exit|Warning)(?::|$)")
#: A launcher's own error, which says only that the trainer that it started has failed.
LAUNCHERS = re.compile(
    r"(?:\w+\.)*(?:ChildFailedError|CalledProcessError|ProcessRaisedException)\b|Root Cause|={3,}|-{3,}"
)
#: `[rank0]: ` of torchrun, `(trainer pid=7) ` of Ray, and times before a line.
PREFIX = re.compile(r"^(?:\[rank\d+\]:\s?|\(\w+ pid=\d+(?:[^\d)][^)]*)?\)\s?|\[?\d{4}-\d\d-\d\d[T ][\d:.,]+Z?\]?\s?)+")

#: What to do about a usual cause. The first that matches counts.
ADVICE = tuple(
    (re.compile(pattern, re.IGNORECASE), advice)
    for pattern, advice in (
        (
            r"out of memory|OutOfMemoryError|CUBLAS_STATUS_ALLOC_FAILED",
            "The GPU ran out of memory. Lower the batch size or the resolution, switch on gradient "
            "checkpointing, load the base model quantized, or choose hardware with more memory.",
        ),
        (
            r"GatedRepo|gated repo|401 Client Error|403 Client Error|Invalid (?:username|user token|credentials)",
            "The hub refused the download or the upload. Set a valid hf_token in the config, and accept the model's "
            "licence on the hub with the same account.",
        ),
        (
            r"RepositoryNotFound|404 Client Error|EntryNotFoundError",
            "The hub has no such model or file, or the token has no access to it. Check the names in the config.",
        ),
        (
            r"no captions?|caption.{0,40}(?:not found|missing|empty)|(?:not found|missing).{0,40}caption",
            "The dataset has images without captions. Put a text file beside each image, or set another "
            "caption_strategy in the dataloader config.",
        ),
        (
            r"no (?:images?|files|samples|data) (?:were |was )?found|dataset.{0,20}(?:is empty|contains no)|\b0 images",
            "The dataset has no usable images. Check its folder, and the minimum size in the dataloader config.",
        ),
        (
            r"no space left on device|disk quota exceeded|ENOSPC",
            "The disk of the training's machine is full. Keep fewer checkpoints (checkpoints_total_limit), or free "
            "some space.",
        ),
        (
            r"loss (?:is|was|became) (?:nan|inf)|nan loss|loss.{0,10}\bnan\b",
            "The loss became NaN. Lower the learning rate, clip gradients, or train in bf16, not fp16.",
        ),
        (
            r"exit(?:ed)?(?: with)?(?: code| status)? (?:-9|137)\b|SIGKILL|was killed|oom-?kill",
            "The operating system ended the training, most often because the machine's memory was full. Lower the "
            "number of loader workers or the cache, or choose a machine with more memory.",
        ),
        (
            r"time limit|DUE TO TIME|TIMEOUT",
            "The cluster ended the training at its time limit. Resume from the last checkpoint, or request more time.",
        ),
    )
)


def line_of(error: str) -> str:
    """Return the line of `error` that names the cause; empty for an empty one.

    Of a traceback the last line that raises, of a launcher's report what its trainer raised, else the last line.
    """
    lines = [PREFIX.sub("", line).strip() for line in error.splitlines()]
    lines = [line for line in lines if line]
    if not lines:
        return ""
    causes = [line for line in lines if not LAUNCHERS.match(line)] or lines
    raised = [line for line in causes if RAISED.match(line)]
    return (raised or causes)[-1][:MAX_LINE_CHARACTERS]


def advice_for(error: str) -> str:
    """Return what usually helps against this error; empty for one that is not known."""
    line = line_of(error)
    for text in (line, error):
        for pattern, advice in ADVICE:
            if pattern.search(text):
                return advice
    return ""
