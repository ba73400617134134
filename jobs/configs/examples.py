"""Configs to start from, which every site has."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from importlib.resources import files


@dataclass(frozen=True)
class Example:
    """A config of SimpleTuner; `key` is the name that a job of it begins with."""

    key: str
    label: str

    @cached_property
    def text(self) -> str:
        """The config as JSON, its numbers as people write them."""
        path = files("jobs.configs").joinpath("example_configs", f"{self.key}.json")
        return path.read_text(encoding="utf-8").rstrip()


EXAMPLES = (
    Example("first-job", "A first job: 40 steps"),
    Example("flux-lora", "FLUX, a LoRA of 2,000 steps"),
    Example("sdxl-lora", "SDXL, a LoRA of 3,000 steps"),
)
