"""Every figure of a log by step, as the trainers that people use write them."""

from __future__ import annotations

import pytest

from jobs.curves import series as series_module
from jobs.curves.series import Curves, read_series

SPEED = "steps_per_second"


def bar(step: int, *, loss: object = 0.0873, rate: str = "9.34e-5") -> str:
    return f"Epoch 1/1, Steps:  42%|#| {step}/1000 [08:19<11:40,  1.20s/it, lr={rate}, step_loss={loss}]\r"


def test_a_series_has_one_point_a_step_and_the_last_wins() -> None:
    series = read_series(bar(1, loss=0.9) + bar(1, loss=0.8) + bar(2, loss=0.7)).series
    assert (series["loss"], series["learning_rate"]) == ([(1, 0.8), (2, 0.7)], [(1, 9.34e-5), (2, 9.34e-5)])


def test_what_is_not_finite_is_a_gap() -> None:
    curves = read_series(bar(1, loss="nan") + bar(2, loss=0.7) + bar(3, loss="inf") + bar(4, loss="-inf"))
    assert curves.series["loss"] == [(2, 0.7)]
    assert curves.gaps == {"loss": [(1, 1), (3, 4)]}


def test_a_value_without_a_step_belongs_to_the_step_before_it() -> None:
    log = " 10%|#| 30/300 [00:45<06:49,  1.52s/it]\n{'loss': 1.25, 'learning_rate': 1e-05, 'epoch': 0.1}"
    assert read_series(log).series == {"loss": [(30, 1.25)], "learning_rate": [(30, 1e-5)], SPEED: [(30, 1 / 1.52)]}


@pytest.mark.parametrize(
    "line",
    [
        "Validation loss 0.3",
        "{'eval_loss': 0.3, 'epoch': 1.0}",
        "validation steps:   8%|#| 3/40 [00:02<00:24,  1.50it/s, val_avg_loss=0.3]",
        "Validating:   8%|#| 3/40 [00:02<00:24,  1.50it/s, loss=0.3]",
    ],
)
def test_a_validation_loss_has_a_series_of_its_own(line: str) -> None:
    series = read_series(bar(50, loss=0.5) + "\n" + line).series
    assert (series["loss"], series["validation_loss"]) == ([(50, 0.5)], [(50, 0.3)])


def test_a_resumed_training_overwrites_the_steps_it_repeats() -> None:
    assert read_series(bar(1, loss=0.9) + bar(2, loss=0.8) + bar(1, loss=0.5)).series["loss"] == [(1, 0.5), (2, 0.8)]


def test_a_log_without_figures_gives_empty_series() -> None:
    assert read_series("nothing here") == Curves({"loss": [], "learning_rate": []})


# Of each trainer.


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        pytest.param(
            "Epoch 4/10, Steps: 42%|| 416/1000 [08:19<11:40, 1.25s/it, grad_absmax=0.3, lr=9e-5, step_loss=0.0873]",
            {"loss": 0.0873, "learning_rate": 9e-5, "grad_absmax": 0.3, SPEED: 0.8},
            id="simpletuner",
        ),
        pytest.param(
            "Epoch 1/1, Steps: 2%|| 12/500 [01:36<05:04, 8.00s/it, a_loss=0.21, lr=1e-5, step_loss=0.332, v_loss=0.31]",
            {"loss": 0.332, "learning_rate": 1e-5, "a_loss": 0.21, "v_loss": 0.31, SPEED: 0.125},
            id="simpletuner-video",
        ),
        pytest.param(
            "Step 416 of 1000: loss 0.0873, lr 9.34e-05, epoch 4/10, ema_decay_value None, grad_norm 0.5",
            {"loss": 0.0873, "learning_rate": 9.34e-5, "grad_norm": 0.5},
            id="simpletuner-message",
        ),
        pytest.param(
            "steps:  10%|#| 160/1600 [05:12<46:48,  2.00it/s, Average key norm=1.5, avr_loss=0.0912]",
            {"loss": 0.0912, "norm": 1.5, SPEED: 2.0},
            id="kohya",
        ),
        pytest.param(
            "flux_lora_v1:  12%|#| 250/2000 [10:12<1:11:24,  2.50s/it, lr: 1.0e-04 loss: 4.123e-01]",
            {"loss": 0.4123, "learning_rate": 1e-4, SPEED: 0.4},
            id="ai-toolkit",
        ),
        pytest.param(
            "step 30/300 {'loss': 1.25, 'grad_norm': 0.5432, 'learning_rate': 1.9e-05, 'epoch': 0.1}",
            {"loss": 1.25, "grad_norm": 0.5432, "learning_rate": 1.9e-5},
            id="transformers",
        ),
        pytest.param(
            "Iter(train) [ 50/300]  lr: 1.0e-04  eta: 0:14:22  time: 0.35  data_time: 0.01  memory: 22528  loss: 0.9",
            {"loss": 0.9, "learning_rate": 1e-4, "time": 0.35, "data_time": 0.01, "vram": 22.0},
            id="mmengine",
        ),
        pytest.param("step 5/9 vram: 22.4/24.0 GB", {"vram": 22.4}, id="memory-of-all"),
        pytest.param("step 5/9 gpu_mem=2048MiB img/s=3.5", {"vram": 2.0, "images_per_second": 3.5}, id="units"),
        pytest.param("step 5/9 | train/loss=0.5 | val_loss=0.7", {"loss": 0.5, "validation_loss": 0.7}, id="slashes"),
        pytest.param("step 5/9 loss: 0.5 -> 0.4 a_b: 1 -> 2", {}, id="arrow"),
        pytest.param("step 5/9 train_loss=0.5 step_loss=0.7", {"loss": 0.7, "train_loss": 0.5}, id="two-losses"),
    ],
)
def test_every_figure_of_a_line_has_its_curve(line: str, expected: dict[str, float]) -> None:
    figures = {name: points for name, points in read_series(line).series.items() if points}
    assert {name: values for name, [(_, values)] in figures.items()} == pytest.approx(expected)


@pytest.mark.parametrize(
    "line",
    [
        "INFO resizing images to 1024 max_side=1024 workers: 4",
        "validation steps:   8%|#| 3/40 [00:02<00:24,  1.50it/s, timestep=200]",
        "Caching latents:  42%|####| 5/12 [00:01<00:01,  3.57it/s, size=3]",
        "2026-01-01 12:00:00 seed: 42 rank=0",
    ],
)
def test_a_number_that_is_not_of_the_training_has_none(line: str) -> None:
    assert read_series(bar(5) + line).series.keys() == {"loss", "learning_rate", SPEED}


@pytest.mark.parametrize("line", ["GPU memory: vram 3 vram=20GB", "grad_norm: 0.25", "img/s: 3"])
def test_some_are_figures_on_a_line_of_their_own(line: str) -> None:
    [name] = read_series(bar(5) + line).series.keys() - {"loss", "learning_rate", SPEED}
    assert name in ("vram", "grad_norm", "images_per_second")


def test_more_names_than_a_page_can_show_have_no_curves(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(series_module, "MAX_NAMES", 4)
    log = "step 1/9 a_a=1 a_b=2\nstep 2/9 a_c=3 a_d=4 a_a=5\nstep 3/9 a_e=3 a_b=7"
    assert read_series(log).series == {
        "loss": [],
        "learning_rate": [],
        "a_a": [(1, 1), (2, 5)],
        "a_b": [(1, 2), (3, 7)],
    }


# Gaps and times.


def test_a_gap_that_is_trained_again_is_none() -> None:
    log = "".join(
        f"step {step}/9 loss: {loss}\n" for step, loss in ((1, 1), (2, "nan"), (3, "nan"), (4, 1), (5, "nan"))
    )
    assert read_series(log).gaps == {"loss": [(2, 3), (5, 5)]}
    assert read_series(log + "step 3/9 loss: 2\nstep 4/9 loss: nan\n").gaps == {"loss": [(2, 2), (4, 5)]}


def test_a_bar_that_begins_anew_goes_on_in_time() -> None:
    def at(step: int, time: str) -> str:
        return f"Steps: 1%|#| {step}/99 [{time}<?, ?it/s, loss=1]\n"

    log = at(1, "00:10") + at(2, "1:00:00") + at(2, "00:00") + at(3, "00:30")
    assert read_series(log).seconds == [(1, 10), (2, 3600), (3, 3630)]


@pytest.mark.parametrize(
    "times",
    [
        ("2026-02-28 23:59:50,123 - INFO - ", "2026-03-01 00:00:20,001 - INFO - "),
        ("[2026-02-28T23:59:50Z] ", "[2026-03-01T00:00:20Z] "),
        ("02/28/2026 23:59:50 - INFO - __main__ - ", "03/01/2026 00:00:20 - INFO - __main__ - "),
    ],
)
def test_lines_with_a_date_have_their_times(times: tuple[str, str]) -> None:
    assert read_series("".join(f"{time}step {step}/9\n" for step, time in enumerate(times))).seconds == [
        (0, 0),
        (1, 30),
    ]


def test_a_date_that_is_none_is_no_time() -> None:
    assert read_series("2026-02-31 23:59:50 step 1/9 loss: 1\n").seconds == []


def test_a_log_that_begins_with_dates_and_goes_on_with_bars_has_one_time() -> None:
    log = "2026-02-28 10:00:00 step 1/9\n2026-02-28 10:01:00 step 2/9\nSteps: 1%|#| 3/9 [00:05<00:09, 1.0it/s]\n"
    log += "2026-02-28 10:02:00 step 4/9\nSteps: 1%|#| 5/9 [00:07<00:09, 1.0it/s]\n"
    assert read_series(log).seconds == [(1, 0), (2, 60), (3, 60), (5, 62)]
