"""Which trainings are of one kind: those whose steps take about as long."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jobs.configs.option_names import STEP_OPTIONS
from jobs.configs.reading import read_config
from jobs.costs.pace import KIND_CHARACTERS, batches_per_step, kind_of, kind_text, pace_of

CONFIG: dict[str, Any] = {"model_family": "flux", "model_type": "lora", "max_train_steps": 1000}
VIDEO = {"dataset_type": "video", "video": {"num_frames": 81}}
VALIDATIONS = {"validation_step_interval": 100, "validation_prompt": "a cat", "validation_num_inference_steps": 30}


def kind(config: dict[str, Any], datasets: Sequence[Any] = ()) -> str:
    return kind_of(read_config({**CONFIG, **config}, datasets))


@pytest.mark.parametrize(
    "other",
    [
        {"model_flavour": "schnell"},
        {"pretrained_model_name_or_path": "black-forest-labs/FLUX.1-schnell"},
        {"controlnet": True},
        {"lora_type": "lycoris"},
        {"lora_rank": 128},
        {"network_dim": 128},
        {"base_model_precision": "int8-quanto"},
        {"fp8_base": True},
        {"mixed_precision": "no"},
        {"gradient_checkpointing": False},
        {"gradient_checkpointing_interval": 4},
        {"optimizer": "soap"},
        {"optimizer_type": "AdamW8bit"},
        {"attention_mechanism": "sageattention"},
        {"dynamo_backend": "inductor"},
        {"ramtorch": True},
        {"blocks_to_swap": 20},
        {"vae_cache_disable": True},
        {"tread_config": {"routes": [{"selection_ratio": 0.5}]}},
        {"deepspeed_config": "zero.json"},
        {"train_batch_size": 4},
        {"gradient_accumulation_steps": 4},
        {"resolution": 512},
        {"validation_epoch_interval": 1},
        VALIDATIONS,
    ],
)
def test_what_changes_the_time_of_a_step_makes_another_kind(other: dict[str, Any]) -> None:
    assert kind(other) != kind({})


def test_each_option_of_a_step_is_part_of_the_kind() -> None:
    kinds = {kind({options[0]: "x"}) for name, options in STEP_OPTIONS.items() if name not in ("quantize", "low_vram")}
    assert len(kinds) == len(STEP_OPTIONS) - 2, "the two are ai-toolkit's, in a section of theirs"


@pytest.mark.parametrize(
    "same",
    [
        {"learning_rate": 1e-5},
        {"max_train_steps": 10},
        {"model_family": "FLUX"},
        {"gradient_accumulation_steps": 1},
        {"validation_disable": True, **VALIDATIONS},
        {"validation_step_interval": 1000, "validation_prompt": "a cat"},
    ],
)
def test_what_doesnt_change_it_makes_none(same: dict[str, Any]) -> None:
    assert kind(same) == kind({})


@pytest.mark.parametrize("other", ["49", 33, None])
def test_the_frames_of_a_video_make_another_kind(other: Any) -> None:
    shorter = {"dataset_type": "video", "video": {"num_frames": other}}
    assert len({kind({}, datasets) for datasets in ([], [VIDEO], [shorter], [VIDEO, shorter])}) == 4


def test_frames_that_cant_be_read_put_the_cost_in_doubt() -> None:
    datasets = [{"id": "a"}, {"dataset_type": "video", "video": {"num_frames": "many"}}]
    assert read_config(CONFIG, datasets).doubt.startswith(
        'num_frames of dataset 2 is "many", which is not a whole number'
    )


def test_ranks_that_take_about_as_long_are_of_one_kind() -> None:
    assert kind({"lora_rank": 8}) == kind({"lora_rank": "32"}) != kind({"lora_rank": 33})
    assert kind({"lora_rank": 10_000}) == kind({"lora_rank": 20_000}) != kind({"lora_rank": 1024})


def test_the_load_of_validations_makes_kinds_within_which_a_step_takes_about_as_long() -> None:
    loads = [kind({**VALIDATIONS, "num_validation_images": images}) for images in (1, 2, 4, 8, 100)]
    assert len(set(loads)) == 5
    near = {**VALIDATIONS, "num_validation_images": 100}
    assert kind(near) == kind({**near, "num_validation_images": 105})


@given(
    family=st.text(min_size=1, max_size=400),
    batches=st.tuples(st.integers(1, 500), st.integers(1, 500)),
    options=st.dictionaries(
        st.sampled_from(["optimizer", "model_flavour", "pretrained_model_name_or_path"]), st.text(max_size=300)
    ),
)
@settings(max_examples=200)
def test_a_kind_is_bounded_and_tells_batches_apart_however_long_its_names_are(
    family: str, batches: tuple[int, int], options: dict[str, str]
) -> None:
    config = {**options, "model_family": family}
    kinds = [kind({**config, "train_batch_size": batch}) for batch in batches]
    assert max(map(len, kinds)) <= KIND_CHARACTERS
    assert (kinds[0] == kinds[1]) == (batches[0] == batches[1])
    assert kind({"train_batch_size": str(batches[0]), **dict(reversed(config.items()))}) == kinds[0]


def test_what_is_not_given_is_no_part_of_the_key() -> None:
    assert kind({}) == '{"family": "flux", "type": "lora"}'


def test_kinds_as_texts() -> None:
    assert kind_text(read_config(CONFIG)) == "flux LoRA"
    video = {**CONFIG, "model_family": "wan", "resolution": 512}
    assert kind_text(read_config(video, [VIDEO])) == "wan LoRA at 512 pixels, 81 frames"
    assert kind_text(read_config({**video, "train_batch_size": 4, **VALIDATIONS}, [VIDEO])) == (
        "wan LoRA at 512 pixels, 81 frames, in batches of 4 with validations"
    )


def test_a_pass_of_a_validation_takes_a_third_of_a_step_of_batch_1() -> None:
    assert batches_per_step(read_config({**CONFIG, "train_batch_size": 4})) == 4
    validated = read_config({**CONFIG, "train_batch_size": 4, **VALIDATIONS})
    assert batches_per_step(validated) == pytest.approx(4 + 12 * 60 / 1000 / 3)


@pytest.mark.parametrize("key", ["num_validation_images", "gradient_checkpointing", "lora_rank", "optimizer"])
def test_a_run_whose_kind_cant_be_read_tells_nothing(key: str) -> None:
    config = {**CONFIG, **VALIDATIONS}
    assert pace_of(config, step=1000, first_step=None, duration_ms=600_000) is not None
    assert pace_of({**config, key: [1]}, step=1000, first_step=None, duration_ms=600_000) is None


RESUMED = {"resume_from_checkpoint": "latest"}
BY_EPOCHS = {"max_train_steps": None, "num_train_epochs": 3}


@pytest.mark.parametrize(
    ("config", "step", "first_step", "duration_ms", "pace"),
    [
        ({}, 1000, None, 600_000, 0.6),
        ({}, 1000, 400, 600_000, 1.0),
        (RESUMED, 1000, 0, 600_000, 0.6),
        (RESUMED, 1000, 400, 600_000, 1.0),
        (RESUMED, 1000, None, 600_000, None),
        ({"resume_from_checkpoint": 7}, 1000, None, 600_000, None),
        ({}, 1000, 1000, 600_000, None),
        ({}, 999, 1000, 600_000, None),
        ({}, 1, None, 60_001, 60.001),
        ({}, 1, None, 60_000, None),
        ({}, 101, None, 101, 0.001),
        ({}, 100, None, 60_000, None),
        ({}, 1001, None, 600_000, None),
        (BY_EPOCHS, 1001, 1, 600_000, 0.6),
    ],
)
def test_a_run_tells_the_time_of_the_steps_that_it_made(
    config: dict[str, Any], step: int, first_step: int | None, duration_ms: int, pace: float | None
) -> None:
    told = pace_of({**CONFIG, **config}, step=step, first_step=first_step, duration_ms=duration_ms)
    if pace is None:
        assert told is None
        return
    assert told is not None
    assert told[0] == kind(config)
    assert told[1] == pytest.approx(pace)


@pytest.mark.parametrize(
    ("config", "datasets", "text"),
    [
        ({"model_family": None, "model_type": None}, [], "a model without a name"),
        ({"model_type": None, "lora_type": "lycoris"}, [], "flux LyCORIS"),
        ({"model_type": "full"}, [{"resolution": 512}, {"resolution": 1024}], "flux full at 512 and 1024 pixels"),
        ({}, [{"dataset_type": "video"}], "flux LoRA"),
        ({}, [{"num_frames": 1}], "flux LoRA, 1 frame"),
        ({}, [{"num_frames": 1}, {"num_frames": 33}], "flux LoRA, 1 and 33 frames"),
        ({"train_batch_size": 2}, [], "flux LoRA in batches of 2"),
        ({"model_family": "<b>"}, [], "LoRA"),
    ],
)
def test_what_a_kind_is_called(config: dict[str, Any], datasets: list[Any], text: str) -> None:
    assert kind_text(read_config({**CONFIG, **config}, datasets)) == text
