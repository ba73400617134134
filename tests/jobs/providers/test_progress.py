"""A log tells its stage, its count and its figures, however the trainer words it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.curves.series import read_series
from jobs.providers.progress import Progress, read_progress

pytestmark = pytest.mark.slow

SAMPLES = json.loads((Path(__file__).parent / "data" / "progress_samples.json").read_text())
EXPECTED = [
    pytest.param(sample["line"], field, value, id=f"{sample['id']}-{field}")
    for sample in SAMPLES
    for field, value in sample["expect"].items()
]
BAR = (
    "Epoch 1/1, Steps:  {percent}%|####      | {step}/{total} [08:19<11:40,  1.20s/it, lr=9.34e-5, step_loss={loss}]\r"
)


def bar(step: int, total: int = 100, loss: float | str = 0.5) -> str:
    return BAR.format(percent=100 * step // total, step=step, total=total, loss=loss)


@pytest.mark.parametrize(("line", "field", "value"), EXPECTED)
def test_it_reads_what_real_trainers_print(line: str, field: str, value: Any) -> None:
    assert getattr(read_progress(line), field) == value


@pytest.mark.parametrize("sample", SAMPLES, ids=lambda sample: sample["id"])
def test_it_shows_at_most_80_characters_of_a_line(sample: dict[str, Any]) -> None:
    assert len(read_progress(sample["line"]).last_log or "") <= 80


# The document's own words.


@pytest.mark.parametrize(
    ("line", "stage"),
    [
        ("Preprocessing dataset", "Preprocessing"),
        ("Loading model weights", "Preprocessing"),
        ("Warming up the model", "Warmup"),
        ("LR warmup in progress", "Warmup"),
        ("step 12", "Training"),
        ("Epoch 2", "Training"),
        ("Running validation", "Validation"),
        ("Validating at step 50/100", "Validation"),
        ("Saving checkpoint", "Saving checkpoint"),
        ("Step 50/100: saving checkpoint", "Saving checkpoint"),
    ],
)
def test_it_tells_the_stage_by_the_words_of_the_line(line: str, stage: str) -> None:
    assert read_progress(line).stage == stage


@pytest.mark.parametrize(
    "line",
    [
        "Gradient checkpointing enabled",
        "validation_steps: 50",
        "resume_from_checkpoint: latest",
        "lr_warmup_steps = 100",
        "Uploading model",
        "num_train_epochs: 10",
        "",
    ],
)
def test_it_takes_no_setting_for_a_stage(line: str) -> None:
    assert read_progress(line).stage is None


@pytest.mark.parametrize(
    ("line", "percent"),
    [
        ("step 1500/5000", 30.0),
        ("Step 1500/5000 - loss: 0.0234", 30.0),
        ("Step 1500 of 5000", 30.0),
        ("Steps: 1,500/5,000", 30.0),
        ("global_step=1500/5000", 30.0),
        ("Step [1500/5000]", 30.0),
        ("epoch 3/10", 30.0),
        ("Epoch 3/10, step 1500/5000", 30.0),
        ("Saving checkpoint at step 1500/5000", 30.0),
        ("step 6000/5000", 100.0),
        ("step 5/0", None),
        ("epoch 3/0", None),
        ("validation step 3/10", None),
        ("Step 2/5: Preprocessing", None),
        ("timestep 3/10", None),
        ("1/4", None),
        ("steps: 250", None),
    ],
)
def test_it_computes_the_percentage_from_the_counts(line: str, percent: float | None) -> None:
    assert read_progress(line).percent == percent


def test_it_reads_the_example_of_the_document() -> None:
    progress = read_progress("Step 1500/5000 - loss: 0.0234")
    assert progress == Progress(
        stage="Training",
        percent=30.0,
        step=1500,
        total=5000,
        loss=0.0234,
        last_log="Step 1500/5000 - loss: 0.0234",
    )


# Which line wins.


@pytest.mark.parametrize("line", ["Loading samples", "Saving checkpoint", "Running validation", "Warming up"])
def test_a_later_line_without_a_count_hides_no_percentage(line: str) -> None:
    assert read_progress(bar(42) + "\n" + line).percent == 42.0


def test_the_last_line_that_tells_a_stage_wins() -> None:
    assert read_progress(bar(42) + "\nSaving checkpoint\nall is well\n").stage == "Saving checkpoint"


def test_a_training_bar_after_a_checkpoint_means_training_again() -> None:
    assert read_progress("Saving checkpoint at step 42\n" + bar(43)).stage == "Training"


def test_the_last_of_many_bars_wins() -> None:
    assert read_progress("".join(bar(step) for step in range(60))).step == 59


def test_the_last_of_bars_glued_together_wins() -> None:
    assert read_progress((bar(41) + bar(42)).replace("\r", "")).step == 42


def test_steps_outweigh_epochs() -> None:
    assert read_progress("Epoch 9/10\n" + bar(42)).percent == 42.0


def test_a_lone_step_counts_towards_a_total_said_before() -> None:
    assert read_progress("  Total optimization steps = 1000\nSaving at step 250").percent == 25.0


def test_a_bar_cut_off_in_the_middle_is_not_half_believed() -> None:
    cut = bar(42, loss=0.1234)[:-4]
    assert read_progress(bar(41, loss=0.5) + cut).loss == 0.5


def test_a_nan_hides_the_loss_before_it() -> None:
    assert read_progress(bar(41, loss=0.5) + bar(42, loss="nan")).loss is None


def test_the_summary_of_a_change_is_not_a_loss() -> None:
    assert read_progress(bar(42, loss=0.25) + "\nTraining complete: loss on held-out images 1.02 -> 0.11").loss == 0.25


# Bars that aren't the training's.


@pytest.mark.parametrize(
    "line",
    [
        "model.safetensors:  45%|####      | 450/1000 [00:10<00:12, 120MB/s]",
        "model.safetensors:  45%|####      | 1.2G/2.7G [00:10<00:12, 120MB/s]",
        "Map:  45%|####      | 450/1000 [00:10<00:12, 500 examples/s]",
        "Map:  45%|####      | 450/1000 [00:10<00:12, 45it/s]",
        "Fetching 12 files:  50%|#####     | 6/12 [00:10<00:12,  1.00it/s]",
        "Generating:  50%|#####     | 6/12 [00:10<00:12,  1.00it/s]",
        "Epoch 3:  45%|####      | 450/1000 [00:10<00:12, 45it/s]",
        "Steps:  45%|####      | 450/1000 [00:10<00:12, 45batch/s]",
    ],
)
def test_it_counts_no_other_bar_as_steps(line: str) -> None:
    assert read_progress(line).step is None


def test_an_unnamed_bar_of_another_length_is_not_the_training() -> None:
    sampling = " 50%|#####     | 15/30 [00:10<00:10,  1.00it/s]"
    progress = read_progress(bar(42) + "\nRunning validation\n" + sampling)
    assert (progress.stage, progress.percent) == ("Validation", 42.0)


def test_the_longer_of_two_unnamed_bars_is_the_training() -> None:
    training, evaluation = " 10%|#| 30/300 [00:45<06:49,  1.52s/it]", " 50%|#| 5/10 [00:01<00:01,  5.00it/s]"
    assert read_progress(f"{training}\n{evaluation}").step == 30


def test_an_unnamed_bar_is_measured_against_what_was_known() -> None:
    previous = Progress(stage="Validation", percent=42.0, step=42, total=100)
    assert read_progress(" 50%|#| 15/30 [00:10<00:10,  1.00it/s]", before=previous).percent == 42.0


@pytest.mark.parametrize("prefix", ["[INFO] ", "(train pid=123) ", "2026-01-01T00:00:00.123Z "])
def test_it_reads_a_bar_behind_the_words_of_a_collector(prefix: str) -> None:
    assert read_progress(prefix + "Steps:  10%|#         | 50/500 [01:01<09:09,  1.22s/it]").step == 50


# What is kept from before.


def test_an_empty_piece_keeps_everything() -> None:
    previous = Progress("Training", 42.0, 42, 100, 1, 3, 0.5, 1e-4, 700, "as it was")
    assert read_progress("", before=previous) == previous


def test_a_percentage_known_without_its_counts_is_kept() -> None:
    assert read_progress("Saving checkpoint", before=Progress(percent=42.0)).percent == 42.0


def test_a_step_after_a_known_total_moves_the_percentage() -> None:
    assert read_progress("Saving at step 50", before=Progress(step=42, total=100)).percent == 50.0


def test_an_epoch_moves_nothing_once_steps_are_known() -> None:
    assert read_progress("Epoch 9/10", before=Progress(percent=42.0, step=42, total=100)).percent == 42.0


def test_a_log_read_in_pieces_tells_the_same_as_in_one() -> None:
    log = "Loading model\nWarming up\n" + bar(10, loss=0.9) + bar(20, loss=0.8) + "\nSaving checkpoint\n"
    cut = log.index("\r") + 1
    first = read_progress(log[:cut])
    assert read_progress(log[cut:], before=first) == read_progress(log)


# The last line.


@pytest.mark.parametrize(
    ("text", "last"),
    [
        ("one\ntwo  \n\n", "two"),
        ("one\rtwo\r\n", "two"),
        ("\x1b[32mgreen\x1b[0m\n", "green"),
        ("a\x00b\n \n", "ab"),
        ("x" * 80, "x" * 80),
        ("x" * 81, "x" * 77 + "..."),
        ("\n \n", None),
    ],
)
def test_the_last_line_is_shown_without_decoration(text: str, last: str | None) -> None:
    assert read_progress(text).last_log == last


# Hostile text: each of these is a megabyte, and the suite's time limit is the judge.


@pytest.mark.slow
@pytest.mark.timeout(20)
@pytest.mark.parametrize(
    "piece",
    [
        *("x", "1", " ", "_", "|", "%|", "\n", "\r", " \r", "\x00\n", "\x1b", "\x1b[", "\x1b]0;"),
        *("step ", "step 1,111,", "step 1/", "epoch 1/", "loss", "loss=", "lr ", "checkpoint", "checkpoint_", "[["),
        *("1%|", "1%||1/1[", "validation ", "total optimization steps ", "a_loss=1e", "loss -> 1\n", "step\n"),
        *("step 1/1 a=", "a=1 ", "a_b 1 ", "a_", "a: ", "vram=1/", "2026-01-01 ", "step 1/1 loss=1 a_b.c/d*e-f=1,\n"),
    ],
)
def test_a_hostile_megabyte_takes_linear_time(piece: str) -> None:
    text = piece * (1_000_000 // len(piece))
    assert read_progress(text).percent in (None, 100.0)
    assert "loss" in read_series(text).series


WORDS = st.sampled_from(
    [
        "step ",
        "Steps: ",
        "epoch ",
        "1/",
        "3/10",
        "42%|#| ",
        "42/100 [",
        "it/s]",
        "loss=",
        "nan",
        "lr=1e",
        "\x1b[",
        "\n",
        "]",
    ]
)


@given(st.lists(WORDS | st.text(max_size=5) | st.integers().map(str), max_size=30).map("".join))
def test_no_text_breaks_it(text: str) -> None:
    progress = read_progress(text, before=read_progress(text[::-1]))
    assert 0 <= (progress.percent or 0) <= 100
    assert len(progress.last_log or "") <= 80


@given(st.integers(0, 10**12), st.integers(0, 10**12))
def test_no_count_breaks_it(step: int, total: int) -> None:
    assert 0 <= (read_progress(f"step {step}/{total}").percent or 0) <= 100
