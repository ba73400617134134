"""The time of a step: of which kind of training, and as a finished run showed it. Pure."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from hashlib import sha256
from typing import Any

from jobs.configs.reading import OF_A_STEP, ConfigReading, read_config

#: Of a family's or type's name, where it is shown.
NAME_CHARACTERS = 40
#: Ranks that take about as long: one counts as the first of them that is as large.
RANK_CLASSES = (32, 64, 128, 256, 512, 1024)
#: A forward pass of a validation takes about a third of what a step of batch 1 takes, which goes back as well.
SHARE_OF_A_PASS = 1 / 3
#: Fewer passes a step are no reason for another kind: they add less than a sixth to a step of batch 1.
LEAST_PASSES = 0.5
#: As the job's column holds.
KIND_CHARACTERS = 250
#: Runs that tell: one that was mostly start does not.
MIN_DURATION_MS = 60_000
MIN_STEPS = 100
#: A name that is shown: its submitter chose it, and reviewers read it.
PLAIN = re.compile(rf"[A-Za-z0-9][A-Za-z0-9 ._+-]{{0,{NAME_CHARACTERS - 1}}}")
TYPE_WORDS: Mapping[str, str] = {"lora": "LoRA", "locon": "LoCon", "lycoris": "LyCORIS", "controlnet": "ControlNet"}


def kind_of(reading: ConfigReading) -> str:
    """Return what decides how long a step takes on some hardware, as a key of at most KIND_CHARACTERS.

    A setting that is not given is one more value of it: which default counts is the trainer's affair. It is left out,
    so that the key stays when the reading learns of another setting.
    """
    parts = {
        "family": reading.family,
        "type": reading.model_type,
        "adapter": reading.adapter,
        "rank": None if reading.rank is None else _class_of_rank(reading.rank),
        "size": reading.size_class,
        "sizes": list(reading.dataset_classes),
        "frames": list(reading.frames),
        "batch": reading.batch_size,
        "accumulation": None if reading.accumulation == 1 else reading.accumulation,
        "passes": _class_of_passes(reading.passes_per_step),
        **reading.step_options,
    }
    kind = json.dumps({name: value for name, value in parts.items() if value not in (None, [])}, sort_keys=True)
    return kind if len(kind) <= KIND_CHARACTERS else f"sha256:{sha256(kind.encode()).hexdigest()}"


def kind_of_config(config: Mapping[str, Any], datasets: Sequence[Any]) -> str | None:
    """Return the kind of a training with this config; None when one of its parts can't be read for sure.

    A migration calls it: name and arguments stay.
    """
    reading = read_config(config, datasets)
    return kind_of(reading) if reading.doubts.keys().isdisjoint(OF_A_STEP) else None


def _class_of_rank(rank: int) -> int:
    return next((most for most in RANK_CLASSES if rank <= most), RANK_CLASSES[-1] + 1)


def _class_of_passes(passes: float) -> int | None:
    """The half powers of two below it; None for few. Within a class a step takes at most 1.4 times as long."""
    return None if passes < LEAST_PASSES else math.floor(2 * math.log2(passes))


def batches_per_step(reading: ConfigReading) -> float:
    """Return how many times as long a step takes as one of batch 1, with its share of what is validated."""
    return reading.samples_per_step + reading.passes_per_step * SHARE_OF_A_PASS


def kind_text(reading: ConfigReading) -> str:
    """Return the same for people: "wan LoRA at 512 pixels, 81 frames, in batches of 4 with validations"."""
    kind = _type_of(reading)
    names = [name for name in (reading.family, TYPE_WORDS.get(kind or "", kind)) if name and PLAIN.fullmatch(name)]
    model = " ".join(names) or "a model without a name"
    sizes = [str(size) for size in reading.dataset_classes or (reading.size_class,) if size]
    frames = [str(number) for number in reading.frames if number]
    parts = [
        f" at {' and '.join(sizes)} pixels" if sizes else "",
        f", {' and '.join(frames)} frame{'' if frames == ['1'] else 's'}," if frames else "",
        f" in batches of {reading.samples_per_step}" if reading.samples_per_step > 1 else "",
        " with validations" if _class_of_passes(reading.passes_per_step) is not None else "",
    ]
    return model + "".join(parts).rstrip(",")


def _type_of(reading: ConfigReading) -> str | None:
    return reading.model_type or reading.adapter


def pace_of(
    config: Mapping[str, Any], datasets: Sequence[Any] = (), *, step: int, first_step: int | None, duration_ms: int
) -> tuple[str, float] | None:
    """Return the kind of a completed run and its seconds a step; None when it does not hang together.

    It made the steps from `first_step`, at which its log begins, to `step`, its last. A run that may have gone on from
    another tells nothing without the former, nor does one of more steps than its config asks for.
    """
    reading = read_config(config, datasets)
    may_go_on = reading.resume is not None or "resume" in reading.doubts
    if (may_go_on and first_step is None) or not reading.doubts.keys().isdisjoint(OF_A_STEP):
        return None
    made = step - (first_step or 0)
    is_long_enough = made > 0 and (duration_ms > MIN_DURATION_MS or made > MIN_STEPS)
    if not is_long_enough or (reading.steps is not None and step > reading.steps):
        return None
    return kind_of(reading), duration_ms / 1000 / made
