"""Which of several bars is the training's, and what comes of its figures in pieces."""

from __future__ import annotations

import pytest

from jobs.curves.series import Series, read_series
from jobs.providers.progress import read_progress

LR = ", lr=0.0001"


def bar(step: int, total: int, more: str = "", name: str = "") -> str:
    return f"{name} {100 * step // total:3}%|###   | {step}/{total} [00:10<00:10,  5.0it/s{more}]\n"


def named(step: int, total: int, more: str = "") -> str:
    return bar(step, total, more, name="first-light:")


@pytest.mark.parametrize(
    ("log", "step", "total"),
    [
        # Of two that are equally sure the longer one.
        (bar(10, 10) + bar(2, 5), 10, 10),
        (bar(5, 10) + bar(3, 100), 3, 100),
        (bar(5, 100) + bar(3, 10), 5, 100),
        # One that shows a learning rate takes the place of any that shows none.
        (bar(10, 1000) + bar(7, 50, LR), 7, 50),
        (named(10, 1000) + bar(7, 50, LR), 7, 50),
        # A named one takes an unnamed one's when that is over, or when it is longer.
        (bar(10, 10) + named(2, 5), 2, 5),
        (bar(5, 10) + named(2, 50), 2, 50),
        (bar(5, 10) + named(2, 5), 5, 10),
        # An unnamed one takes a named one's when that is over and it is longer.
        (named(10, 10) + bar(2, 50), 2, 50),
        (named(10, 10) + bar(2, 5), 10, 10),
        (named(5, 10) + bar(2, 50), 5, 10),
        # One that shows a learning rate gives its place to none that shows none.
        (bar(10, 10, LR) + bar(2, 50), 10, 10),
        (bar(10, 10, LR) + named(2, 50), 10, 10),
        # However many of one bar there are: also where the learning rate is shown now and then alone.
        (bar(5, 50, LR) + bar(6, 50) + bar(7, 50) + bar(1, 2000), 7, 50),
    ],
)
def test_which_bar_is_the_trainings(log: str, step: int, total: int) -> None:
    progress = read_progress(log)
    assert (progress.step, progress.total) == (step, total)


def test_another_bars_figures_are_in_no_series() -> None:
    log = bar(50, 100, f"{LR}, loss=0.5") + bar(3, 10, ", loss=9.0") + bar(51, 100, f"{LR}, loss=0.4")
    assert read_series(log).series["loss"] == [(50, 0.5), (51, 0.4)]


def test_a_series_in_pieces_repeats_steps_and_has_pieces_without_a_figure() -> None:
    series = Series()
    for piece in (
        bar(1, 10, ", loss=0.9") + bar(2, 10, ", loss=0.8"),
        "nothing\n",
        bar(2, 10, ", loss=0.7") + bar(3, 10, ", loss=0.6"),
        bar(1, 10, ", loss=0.5"),
    ):
        series.read(piece)
    assert series.curves().series["loss"] == [(1, 0.5), (2, 0.7), (3, 0.6)]
    assert series.curves(bar(4, 10, ", loss=0.4")).series["loss"][-1] == (4, 0.4)


@pytest.mark.parametrize("text", ["lr: 1e-4", "learning_rate: 1e-4", "learning rate=1e-4"])
def test_a_learning_rate_by_itself_is_a_point(text: str) -> None:
    assert read_series(f"Step 5/10 {text}\n").series == {"loss": [], "learning_rate": [(5, 1e-4)]}
