"""The time of a step: of which kind of training, and as a finished run showed it. Pure."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

from jobs.configs.reading import OF_A_STEP, ConfigReading, read_config

#: Of a family's or type's name, in a kind.
NAME_CHARACTERS = 40
#: As the job's column holds.
KIND_CHARACTERS = 250
#: Runs that tell: one that was mostly start does not.
MIN_DURATION_MS = 60_000
MIN_STEPS = 100
#: A name that is shown: its submitter chose it, and reviewers read it.
PLAIN = re.compile(rf"[A-Za-z0-9][A-Za-z0-9 ._+-]{{0,{NAME_CHARACTERS - 1}}}")
TYPE_WORDS: Mapping[str, str] = {"lora": "LoRA", "locon": "LoCon", "lycoris": "LyCORIS", "controlnet": "ControlNet"}


def kind_of(reading: ConfigReading) -> str:
    """Return what decides how long a step takes on some hardware: family, type, size, batch and accumulation.

    A setting that is not given is one more value of it: which default counts is the trainer's affair.
    """
    names = [name and name[:NAME_CHARACTERS] for name in (reading.family, _type_of(reading))]
    of_datasets = [reading.dataset_classes] if reading.dataset_classes else []
    kind = [*names, reading.size_class, reading.batch_size, reading.accumulation or 1, *of_datasets]
    return json.dumps(kind)[:KIND_CHARACTERS]


def kind_text(reading: ConfigReading) -> str:
    """Return the same for people: "flux LoRA at 1024 pixels in batches of 4"."""
    kind = _type_of(reading)
    names = [name for name in (reading.family, TYPE_WORDS.get(kind or "", kind)) if name and PLAIN.fullmatch(name)]
    parts = [" ".join(names) or "a model without a name"]
    sizes = reading.dataset_classes or (reading.size_class,)
    if any(sizes):
        parts.append(f"at {' and '.join(map(str, sizes))} pixels")
    if reading.samples_per_step > 1:
        parts.append(f"in batches of {reading.samples_per_step}")
    return " ".join(parts)


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
