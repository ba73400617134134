from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.configs.option_names import full_name
from jobs.configs.reading import (
    LARGEST_NUMBER,
    ContradictionError,
    contradictions,
    options_of,
    read_config,
    whole_number,
)
from jobs.sample_trainer.config import read_settings
from jobs.sample_trainer.errors import ConfigError


@pytest.mark.parametrize(
    "key",
    [
        "max_train_steps",
        "--max_train_steps",
        "--max-train-steps",
        "max-train-steps",
        " --max_train_steps ",
        "-- max_train_steps",
        "max_train_st",
    ],
)
def test_each_spelling_that_a_trainer_takes_is_read(key: str) -> None:
    assert read_config({key: 300}).steps == 300


@pytest.mark.parametrize("value", [300, "300", " 300 ", 300.0])
def test_a_number_of_steps_may_be_written_in_these_ways(value: Any) -> None:
    assert read_config({"max_train_steps": value}).steps == 300


NO_TEXTS = ["1.5", "-5", "+5", "1_000", "1e3", "３００", "", "many", "9" * 4000]
NO_NUMBERS = [True, 1.5, float("inf"), float("nan"), -5, [5], {}, LARGEST_NUMBER + 1, 1e30, 100_000_000_000]


@pytest.mark.parametrize("value", [*NO_TEXTS, *NO_NUMBERS])
def test_what_is_no_number_of_steps_is_not_known_and_says_which_key_it_is(value: Any) -> None:
    reading = read_config({"--max_train_steps": value})
    assert reading.steps is None
    assert "--max_train_steps" in reading.doubts["steps"]


def test_steps_that_are_not_given_are_not_known() -> None:
    assert read_config({}).doubts["steps"] == "max_train_steps is not set."
    assert read_config({"max_train_steps": 0, "num_train_epochs": 0}).steps is None


def test_epochs_are_no_number_of_steps() -> None:
    assert read_config({"num_train_epochs": 3}).steps is None
    assert "num_train_epochs" in read_config({"num_train_epochs": 3, "max_train_steps": 0}).doubts["steps"]


def test_steps_beside_epochs_are_not_known_because_trainers_differ() -> None:
    reading = read_config({"max_train_steps": 1, "num_train_epochs": 100_000})
    assert reading.steps is None
    assert {"max_train_steps", "num_train_epochs"} <= set(reading.doubts["steps"].replace(",", "").split())


@pytest.mark.parametrize(
    "key",
    [
        *(
            "MAX_TRAIN_STEPS",
            "max_tr",
            "--max_train_steps=100000",
            "max_train_steps 100000",
            "training.max_train_steps",
        ),
        *("\u200bmax_train_steps", "\ufeffmax_train_steps", "max_train_steps\u200b", "\u2013max_train_steps"),
        *("\uff4dax_train_steps", "max_steps", "num_epochs", "--epochs", "steps"),
    ],
)
def test_a_key_that_one_trainer_takes_and_another_does_not_puts_the_steps_in_doubt(key: str) -> None:
    reading = read_config({"max_train_steps": 1, key: True})
    assert reading.steps is None
    assert repr(key) in reading.doubts["steps"]


def test_two_spellings_with_different_values_contradict_each_other() -> None:
    [sentence] = contradictions({"--max_train_steps": 10, "max_train_steps": 1_000_000})
    assert "'--max_train_steps'" in sentence
    assert "'max_train_steps'" in sentence
    with pytest.raises(ContradictionError):
        options_of({"--max_train_steps": 10, "max_train_steps": 1_000_000})


@pytest.mark.parametrize("other", [10, "10", 10.0, None])
def test_two_spellings_of_one_value_do_not(other: Any) -> None:
    config = {"--max_train_steps": 10, "max-train-steps": other}
    assert contradictions(config) == []
    assert read_config(config).steps == 10
    assert whole_number(options_of(config)["max_train_steps"]) == 10


def test_true_and_one_are_not_one_value() -> None:
    assert contradictions({"--train_batch_size": 1, "train_batch_size": True})


def test_ai_toolkits_nested_settings_are_read() -> None:
    process = {"train": {"steps": 3000, "batch_size": 2, "gradient_accumulation": 4}, "network": {"type": "lora"}}
    reading = read_config({"job": "extension", "config": {"process": [process]}})
    assert (reading.steps, reading.batch_size, reading.accumulation, reading.adapter) == (3000, 2, 4, "lora")


@pytest.mark.parametrize("key", ["Steps", "--steps", "max_steps", "epochs", "max_train_steps"])
def test_a_second_length_beside_ai_toolkits_steps_puts_them_in_doubt(key: str) -> None:
    reading = read_config({"config": {"process": [{"train": {"steps": 1, key: 100_000}}]}})
    assert reading.steps is None
    assert repr(key) in reading.doubt


@pytest.mark.parametrize("section", ["config", "training_arguments"])
@pytest.mark.parametrize("key", ["max_train_steps", "--num-train-epochs", "MAX_TRAIN_STEPS", "train_batch_size"])
def test_a_setting_in_a_section_is_in_doubt_because_some_trainers_read_it(section: str, key: str) -> None:
    reading = read_config({"max_train_steps": 1, section: {key: 100_000}})
    assert f"{key!r} in {section}" in reading.doubt


def test_a_section_without_such_settings_leaves_the_steps_known() -> None:
    assert read_config({"max_train_steps": 5, "lycoris_config": {"rank": 16, "epoch": 1}}).steps == 5


def test_several_processes_are_not_added_up() -> None:
    config = {"config": {"process": [{"train": {"steps": 10}}, {"train": {"steps": 100_000}}]}}
    assert read_config(config).steps is None


def test_a_nested_number_of_steps_that_differs_from_the_plain_one_contradicts_it() -> None:
    config = {"max_train_steps": 1, "config": {"process": [{"train": {"steps": 100_000}}]}}
    assert read_config(config).steps is None
    assert contradictions(config)


@pytest.mark.parametrize(
    ("value", "side"), [(1024, 1024), ("512,768", 768), ("1024x1024", 1024), (1.0, None), ("x", None), (True, None)]
)
def test_a_resolution_is_its_longer_side_in_pixels(value: Any, side: int | None) -> None:
    assert read_config({"resolution": value}).resolution == side


@pytest.mark.parametrize(
    ("value", "size"),
    [
        *((512, 512), (513, 512), ("768x512", 768), (1024, 1024), (1400, 1536), (100_000, 8192)),
        *((1.0, 1024), (1, 1024), ("1.0", 1024), (0.25, 512), ("0.5", 768)),
        *((None, None), ("x", None), (True, None), (-1, None), (0, None), (float("inf"), None), (float("nan"), None)),
    ],
)
def test_a_size_in_pixels_or_megapixels_has_a_class(value: Any, size: int | None) -> None:
    reading = read_config({"resolution": value})
    assert reading.size_class == size
    assert (size is None and value is not None) == ("resolution" in reading.doubts)


@pytest.mark.parametrize(
    ("config", "key"),
    [
        ({"train_batch_size": "two"}, "train_batch_size"),
        ({"--gradient-accumulation-steps": 0}, "--gradient-accumulation-steps"),
        ({"resolution": [1024]}, "resolution"),
        ({"MODEL_TYPE": "full"}, "MODEL_TYPE"),
        ({"model_family": 7}, "model_family"),
        ({"max_train_steps": 0}, "max_train_steps"),
    ],
)
def test_a_doubt_about_what_decides_the_time_names_its_key(config: dict[str, Any], key: str) -> None:
    assert key in read_config({"max_train_steps": 10, **config}).doubt


def test_a_doubt_about_anything_else_is_none_about_the_time() -> None:
    assert read_config({"max_train_steps": 10, "resume_from_checkpoint": 7}).doubt == ""


def test_the_settings_of_two_trainers_in_one_config_are_not_known() -> None:
    process = {"train": {"steps": 10, "batch_size": 4}}
    reading = read_config({"max_train_steps": 10, "config": {"process": [process]}})
    assert reading.steps == 10
    assert "config.process[0].train.batch_size" in reading.doubt


def test_a_run_keeps_its_name_as_it_is_written() -> None:
    assert read_config({"--tracker-run-name": " Night Run "}).run_name == "Night Run"


@pytest.mark.parametrize("levels", [481, 900, 5000])
def test_a_value_nested_however_deep_is_shown_by_its_kind(levels: int) -> None:
    deep: Any = 1
    for _ in range(levels):
        deep = [deep]
    assert read_config({"max_train_steps": deep}).doubt.startswith(
        "max_train_steps is a list, which is not a whole number"
    )
    assert (
        read_config({"model_family": {"a": deep}}).doubts["family"] == "model_family is an object, which is not a text."
    )
    read_config({"max_train_steps": deep, "--max_train_steps": [deep]})


def test_a_shortening_of_several_options_means_none() -> None:
    assert full_name("max_tr") == "max_tr"
    assert full_name("--max_train_s") == "max_train_steps"


SPELLINGS = ["max_train_steps", "--max_train_steps", "max-train-steps", " max_train_steps", "max_train_s"]
DOUBTFUL = ["MAX_TRAIN_STEPS", "max_tr", "max_train_steps=5", "Train_Batch_Size", "train_batch_size 4"]
EPOCHS = ["num_train_epochs", "--num-train-epochs", "max_train_epochs"]
BATCHES = ["train_batch_size", "--train-batch-size", "train_batch_s", "train_b"]
KEYS = st.sampled_from([*SPELLINGS, *DOUBTFUL, *EPOCHS, *BATCHES])
VALUES = st.one_of(
    st.integers(-3, 2000),
    st.integers(-3, 2000).map(str),
    st.floats(allow_nan=False, allow_infinity=False, width=16),
    st.booleans(),
    st.none(),
    st.sampled_from(["", " 7 ", "7.0", "1_0", "1e2", "７", "0x10", "9" * 30]),
)
NESTED = st.fixed_dictionaries({}, optional={"steps": VALUES, "batch_size": VALUES}).map(
    lambda train: {"config": {"process": [{"train": train}]}}
)
CONFIGS = st.tuples(st.dictionaries(KEYS, VALUES, max_size=5), st.one_of(st.just({}), NESTED)).map(
    lambda parts: {**parts[0], **parts[1]}
)


@pytest.mark.slow
@given(config=CONFIGS)
def test_the_sample_trainer_makes_what_the_reading_says(
    config: dict[str, Any], tmp_path_factory: pytest.TempPathFactory
) -> None:
    path: Path = tmp_path_factory.getbasetemp() / "read.json"
    path.write_text(json.dumps(config))
    reading = read_config(config)
    if reading.doubt:
        return  # not known: each rule about cost holds it
    try:
        settings = read_settings(path)
    except ConfigError:
        return  # it makes none
    assert (settings.steps, settings.batch_size) == (reading.steps, reading.batch_size or 1)
