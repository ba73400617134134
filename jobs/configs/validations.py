"""What a training makes besides its steps: the images of its validations, the losses of its evaluations. Pure.

SimpleTuner, kohya's scripts and ai-toolkit count their work in the same unit, a forward pass of the model. What a
config leaves out is as in SimpleTuner.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

INTERVAL = 100
#: Steps of the denoising of one image, and of an evaluation of one.
PASSES = 30
EVALUATION_PASSES = 28
EVALUATION_IMAGES = 4
#: In SimpleTuner's own library. A file's number is not known, and counts as the same.
PROMPTS_OF_A_LIBRARY = 53
#: Validations besides those at the interval: before the first step, and after the last.
AT_THE_ENDS = 2


@dataclass(frozen=True, slots=True)
class Validation:
    """A validation or evaluation: the forward passes that one of them makes, and how often there is one."""

    interval: int
    passes: int
    at_the_ends: int = 0

    def passes_in(self, steps: int) -> int:
        """Return the forward passes that all of them make in a training of so many steps."""
        return self.passes * (steps // self.interval + self.at_the_ends)


class Reader(Protocol):
    """The settings of one config, each with a doubt where it can't be read."""

    def number(self, setting: str, *, least: int = 0) -> int | None: ...

    def flag(self, setting: str) -> bool | None: ...

    def scalar(self, setting: str) -> bool | int | float | str | None: ...

    def length(self, setting: str) -> int: ...

    def sizes(self, setting: str) -> int: ...

    def is_given(self, *settings: str) -> bool: ...


def validations_of(reader: Reader, datasets: Sequence[Any]) -> tuple[Validation, ...]:
    """Return what is validated every so many steps. What is validated after epochs is no part of it."""
    return tuple(one for one in (_validation(reader), _evaluation(reader, datasets)) if one is not None)


def _validation(reader: Reader) -> Validation | None:
    if reader.flag("validation_off") or reader.flag("sampling_off"):
        return None
    interval = reader.number("validation_interval")
    is_on = reader.is_given(
        *("validation_images", "validation_passes", "validation_prompt", "validation_library", "validation_file"),
        *("sample_prompts", "samples"),
    )
    if interval is None and is_on:
        interval = INTERVAL
    if not interval:
        return None  # kohya's scripts validate by steps only where an interval is given
    images = (reader.number("validation_images", least=1) or 1) * max(1, reader.sizes("validation_sizes"))
    passes = reader.number("validation_passes", least=1) or PASSES
    return Validation(interval, _prompts(reader) * images * passes, AT_THE_ENDS)


def _prompts(reader: Reader) -> int:
    libraries = [name for name in ("validation_library", "validation_file", "sample_file") if reader.scalar(name)]
    listed = reader.length("sample_prompts") + reader.length("samples")
    prompts = listed + len(libraries) * PROMPTS_OF_A_LIBRARY + bool(reader.scalar("validation_prompt"))
    # SimpleTuner validates a blank prompt as well, the other trainers none.
    has_blank = not listed and "sample_file" not in libraries and not reader.flag("blank_prompt_off")
    return prompts + has_blank


def _evaluation(reader: Reader, datasets: Sequence[Any]) -> Validation | None:
    interval = reader.number("evaluation_interval")
    is_of_evaluation = [isinstance(item, Mapping) and item.get("dataset_type") == "eval" for item in datasets]
    if not interval or reader.flag("evaluation_off") or reader.flag("validation_off"):
        return None
    if not (reader.is_given("evaluation_dataset") or any(is_of_evaluation)):
        return None
    images = reader.number("evaluation_images", least=1) or EVALUATION_IMAGES
    return Validation(interval, images * (reader.number("evaluation_passes", least=1) or EVALUATION_PASSES))
