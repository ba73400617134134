"""The figures of one line of a trainer's log, by the names of their curves. Pure.

A line comes here in lower case, without ANSI sequences and cut to a bounded length, as `log_lines` has it, whose
patterns for loss and learning rate hold here too. Besides these two, any `name=number` counts that a line of the
training gives: of a bar what stands behind it, of a sentence what stands beside a step, a loss or a learning rate.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import date
from functools import lru_cache
from typing import NamedTuple

from jobs.providers import log_lines
from jobs.providers.log_lines import LOSS_RANKS, TRAINING, VALIDATION_NAME, Count

LOSS, LEARNING_RATE, VALIDATION_LOSS = "loss", "learning_rate", "validation_loss"
STEPS_PER_SECOND, IMAGES_PER_SECOND = "steps_per_second", "images_per_second"
#: In GB, whatever unit the log has.
VRAM = "vram"
GRADIENT_NORM = "grad_norm"

#: A line without a step that has none of them has no figures.
MARKS = ("loss", "lr", "learning", "grad", "vram", "mem", "/s", "per_sec")
_NAME = r"(?<![a-z0-9_./*-])(?P<name>[a-z][a-z0-9./*-]{0,39}(?P<joined>_[a-z0-9_./*-]{0,39})?)['\"]?"
_NUMBER = r"[-+]?(?:[0-9]{1,15}(?:\.[0-9]{0,25})?|\.[0-9]{1,25})(?:e[-+]?[0-9]{1,3})?|[-+]?(?:nan|inf)"
#: Of "22.1/24.0 GB" the first number. Without a mark between them only a name of several words has a number.
PAIR = re.compile(
    rf"{_NAME}(?: ?[:=] ?|(?(joined) |(?!)))['\"]?(?P<value>{_NUMBER})(?:/[0-9.]{{1,10}})?"
    r"(?: ?(?P<unit>gib|gb|mib|mb|g|m))?%?(?![a-z0-9_:./]|,[0-9]| {0,2}->)"
)
#: Behind the bracket of a bar: the time that has gone, the time that is left, and the rate.
BAR_TIMES = re.compile(
    r"(?:(?P<hours>[0-9]{1,5}):)?(?P<minutes>[0-9]{1,2}):(?P<seconds>[0-9]{2})<[^,\]]{1,20},\s{0,2}"
    r"(?:(?P<rate>[0-9]{1,7}(?:\.[0-9]{1,4})?) ?(?P<inverse>s/)?[a-z])?"
)
MOMENT = re.compile(
    r"(?P<date>[0-9]{2}(?:[0-9]{2}-[0-9]{2}-|/[0-9]{2}/[0-9]{2})[0-9]{2})[ t]"
    r"(?P<hours>[0-9]{2}):(?P<minutes>[0-9]{2}):(?P<seconds>[0-9]{2})"
)
#: A date stands at the beginning of a line, behind the words of a launcher.
MOMENT_WITHIN = 100
SECONDS_A_DAY = 86_400

#: Numbers that count or name something.
NO_FIGURES = frozenset(
    {
        *("step", "steps", "global_step", "epoch", "epochs", "iter", "iters", "iteration", "iterations", "eta"),
        *("total", "total_steps", "max_steps", "timestep", "timesteps", "seed", "rank", "pid", "port", "line", "gpu"),
        *("batch", "batch_idx", "batch_size", "train_batch_size", "device", "worker", "node", "rate"),
    }
)
OF_MEMORY = frozenset(
    {
        *("vram", "vram_used", "vram_gb", "vram_allocated", "gpu_mem", "gpu_memory", "gpu_ram", "gpu_mem_gb", "mem"),
        *("max_mem", "max_memory", "max_memory_allocated", "memory", "peak_mem", "peak_memory", "peak_vram"),
        *("cuda_mem", "cuda_memory", "memory_allocated", "gpu_memory_gb", "peak_vram_gb"),
    }
)
UNITS_IN_GB: Mapping[str, float] = {
    **dict.fromkeys(("gib", "gb", "g"), 1.0),
    **dict.fromkeys(("mib", "mb", "m"), 1 / 1024),
    "b": 1 / 1024**3,
}
LARGEST_GB = 1024
RATE_NAME = re.compile(r"(?:^|[^a-z_])(?:lr|learning_rate)$")
OTHER_NAMES: Mapping[str, str] = {
    **dict.fromkeys(("gradient_norm", "grad-norm", "gnorm", "train/grad_norm"), GRADIENT_NORM),
    **dict.fromkeys(("img/s", "imgs/s", "images/s", "samples/s", "images_per_sec", "img_per_sec"), IMAGES_PER_SECOND),
    **dict.fromkeys(("samples_per_sec", "samples_per_second", "train_samples_per_second"), IMAGES_PER_SECOND),
}
#: These are figures on a line of their own too.
ALONE = frozenset({VRAM, GRADIENT_NORM, IMAGES_PER_SECOND})


class LineFigures(NamedTuple):
    """The figures of a line by the names of their curves, NaN and infinity included, and what its bar has of time."""

    values: Mapping[str, float]
    #: The seconds since the bar of the line began.
    elapsed: float | None = None


def read_figures(line: str, count: Count | None) -> LineFigures:
    """Return the figures of a line of which `log_lines.read_count` says `count`."""
    bar = log_lines.read_bar(line) if log_lines.is_bar(line) else None
    if bar is None:
        has_step = count is not None and count.step is not None
        return LineFigures(_of_sentence(line, has_step) if has_step or any(mark in line for mark in MARKS) else {})
    if bar.stage != TRAINING or bar.steps is None:
        return LineFigures(_losses_and_rate(line))
    times = BAR_TIMES.match(bar.postfix)
    figures = _pairs(bar.postfix)
    if figures is None:
        figures = _other_figures(bar.postfix) | _losses_and_rate(line)
    if times and times[4] and (speed := float(times[4])):
        figures[STEPS_PER_SECOND] = 1 / speed if times[5] else speed
    return LineFigures(figures, _seconds(times) if times else None)


def _of_sentence(line: str, has_step: bool) -> dict[str, float]:
    figures = _pairs(line)
    if figures is None:
        figures = _other_figures(line) | _losses_and_rate(line)
    if has_step or figures.keys() & {LOSS, LEARNING_RATE, VALIDATION_LOSS}:
        return figures
    return {name: value for name, value in figures.items() if name in ALONE}


def _losses_and_rate(line: str) -> dict[str, float]:
    loss, validation = log_lines.read_losses(line)
    read = {LOSS: loss, LEARNING_RATE: log_lines.read_learning_rate(line), VALIDATION_LOSS: validation}
    return {name: value for name, value in read.items() if value is not None}


def _pairs(text: str) -> dict[str, float] | None:
    """Return the figures of a text that gives all of them as pairs; None when it says a loss or a rate otherwise.

    What it says otherwise needs `log_lines`' closer look at the words around it, which takes three times as long.
    """
    pairs = PAIR.findall(text)
    names, losses, rates = _curve_names(tuple([pair[0] for pair in pairs]))
    said = text.count("lr") + text.count("learning")
    if text.count("loss") != losses or said != rates or "->" in text:
        return None
    figures = {}
    for name, (_, _, value, unit) in zip(names, pairs, strict=True):
        if name == VRAM:
            figures[VRAM] = _in_gb(float(value), unit)
        elif name:
            figures[name] = float(value)
    return figures


def read_moment(line: str) -> float | None:
    """Return the time at the beginning of a line in seconds. Only differences between two of them mean anything."""
    found = MOMENT.search(line, 0, MOMENT_WITHIN)
    return _moment(found[0]) if found else None


@lru_cache(maxsize=16)
def _moment(text: str) -> float | None:
    found = MOMENT.fullmatch(text)
    day = _day(found["date"]) if found else None
    return day * SECONDS_A_DAY + _seconds(found) if found and day is not None else None


def _seconds(times: re.Match[str]) -> float:
    hours, minutes, seconds = times.group("hours", "minutes", "seconds")
    return float(int(hours or 0) * 3600 + int(minutes) * 60 + int(seconds))


def _day(text: str) -> int | None:
    if "/" in text:
        month, day, year = text.split("/")
        text = f"{year}-{month}-{day}"
    try:
        return date.fromisoformat(text).toordinal()
    except ValueError:
        return None


def _other_figures(text: str) -> dict[str, float]:
    """Return what isn't a loss of the step or the validation, nor the learning rate."""
    pairs = PAIR.findall(text)
    figures = {}
    for name, (_, _, value, unit) in zip(_curve_names(tuple(pair[0] for pair in pairs))[0], pairs, strict=True):
        if name and name not in (LOSS, VALIDATION_LOSS, LEARNING_RATE):
            figures[name] = _in_gb(float(value), unit) if name == VRAM else float(value)
    return figures


def _in_gb(memory: float, unit: str) -> float:
    """Return a GPU's memory in GB. None has a terabyte, so that more is a number of MB or bytes."""
    if not unit:
        unit = "gb" if memory < LARGEST_GB else "mb" if memory < LARGEST_GB * 1024 else "b"
    return memory * UNITS_IN_GB[unit]


@lru_cache(maxsize=256)
def _curve_names(names: tuple[str, ...]) -> tuple[tuple[str, ...], int, int]:
    """Return the names of the curves of what one line names so, each "" for what has none, and how often the names
    say "loss", and "lr" or "learning"."""
    ranks = {name: rank for name in names if (rank := _loss_rank(name)) is not None}
    loss = min(reversed(ranks), key=lambda name: ranks[name], default="")
    curves = tuple(LOSS if name == loss else _curve_name(name) for name in names)
    joined = " ".join(names)
    return curves, joined.count("loss"), joined.count("lr") + joined.count("learning")


def _curve_name(name: str) -> str:
    if name.endswith("loss") and VALIDATION_NAME.search(name[: -len("loss")]):
        return VALIDATION_LOSS
    if RATE_NAME.search(name):
        return LEARNING_RATE
    if name in NO_FIGURES:
        return ""
    return VRAM if name in OF_MEMORY else OTHER_NAMES.get(name, name.rstrip("./*-_"))


def _loss_rank(name: str) -> int | None:
    """Return how well a name's value tells the step's loss, the best first; None for another figure."""
    if not name.endswith("loss") or VALIDATION_NAME.search(name[: -len("loss")]):
        return None
    return LOSS_RANKS.get(re.split(r"[^a-z_]", name[: -len("loss")])[-1])
