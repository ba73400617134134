"""What a file is, by its path."""

from __future__ import annotations

import pytest

from jobs.outputs.kinds import describe


@pytest.mark.parametrize(
    ("path", "kind", "step"),
    [
        ("checkpoint-500/optimizer.bin", "checkpoint", 500),
        ("flux-step00000500-state/model.safetensors", "checkpoint", 500),
        ("flux-state/model.safetensors", "checkpoint", None),
        ("validation_images/step_500_validation_1024x1024.png", "image", 500),
        ("sample/flux_000500_00_20240101123456_42.png", "image", 500),
        ("sample/flux_e000001_00_20240101123456.png", "image", None),
        ("samples/1723456789__000000500_0.jpg", "image", 500),
        ("flux-step00000500.safetensors", "weights", 500),
        ("flux_000000500.safetensors", "weights", 500),
        ("pytorch_lora_weights.safetensors", "weights", None),
        ("validation_images/step_20_walk.mp4", "video", 20),
        ("logs/train.log", "log", None),
        ("drawing.svg", "other", None),
        ("page.html", "other", None),
        ("footstep_5.txt", "other", None),
        ("result.json", "other", None),
        ("", "other", None),
    ],
)
def test_a_path_tells_kind_and_step(path: str, kind: str, step: int | None) -> None:
    assert describe(path) == (kind, step)
