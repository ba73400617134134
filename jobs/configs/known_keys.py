"""What looks like a mistake in a config: keys that its trainer doesn't have, values that an option doesn't take.

Pure, apart from reading an operator's list. Nothing here refuses a config: trainers differ by version, and a list is
never complete.
"""

from __future__ import annotations

import difflib
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from jobs.configs.option_lists import OptionList, list_for
from jobs.configs.option_names import KOHYA, full_name, plain_name

#: More than anybody reads; the last one says how many there are besides.
MAX_FINDINGS = 50
#: The sites' own trainer for trying the site out takes a config of SimpleTuner, with these keys.
SAMPLE_TRAINERS = "sample_trainer_"
#: A value that is this many times the largest usual one looks like a mistake.
BEYOND = 10
#: Options that take more than their choices: a folder's name, several choices with commas between.
OPEN_CHOICES = frozenset({"resume_from_checkpoint", "report_to"})
#: If fewer of at least so many keys are known, the config is another trainer's.
KNOWN_SHARE, KNOWN_OF = 0.3, 5
LONGEST_NAME = 60
NEAR, VERY_NEAR = 0.72, 0.85
FLAGS = frozenset({"true", "false", "1", "0", "yes", "no", "on", "off"})

BACKEND_TYPES = ("local", "aws", "csv", "huggingface", "memory", "webshart")
DATASET_TYPES = (
    *("image", "video", "audio", "text_embeds", "image_embeds", "conditioning_image_embeds", "conditioning", "eval"),
    *("distillation_cache", "caption"),
)
#: Datasets that hold what the trainer computed, and no pictures.
CACHES = frozenset({"text_embeds", "image_embeds", "conditioning_image_embeds", "distillation_cache"})
#: By type of backend, what it can't do without: one of the keys of each group.
REQUIRED: Mapping[str, tuple[tuple[str, ...], ...]] = {
    "local": (("instance_data_dir", "instance_data_root"),),
    "aws": (("aws_bucket_name",),),
    "csv": (("csv_file",), ("csv_caption_column",), ("csv_cache_dir",)),
    "huggingface": (("dataset_name",),),
}
#: Keys that are often misspelt. A dataset may have others.
DATASET_KEYS = (
    *("id", "type", "dataset_type", "disabled", "default", "cache_dir", "cache_dir_vae", "instance_data_dir"),
    *("caption_strategy", "instance_prompt", "only_instance_prompt", "prepend_instance_prompt", "repeats", "crop"),
    *("crop_style", "crop_aspect", "crop_aspect_buckets", "resolution", "resolution_type", "minimum_image_size"),
    *("maximum_image_size", "target_downsample_size", "minimum_aspect_ratio", "maximum_aspect_ratio", "text_embeds"),
    *("image_embeds", "conditioning", "conditioning_data", "conditioning_type", "probability", "metadata_backend"),
    *("skip_file_discovery", "preserve_data_backend_cache", "vae_cache_clear_each_epoch", "hash_filenames"),
    *("aws_bucket_name", "aws_region_name", "aws_endpoint_url", "aws_access_key_id", "aws_secret_access_key"),
    *("aws_data_prefix", "csv_file", "csv_caption_column", "csv_url_column", "csv_cache_dir", "dataset_name"),
    *("write_batch_size", "parquet", "video", "audio", "huggingface", "config", "start_epoch", "start_step"),
    *("ignore_epochs", "disable_validation", "source_dataset_id", "instance_data_root", "aws_max_pool_connections"),
)


@dataclass(frozen=True, slots=True)
class Finding:
    """One place that looks like a mistake."""

    #: A JSON pointer into the submission: "/config/learning_rte", "/dataloader_config/0".
    place: str
    #: A sentence that begins with the key.
    text: str
    #: The name that was probably meant; empty without one.
    suggestion: str = ""


def findings_in(
    provider: str, config: Mapping[str, Any], dataloader: Sequence[Any], added: Mapping[str, Path]
) -> list[Finding]:
    """Return what looks like a mistake, in the order of the config. `added`: the operator's lists by name.

    Raises OptionListError.
    """
    options = list_for(provider, config, added)
    found = [*(_in_config(config, options) if options else ()), *_in_dataloader(dataloader)]
    if len(found) > MAX_FINDINGS:
        more = len(found) - MAX_FINDINGS
        found = [*found[:MAX_FINDINGS], Finding("", f"{more} more keys or values look like mistakes.")]
    return found


def _in_config(config: Mapping[str, Any], listed: OptionList) -> Iterator[Finding]:
    names = {key: _name_in(key, listed) for key in config}
    unknown = [key for key in config if not names[key] and config[key] is not None]
    if len(config) >= KNOWN_OF and len(config) - len(unknown) < KNOWN_SHARE * len(config):
        return
    suggested = 0
    for key, value in config.items():
        if value is None:
            continue
        if name := names[key]:
            if objection := _objection(listed.options.get(name, {}), name, value):
                yield Finding(_place_of(key), f"{_shown_key(key)}: {objection}")
            continue
        suggested += 1
        near = _nearest(plain_name(key), tuple(listed.options), NEAR) if suggested <= MAX_FINDINGS else ""
        question = f" Did you mean {near}?" if near else ""
        yield Finding(_place_of(key), f"{_shown_key(key)}: {listed.trainer} doesn't have this option.{question}", near)


def _place_of(key: str) -> str:
    return f"/config/{_escaped(key)}"


def _name_in(key: str, listed: OptionList) -> str:
    """Return the option that a key means; empty for none of the list."""
    for name in (plain_name(key), full_name(key)):
        if name in listed.options:
            return name
    name = full_name(key)
    return name if name in KOHYA or name.startswith(SAMPLE_TRAINERS) else ""


def _objection(option: Mapping[str, Any], name: str, value: Any) -> str:
    """Return why an option doesn't take a value, as far as its list says."""
    kind = option.get("type", "text_json")
    if kind == "text_json" or ("default" in option and value == option["default"]):
        return ""
    if isinstance(value, dict) or (isinstance(value, list) and kind != "string"):
        return f"{'an object' if isinstance(value, dict) else 'a list'} is set, but {_KINDS[kind]} is expected."
    if kind == "number":
        return _objection_to_number(option, value)
    if kind == "boolean" and not _is_flag(value):
        return f"{_shown(value)} is set, but true or false is expected."
    if kind == "choice" and name not in OPEN_CHOICES:
        return _objection_to_choice(option, value)
    return ""


_KINDS = {"string": "a text", "number": "a number", "boolean": "true or false", "choice": "one of its choices"}


def _objection_to_number(option: Mapping[str, Any], value: Any) -> str:
    number = _number(value)
    if number is None:
        return f"{_shown(value)} is set, but a number is expected."
    low, high = option.get("minimum"), option.get("soft_maximum")
    # Of a size that is at least 128 a 0 means that there is none.
    if low is not None and number < low and not (number == 0 and low > 1):
        return f"{_shown(value)} is less than {low}, the lowest allowed value."
    # SimpleTuner's own examples go beyond the largest usual number, but not beyond a share of 1.
    if high is not None and number > (high if high <= 1 else BEYOND * high):
        return f"{_shown(value)} is more than {high}, the largest usual value."
    return ""


def _objection_to_choice(option: Mapping[str, Any], value: Any) -> str:
    choices = option.get("choices")
    if not choices or str(value).lower() in {str(choice).lower() for choice in choices}:
        return ""
    shown = ", ".join(str(choice) for choice in choices if choice not in (None, ""))
    near = _nearest(str(value).lower(), tuple(str(choice) for choice in choices if choice), NEAR)
    question = f" Did you mean {near}?" if near else ""
    return f"{_shown(value)} is not one of its choices: {shown}.{question}"


def _number(value: Any) -> float | None:
    if isinstance(value, bool):
        return None
    try:
        number = float(value)
    except (TypeError, ValueError, OverflowError):
        return None
    return None if math.isnan(number) else number


def _is_flag(value: Any) -> bool:
    return value in (0, 1) or (isinstance(value, str) and value.strip().lower() in FLAGS)


def _in_dataloader(datasets: Sequence[Any]) -> Iterator[Finding]:
    """Look at datasets as SimpleTuner has them."""
    for number, dataset in enumerate(datasets):
        if len(datasets) > 1000 and number >= 1000:
            return
        if isinstance(dataset, Mapping):
            yield from _in_dataset(f"/dataloader_config/{number}", number, dataset)


def _in_dataset(place: str, number: int, dataset: Mapping[str, Any]) -> Iterator[Finding]:
    shown = f"Dataset {number + 1}"
    if dataset.get("disabled") or dataset.get("disable"):
        return
    if not dataset.get("id"):
        yield Finding(place, f"{shown}: id is missing. The trainer finds its cache by it.", "id")
    kind, holds = dataset.get("type", "local"), dataset.get("dataset_type", "image")
    yield from _of_choices(f"{place}/type", f"{shown}, type", kind, BACKEND_TYPES)
    yield from _of_choices(f"{place}/dataset_type", f"{shown}, dataset_type", holds, DATASET_TYPES)
    for keys in _required(kind, holds):
        if not any(dataset.get(key) for key in keys):
            yield Finding(place, f"{shown}: {keys[0]} is missing, which a dataset of type {kind} needs.", keys[0])
    for key in dataset:
        if plain_name(key) in DATASET_KEYS or len(dataset) > 200:
            continue
        if near := _nearest(plain_name(key), DATASET_KEYS, VERY_NEAR):
            yield Finding(f"{place}/{_escaped(key)}", f"{shown}, {_shown_key(key)}: Did you mean {near}?", near)


def _required(kind: Any, holds: Any) -> tuple[tuple[str, ...], ...]:
    if not isinstance(kind, str) or not isinstance(holds, str):
        return ()
    if holds in CACHES and kind == "local":
        return (("cache_dir", "instance_data_dir"),)
    return REQUIRED.get(kind, ())


def _of_choices(place: str, shown: str, value: Any, choices: tuple[str, ...]) -> Iterator[Finding]:
    if isinstance(value, str) and value in choices:
        return
    near = _nearest(value.lower(), choices, NEAR) if isinstance(value, str) else ""
    question = f" Did you mean {near}?" if near else ""
    yield Finding(place, f"{shown}: {_shown(value)} is not one of {', '.join(choices)}.{question}", near)


@lru_cache(maxsize=2048)
def _nearest(name: str, names: tuple[str, ...], near: float) -> str:
    """Return the most similar of `names`; empty when none is similar enough."""
    if len(name) > LONGEST_NAME:
        return ""
    return next(iter(difflib.get_close_matches(name.lower(), names, n=1, cutoff=near)), "")


def _escaped(key: str) -> str:
    return key.replace("~", "~0").replace("/", "~1")


def _shown_key(key: str) -> str:
    return key if len(key) <= LONGEST_NAME else f"{key[: LONGEST_NAME - 3]}..."


def _shown(value: Any) -> str:
    if isinstance(value, dict | list):
        return "a list" if isinstance(value, list) else "an object"
    text = json.dumps(value, ensure_ascii=False, default=str)
    return text if len(text) <= LONGEST_NAME else f"{text[: LONGEST_NAME - 3]}..."
