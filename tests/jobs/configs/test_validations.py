"""What a config asks for besides its steps: validations and evaluations, in forward passes of the model."""

from __future__ import annotations

from typing import Any

import pytest

from jobs.configs.reading import read_config
from jobs.configs.validations import PROMPTS_OF_A_LIBRARY, Validation

STEPS = {"max_train_steps": 1000}
SIMPLETUNER = {
    **STEPS,
    "validation_step_interval": 50,
    "validation_prompt": "a cat",
    "validation_num_inference_steps": 20,
}


def passes_of(config: dict[str, Any], datasets: list[Any] | None = None) -> list[tuple[int, int]]:
    """Return the interval and the passes of each check. The config says them without a doubt."""
    reading = read_config(config, datasets or [])
    assert reading.doubt == ""
    return [(one.interval, one.passes) for one in reading.validations]


@pytest.mark.parametrize(
    ("settings", "check"),
    [
        # A blank prompt is validated as well.
        ({}, (50, 40)),
        ({"validation_disable_unconditional": True}, (50, 20)),
        ({"--validation-disable-unconditional": "true"}, (50, 20)),
        ({"num_validation_images": 3}, (50, 120)),
        ({"num_validation_images": 1, "validation_num_inference_steps": 1}, (50, 2)),
        ({"validation_resolution": "512x512,1024x1024"}, (50, 80)),
        ({"validation_resolution": 512}, (50, 40)),
        ({"validation_prompt_library": True}, (50, 20 * (PROMPTS_OF_A_LIBRARY + 2))),
        ({"validation_prompt_library": "config/prompts.json"}, (50, 20 * (PROMPTS_OF_A_LIBRARY + 2))),
        ({"validation_prompt_library": "false"}, (50, 40)),
        ({"user_prompt_library": "config/prompts.json"}, (50, 20 * (PROMPTS_OF_A_LIBRARY + 2))),
        ({"validation_num_inference_steps": None}, (50, 60)),
        ({"validation_step_interval": None}, (100, 40)),
        ({"validation_step_interval": None, "validation_steps": "25"}, (25, 40)),
    ],
)
def test_simpletuners_validations(settings: dict[str, Any], check: tuple[int, int]) -> None:
    assert passes_of({**SIMPLETUNER, **settings}) == [check]


@pytest.mark.parametrize(
    "settings",
    [
        {"validation_disable": True},
        {"validation_disable": 1},
        {"validation_step_interval": 0},
    ],
)
def test_validations_that_are_switched_off(settings: dict[str, Any]) -> None:
    assert passes_of({**SIMPLETUNER, **settings}) == []


def test_a_config_that_says_nothing_of_validations_is_taken_to_make_none() -> None:
    assert passes_of(STEPS) == []
    assert passes_of({**STEPS, "validation_epoch_interval": 1}) == [], "how many steps an epoch has is not known"


def test_kohyas_samples_are_made_only_at_an_interval() -> None:
    samples = {**STEPS, "sample_prompts": "prompts.txt"}
    assert passes_of(samples) == passes_of({**samples, "sample_every_n_epochs": 1}) == []
    assert passes_of({**samples, "sample_every_n_steps": 200}) == [(200, 30 * PROMPTS_OF_A_LIBRARY)]


AI_TOOLKIT: dict[str, Any] = {
    "type": "sd_trainer",
    "device": "cuda:0",
    "network": {"type": "lora", "linear": 16, "linear_alpha": 16},
    "save": {"dtype": "float16", "save_every": 250},
    "datasets": [{"folder_path": "/data", "resolution": [512, 768, 1024], "num_frames": 41}],
    "train": {
        "batch_size": 1,
        "steps": 2000,
        "train_unet": True,
        "train_text_encoder": False,
        "gradient_checkpointing": True,
        "optimizer": "adamw8bit",
        "dtype": "bf16",
        "lr": 1e-4,
    },
    "model": {"name_or_path": "black-forest-labs/FLUX.1-dev", "is_flux": True, "quantize": True},
    "sample": {"sampler": "flowmatch", "sample_every": 250, "prompts": ["a", "b"], "sample_steps": 20},
}


def ai_toolkit(section: str = "", **settings: Any) -> dict[str, Any]:
    process = {**AI_TOOLKIT, **({section: {**AI_TOOLKIT[section], **settings}} if section else {})}
    return {"job": "extension", "config": {"name": "x", "process": [process]}}


def test_ai_toolkits_samples() -> None:
    assert passes_of(ai_toolkit()) == [(250, 40)]
    assert passes_of(ai_toolkit("train", disable_sampling=True)) == []
    assert passes_of(ai_toolkit("sample", samples=[{"prompt": "c"}])) == [(250, 60)]
    assert 'prompts is "a cat", which is not a list' in read_config(ai_toolkit("sample", prompts="a cat")).doubt


def test_ai_toolkits_model_and_datasets_decide_the_time_too() -> None:
    reading = read_config(ai_toolkit())
    assert (reading.dataset_classes, reading.frames, reading.rank) == ((512, 768, 1024), (41,), 16)
    assert reading.step_options == {
        "model": "black-forest-labs/flux.1-dev",
        "quantize": True,
        "mixed_precision": "bf16",
        "checkpointing": True,
        "optimizer": "adamw8bit",
        "text_encoder": False,
    }


EVALUATION = {**STEPS, "eval_steps_interval": 10, "num_eval_images": 5, "eval_timesteps": 4}


def test_evaluations_are_made_of_a_dataset_for_them() -> None:
    datasets = [{"id": "words"}, {"id": "judged", "dataset_type": "eval"}]
    assert passes_of(EVALUATION) == passes_of(EVALUATION, [*datasets[:1], "judged", None]) == []
    assert passes_of(EVALUATION, datasets) == passes_of({**EVALUATION, "eval_dataset_id": "judged"}) == [(10, 20)]
    assert passes_of({**STEPS, "eval_steps_interval": 10}, datasets) == [(10, 4 * 28)]
    assert passes_of({**EVALUATION, "num_eval_images": 1, "eval_timesteps": 1}, datasets) == [(10, 1)]
    for switch in ({"eval_loss_disable": True}, {"validation_disable": True}, {"eval_steps_interval": 0}):
        assert passes_of({**EVALUATION, **switch}, datasets) == []


def test_validations_come_at_the_interval_and_at_both_ends() -> None:
    assert [Validation(100, 30, 2).passes_in(steps) for steps in (1, 99, 100, 1000)] == [60, 60, 90, 360]
    assert Validation(100, 30).passes_in(99) == 0
    assert read_config({**SIMPLETUNER, "max_train_steps": 1000}).passes_per_step == pytest.approx(22 * 40 / 1000)
    by_epochs = read_config({**SIMPLETUNER, "max_train_steps": None, "num_train_epochs": 3})
    assert by_epochs.passes_per_step == pytest.approx(40 / 50), "at the interval alone"


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("validation_step_interval", "often"),
        ("validation_step_interval", -1),
        ("num_validation_images", 1.5),
        ("num_validation_images", 0),
        ("validation_num_inference_steps", True),
        ("validation_disable", "perhaps"),
        ("validation_prompt", ["a"]),
        ("Validation_Steps", 5),
        ("eval_steps_interval", "often"),
    ],
)
def test_a_validation_that_cant_be_read_puts_the_cost_in_doubt(key: str, value: Any) -> None:
    assert key in read_config({**SIMPLETUNER, key: value}).doubt


def test_what_is_switched_off_need_not_be_readable() -> None:
    assert read_config({**SIMPLETUNER, "validation_disable": True, "num_validation_images": "many"}).doubt == ""
