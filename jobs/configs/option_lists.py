"""Which options trainers take: the list of SimpleTuner's that comes with the site, and those that the operator adds.

A list is a JSON object: by the name of an option, an object with its "type" ("string", "number", "boolean", "choice" or
"text_json") and, where it has them, "choices", "default", "minimum" and "soft_maximum". docs/known-keys.md says how the
list of SimpleTuner is made anew; simpletuner-options.version says of which release it is.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import files
from pathlib import Path
from typing import Any

from jobs.configs.ai_toolkit import process_of
from jobs.configs.option_names import KOHYA, full_name

SIMPLETUNER, KOHYAS_SCRIPTS, AI_TOOLKIT = "simpletuner", "kohya", "ai-toolkit"
TYPES = ("string", "number", "boolean", "choice", "text_json")
LIMITS = ("minimum", "soft_maximum")
MAX_BYTES = 5_000_000


class OptionListError(Exception):
    """An operator's list that can't be used; the message names the file."""


@dataclass(frozen=True, slots=True)
class OptionList:
    #: As sentences name the trainer.
    trainer: str
    options: Mapping[str, Mapping[str, Any]]


def trainer_of(config: Mapping[str, Any]) -> str:
    """Return the trainer whose names the config has."""
    if process_of(config):
        return AI_TOOLKIT
    names = {full_name(key) for key in config}
    return KOHYAS_SCRIPTS if names & (KOHYA - simpletuners().options.keys()) else SIMPLETUNER


def list_for(provider: str, config: Mapping[str, Any], added: Mapping[str, Path]) -> OptionList | None:
    """Return the list for a config: of those that the operator added, by the provider's name or the trainer's, the one
    that fits, else the one that comes with the site. None: there is none. Raises OptionListError."""
    trainer = trainer_of(config)
    for name in (provider, trainer):
        if name in added:
            return read_list(name, added[name])
    return simpletuners() if trainer == SIMPLETUNER else None


@lru_cache(maxsize=1)
def simpletuners() -> OptionList:
    text = files("jobs.configs").joinpath("simpletuner-options.json").read_text(encoding="utf-8")
    return OptionList("SimpleTuner", json.loads(text))


def read_list(name: str, path: Path) -> OptionList:
    """Return the list in a file, read again when the file has changed. Raises OptionListError."""
    try:
        status = path.stat()
    except OSError as error:
        raise OptionListError(f"The option list {path} can't be read: {error.strerror}.") from error
    if status.st_size > MAX_BYTES:
        raise OptionListError(f"The option list {path} is larger than {MAX_BYTES // 1_000_000} MB.")
    return _read_file(name, path, status.st_mtime_ns, status.st_size)


@lru_cache(maxsize=32)
def _read_file(name: str, path: Path, _changed: int, _size: int) -> OptionList:
    try:
        listed = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise OptionListError(f"The option list {path} is not JSON: {error}.") from error
    if not isinstance(listed, dict) or not listed:
        raise OptionListError(f"The option list {path} must be a JSON object with the options by name.")
    for option, description in listed.items():
        if problem := _problem_of(description):
            raise OptionListError(f"The option list {path}: {option} {problem}.")
    return OptionList(name, listed)


def _problem_of(description: Any) -> str:
    if not isinstance(description, dict):
        return 'must have an object, such as {"type": "number"}'
    if description.get("type") not in TYPES:
        return f'must have a "type", one of {", ".join(TYPES)}'
    if not isinstance(description.get("choices", []), list):
        return 'must have its "choices" as a list'
    for limit in LIMITS:
        value = description.get(limit, 0)
        if isinstance(value, bool) or not isinstance(value, int | float):
            return f'must have its "{limit}" as a number'
    return ""
