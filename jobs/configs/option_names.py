"""The names of a config's settings: which key means which option of which trainer. Pure, as `reading` is."""

from __future__ import annotations

import json
import re
import unicodedata
from bisect import bisect_left
from collections.abc import Mapping
from functools import cache, lru_cache
from importlib.resources import files

#: argparse takes a shortening of any length; one letter is nobody's spelling of a setting.
SHORTEST_NAME = 3
#: What changes the time of a step by a fifth or more, besides family, sizes, frames, rank and batch: which model it is,
#: how it is held, computed, fed and taught, and what else a training does after an epoch.
STEP_OPTIONS: Mapping[str, tuple[str, ...]] = {
    "flavour": ("model_flavour",),
    "model": ("pretrained_model_name_or_path",),
    "transformer": ("pretrained_transformer_model_name_or_path", "pretrained_unet_model_name_or_path"),
    "controlnet": ("controlnet",),
    "control": ("control",),
    "precision": ("base_model_precision",),
    "fp8": ("fp8_base",),
    "quantize": ("quantize",),
    "mixed_precision": ("mixed_precision",),
    "checkpointing": ("gradient_checkpointing",),
    "checkpointing_interval": ("gradient_checkpointing_interval",),
    "optimizer": ("optimizer", "optimizer_type"),
    "attention": ("attention_mechanism",),
    "compile": ("dynamo_backend", "torch_compile"),
    "ramtorch": ("ramtorch",),
    "group_offload": ("enable_group_offload",),
    "swapped_blocks": ("musubi_blocks_to_swap", "blocks_to_swap"),
    "low_vram": ("low_vram",),
    "uncached": ("vae_cache_disable",),
    "cached": ("cache_latents",),
    "text_encoder": ("train_text_encoder",),
    "fsdp": ("fsdp_enable",),
    "fsdp_offload": ("fsdp_cpu_offload",),
    "deepspeed": ("deepspeed_config",),
    "tread": ("tread_config",),
    "distillation": ("distillation_method",),
    "crepa": ("crepa_enabled",),
    "twinflow": ("twinflow_enabled",),
    "validation_epochs": ("validation_epoch_interval", "sample_every_n_epochs"),
    "evaluation_epochs": ("eval_epoch_interval",),
}
#: What a training makes besides its steps, see `validations`.
VALIDATION_OPTIONS: Mapping[str, tuple[str, ...]] = {
    "validation_interval": ("validation_step_interval", "validation_steps", "sample_every_n_steps"),
    "validation_off": ("validation_disable",),
    "validation_images": ("num_validation_images",),
    "validation_passes": ("validation_num_inference_steps",),
    "validation_sizes": ("validation_resolution",),
    "validation_prompt": ("validation_prompt",),
    "validation_library": ("validation_prompt_library",),
    "validation_file": ("user_prompt_library",),
    "blank_prompt_off": ("validation_disable_unconditional",),
    "sample_file": ("sample_prompts",),
    "sample_prompts": ("prompts",),
    "samples": ("samples",),
    "sampling_off": ("disable_sampling",),
    "evaluation_interval": ("eval_steps_interval",),
    "evaluation_off": ("eval_loss_disable",),
    "evaluation_dataset": ("eval_dataset_id",),
    "evaluation_images": ("num_eval_images",),
    "evaluation_passes": ("eval_timesteps",),
}
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
    "rank": ("lora_rank", "network_dim"),
    "resume": ("resume_from_checkpoint", "resume"),
    "output": ("output_dir",),
    "run_name": ("tracker_run_name",),
    "checkpoint_interval": ("checkpoint_step_interval", "checkpointing_steps", "save_every_n_steps"),
    **STEP_OPTIONS,
    **VALIDATION_OPTIONS,
}
KOHYA = frozenset(
    {
        *("max_train_epochs", "network_module", "network_dim", "resume", "save_every_n_steps", "optimizer_type"),
        *("fp8_base", "blocks_to_swap", "cache_latents", "torch_compile"),
        *("sample_every_n_steps", "sample_every_n_epochs", "sample_prompts"),
    }
)
#: Settings among STEP_OPTIONS whose value may be an object: only whether the config gives them counts.
OBJECTS = frozenset({"deepspeed", "tread"})
#: Names that only ai-toolkit's sections have: elsewhere they are no setting.
ONLY_NESTED = frozenset({"quantize", "low_vram", "prompts", "samples", "disable_sampling"})
#: By the name used here, names that trainers of other makes give it. What they count there is not sure: a doubt.
FOREIGN: Mapping[str, tuple[str, ...]] = {
    "steps": ("steps", "max_steps", "num_steps", "total_steps", "train_steps", "num_train_steps", "iterations"),
    "epochs": ("epochs", "max_epochs", "num_epochs", "train_epochs"),
}

SETTING_OF = {
    option: setting for setting, options in ALIASES.items() for option in options if option not in ONLY_NESTED
}
DOUBTED = SETTING_OF | {option: setting for setting, options in FOREIGN.items() for option in options}
LENGTHS = {option: setting for option, setting in DOUBTED.items() if setting in FOREIGN}


@cache
def option_names() -> frozenset[str]:
    """The options whose shortenings are understood."""
    listed = json.loads(files("jobs.configs").joinpath("simpletuner-options.json").read_text(encoding="utf-8"))
    return frozenset(listed) | KOHYA


@lru_cache(maxsize=4096)
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
    options = _sorted_names()
    first = last = bisect_left(options, name)
    while last < len(options) and options[last].startswith(name):
        last += 1
    return options[first:last]


@cache
def _sorted_names() -> tuple[str, ...]:
    return tuple(sorted(option_names()))


@lru_cache(maxsize=4096)
def parts_of(name: str) -> tuple[str, ...]:
    """The words of a name as ASCII letters, digits and underscores; full-width letters and those of a case are one."""
    return tuple(re.findall(r"[a-z0-9_]+", unicodedata.normalize("NFKC", name).casefold()))
