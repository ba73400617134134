"""Where ai-toolkit's configs have their settings: in sections below `config.process[0]`. Pure, as `reading` is."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

#: By the name used here, the section and the name in it.
NESTED: Mapping[str, tuple[str, str]] = {
    "steps": ("train", "steps"),
    "batch_size": ("train", "batch_size"),
    "accumulation": ("train", "gradient_accumulation"),
    "family": ("model", "arch"),
    "model": ("model", "name_or_path"),
    "adapter": ("network", "type"),
    "rank": ("network", "linear"),
    "quantize": ("model", "quantize"),
    "precision": ("model", "qtype"),
    "low_vram": ("model", "low_vram"),
    "mixed_precision": ("train", "dtype"),
    "checkpointing": ("train", "gradient_checkpointing"),
    "optimizer": ("train", "optimizer"),
    "text_encoder": ("train", "train_text_encoder"),
    "validation_interval": ("sample", "sample_every"),
    "validation_passes": ("sample", "sample_steps"),
    "sample_prompts": ("sample", "prompts"),
    "samples": ("sample", "samples"),
    "sampling_off": ("train", "disable_sampling"),
    "checkpoint_interval": ("save", "save_every"),
}


def sections_of(config: Mapping[str, Any]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Yield each part of any trainer's config that holds settings of its own, with its place."""
    yield from ((key, value) for key, value in config.items() if isinstance(value, Mapping))
    if process := process_of(config):
        yield "config.process[0]", process
    if training := training_of(config):
        yield "config.process[0].train", training


def training_of(config: Mapping[str, Any]) -> Mapping[str, Any]:
    """The settings of the training; empty without any."""
    training = process_of(config).get("train")
    return training if isinstance(training, Mapping) else {}


def datasets_of(config: Mapping[str, Any]) -> list[Any]:
    datasets = process_of(config).get("datasets")
    return datasets if isinstance(datasets, list) else []


def has_several_processes(config: Mapping[str, Any]) -> bool:
    return len(_processes(config)) > 1


def nested_settings(config: Mapping[str, Any]) -> dict[str, tuple[str, Any]]:
    """Return each setting with its place and value."""
    process = process_of(config)
    if not process:
        return {}
    sections = {name: process.get(name) for name, _ in NESTED.values()}
    return {
        setting: (f"config.process[0].{section}.{name}", part[name])
        for setting, (section, name) in NESTED.items()
        if isinstance(part := sections[section], Mapping) and name in part
    }


def process_of(config: Mapping[str, Any]) -> Mapping[str, Any]:
    process = next(iter(_processes(config)), None)
    return process if isinstance(process, Mapping) else {}


def _processes(config: Mapping[str, Any]) -> list[Any]:
    inner = config.get("config")
    processes = inner.get("process") if isinstance(inner, Mapping) else None
    return processes if isinstance(processes, list) else []
