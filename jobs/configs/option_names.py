"""The names of a config's settings: which key means which option of which trainer. Pure, as `reading` is."""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Mapping
from functools import cache, lru_cache
from importlib.resources import files

#: argparse takes a shortening of any length; one letter is nobody's spelling of a setting.
SHORTEST_NAME = 3
#: By the name used here, the options that mean the same: SimpleTuner's first, then kohya's.
ALIASES: Mapping[str, tuple[str, ...]] = {
    "steps": ("max_train_steps",),
    "epochs": ("num_train_epochs", "max_train_epochs"),
    "batch_size": ("train_batch_size",),
    "accumulation": ("gradient_accumulation_steps",),
    "resolution": ("resolution",),
    "family": ("model_family",),
    "model_type": ("model_type",),
    "adapter": ("lora_type", "network_module"),
    "precision": ("base_model_precision",),
    "resume": ("resume_from_checkpoint", "resume"),
    "output": ("output_dir",),
    "run_name": ("tracker_run_name",),
    "validation_interval": ("validation_step_interval", "validation_steps", "sample_every_n_steps"),
    "checkpoint_interval": ("checkpoint_step_interval", "checkpointing_steps", "save_every_n_steps"),
}
KOHYA = frozenset({"max_train_epochs", "network_module", "resume", "sample_every_n_steps", "save_every_n_steps"})
#: By the name used here, names that trainers of other makes give it. What they count there is not sure: a doubt.
FOREIGN: Mapping[str, tuple[str, ...]] = {
    "steps": ("steps", "max_steps", "num_steps", "total_steps", "train_steps", "num_train_steps", "iterations"),
    "epochs": ("epochs", "max_epochs", "num_epochs", "train_epochs"),
}

SETTING_OF = {option: setting for setting, options in ALIASES.items() for option in options}
DOUBTED = SETTING_OF | {option: setting for setting, options in FOREIGN.items() for option in options}
LENGTHS = {option: setting for option, setting in DOUBTED.items() if setting in FOREIGN}


@cache
def option_names() -> frozenset[str]:
    """The options whose shortenings are understood."""
    listed = json.loads(files("jobs.configs").joinpath("simpletuner-options.json").read_text(encoding="utf-8"))
    return frozenset(listed) | KOHYA


def plain_name(key: str) -> str:
    """`key` without the dashes and blanks in front, with underscores for hyphens; still as short as it was."""
    return key.strip().lstrip("-").strip().replace("-", "_")


@lru_cache(maxsize=4096)
def full_name(key: str) -> str:
    """The option that `key` means; the plain name where it means none that is known, or several."""
    name = plain_name(key)
    if name in option_names():
        return name
    meant = meant_by(name)
    return meant[0] if len(meant) == 1 else name


@lru_cache(maxsize=4096)
def meant_by(name: str) -> tuple[str, ...]:
    """The options of which `name` is a shortening."""
    if len(name) < SHORTEST_NAME:
        return ()
    return tuple(option for option in sorted(option_names()) if option.startswith(name))


@lru_cache(maxsize=4096)
def words_of(name: str) -> tuple[str, ...]:
    """The words of a name as ASCII letters, digits and underscores; full-width letters and those of a case are one."""
    return tuple(re.findall(r"[a-z0-9_]+", unicodedata.normalize("NFKC", name).casefold()))
