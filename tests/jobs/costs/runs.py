"""A training, how its log ends, and what is estimated of it."""

from __future__ import annotations

from typing import Any

from jobs.costs.estimates import estimate
from jobs.models import ProviderConfig

FLUX: dict[str, Any] = {
    "model_family": "flux",
    "model_type": "lora",
    "resolution": 1024,
    "train_batch_size": 1,
    "max_train_steps": 1000,
}
BAR = "Epoch 1/1, Steps: 100%|####| {step}/{total} [10:00<00:00,  4.0it/s, lr=0.0001, step_loss=0.5]\n"


def seconds_of(provider: ProviderConfig, config: dict[str, Any] = FLUX, hardware: str = "h100") -> tuple[float, float]:
    seconds = estimate(provider, config, hardware).seconds
    assert seconds is not None
    return seconds.low, seconds.high
