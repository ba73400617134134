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

#: What a name says of the prompt beside the step: SimpleTuner's short name and size, ai-toolkit's and kohya's number.
NAMED = re.compile(r"^step_[0-9]+_(?P<prompt>.+?)\.[A-Za-z0-9]+$")
NUMBERED = (
    re.compile(r"__[0-9]{9}_(?P<prompt>[0-9]+)\."),
    re.compile(r"_[0-9]{6}_(?P<prompt>[0-9]{2})_[0-9]{14}"),
)
UNCONDITIONAL = "unconditional"
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
    #: The key is the place of the prompt in the trainer's list, from 0.
    is_numbered: bool = False


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
    pictures.sort(key=lambda picture: (-picture.step, *prompt_order(picture.prompt), picture.path))
    numbered = {picture.prompt: picture.is_numbered for picture in pictures}
    texts = _texts_in(config)
    return Gallery(
        pictures, {key: _prompt_text(key, numbered[key], texts) for key in sorted(numbered, key=prompt_order)}
    )


def _picture_of(path: str) -> Picture | None:
    description = describe(path)
    if description.kind != OutputKind.IMAGE or description.step is None:
        return None
    name = path.rpartition("/")[2]
    if match := NAMED.search(name):
        return Picture(path, description.step, match["prompt"])
    matches = (pattern.search(name) for pattern in NUMBERED)
    number = next((match["prompt"] for match in matches if match), None)
    return Picture(path, description.step, number or "", is_numbered=number is not None)


def prompt_order(key: str) -> tuple[bool, str]:
    """Return what prompts are sorted by: SimpleTuner's picture without a prompt is the last one."""
    return key.startswith(UNCONDITIONAL), key


def _prompt_text(key: str, is_numbered: bool, texts: Sequence[str]) -> str:
    """Return the prompt's own text where the config has it, else its name or its number, counted from 1."""
    if is_numbered:
        number = int(key)
        text = texts[number] if number < len(texts) else ""
        return text[:MAX_PROMPT_CHARACTERS] or f"Prompt {number + 1}"
    name = SIZE.sub("", key)
    if name in ("", "validation") and texts:
        return texts[0][:MAX_PROMPT_CHARACTERS]
    return name.replace("_", " ") or "Pictures"


def _texts_in(config: Mapping[str, Any]) -> list[str]:
    """Return the prompts in a config, in their order: SimpleTuner's one, or the list of ai-toolkit or of kohya's."""
    single = value_of(config, "validation_prompt")
    if isinstance(single, str):
        return [single]
    nested = nested_settings(config)
    _, listed = nested.get("samples") or nested.get("sample_prompts") or ("", value_of(config, "sample_prompts"))
    return [_text_of(prompt) for prompt in listed] if isinstance(listed, list) else []


def _text_of(prompt: Any) -> str:
    """Return the text of one prompt of a list: it is a text, or an object with the text and settings of its own."""
    text = prompt.get("prompt") if isinstance(prompt, Mapping) else prompt
    return text if isinstance(text, str) else ""
