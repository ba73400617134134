"""The pictures that a training made while it ran, by step and by prompt."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from jobs.configs.ai_toolkit import nested_settings
from jobs.configs.reading import value_of
from jobs.outputs.folder import OutputFile
from jobs.outputs.kinds import OutputKind, describe

#: What a name says of the prompt beside the step: SimpleTuner's short name and size, kohya's and ai-toolkit's number.
PROMPTS = (
    re.compile(r"^step_[0-9]+_(?P<prompt>.+?)\.[A-Za-z0-9]+$"),
    re.compile(r"__[0-9]{9}_(?P<prompt>[0-9]+)\."),
    re.compile(r"_[0-9]{6}_(?P<prompt>[0-9]{2})_[0-9]{14}"),
)
SIZE = re.compile(r"[_-]([0-9]+x[0-9]+)$")
MAX_PROMPT_CHARACTERS = 300
#: Of a gallery: what its page shows at first. Each picture is a request.
STEPS_SHOWN = 12
PICTURES_SHOWN = 16


@dataclass(frozen=True, slots=True)
class Picture:
    path: str
    step: int
    #: The key of its prompt: the same in every step, and in every run of the same config.
    prompt: str


@dataclass(frozen=True, slots=True)
class Gallery:
    #: Newest step first; of a step in the order of the prompts.
    pictures: Sequence[Picture]
    #: The text to show for each prompt, by key, in the order of their keys.
    prompts: Mapping[str, str]

    @property
    def steps(self) -> list[int]:
        """The steps with pictures, newest first."""
        return list(dict.fromkeys(picture.step for picture in self.pictures))

    @property
    def first_shown(self) -> list[Picture]:
        """The pictures that its page shows at first: those of the newest steps."""
        newest = set(self.steps[:STEPS_SHOWN])
        return [picture for picture in self.pictures[:PICTURES_SHOWN] if picture.step in newest]

    @property
    def first_in_slider(self) -> Picture | None:
        """The picture that the slider shows at first: the newest one of the first prompt."""
        first = next(iter(self.prompts), None)
        return next((picture for picture in self.pictures if picture.prompt == first), None)


def gallery_of(files: Iterable[OutputFile], config: Mapping[str, Any]) -> Gallery:
    """Return the pictures among `files` whose names tell a step, with the prompts as `config` has them."""
    pictures = [picture for file in files if (picture := _picture_of(file.path))]
    pictures.sort(key=lambda picture: (-picture.step, picture.prompt, picture.path))
    keys = sorted({picture.prompt for picture in pictures})
    return Gallery(pictures, {key: _prompt_text(key, config) for key in keys})


def _picture_of(path: str) -> Picture | None:
    description = describe(path)
    if description.kind != OutputKind.IMAGE or description.step is None:
        return None
    name = path.rpartition("/")[2]
    matches = (pattern.search(name) for pattern in PROMPTS)
    prompt = next((match["prompt"] for match in matches if match), "")
    return Picture(path, description.step, prompt)


def _prompt_text(key: str, config: Mapping[str, Any]) -> str:
    """Return the prompt's own text where the config has it, else its name."""
    name = SIZE.sub("", key)
    texts = _texts_in(config)
    if name.isdecimal() and int(name) < len(texts):
        return texts[int(name)][:MAX_PROMPT_CHARACTERS]
    if name in ("", "validation") and texts:
        return texts[0][:MAX_PROMPT_CHARACTERS]
    return name.replace("_", " ") or "Pictures"


def _texts_in(config: Mapping[str, Any]) -> list[str]:
    """Return the validation prompts in a config of SimpleTuner's or of ai-toolkit's."""
    single = value_of(config, "validation_prompt")
    if isinstance(single, str):
        return [single]
    _, listed = nested_settings(config).get("sample_prompts", ("", None))
    return [text for text in listed if isinstance(text, str)] if isinstance(listed, list) else []
