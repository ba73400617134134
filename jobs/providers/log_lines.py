"""Parsing of one line of a trainer's log: its stage, steps, epoch and figures.

A line comes here in lower case, without ANSI sequences and cut to a bounded length. No pattern has an unbounded repeat
over it, so no line is expensive to read. The bars and sentences of SimpleTuner, sd-scripts, ai-toolkit, diffusers,
transformers and axolotl are known.
"""

from __future__ import annotations

import re
import string
from functools import lru_cache
from typing import NamedTuple

PREPROCESSING = "Preprocessing"
WARMUP = "Warmup"
TRAINING = "Training"
VALIDATION = "Validation"
SAVING = "Saving checkpoint"

# The first of these words names the stage of its line. A word inside an identifier (validation_steps,
# resume_from_checkpoint) is the name of a setting, and gradient checkpointing saves nothing.
STAGE_WORDS = re.compile(
    r"(?<!_)(?:"
    r"(?P<preprocessing>pre-?process|(?<!up)(?<!off)(?<!un)loading|caching|(?:embedding|text|vae|latent) cache"
    r"|configuring data|processing bucket|embeds to disk)"
    r"|(?P<warmup>warming[ -]up|warm-?up)"
    r"|(?P<validation>(?<!in)validat|generating (?:images|samples)|sampling|running evaluation)"
    r"|(?P<saving>(?<!gradient )(?<!gradient-)checkpoint|sav(?:ing|ed) (?:at step|state|model|weights))"
    r")(?![a-z]{0,10}_)"
)
STAGE_OF_WORD = {"preprocessing": PREPROCESSING, "warmup": WARMUP, "validation": VALIDATION, "saving": SAVING}
# Every stage word holds one of these. Looking for them takes a tenth of the pattern's time.
STAGE_MARKS = (
    *("checkpoint", "saving", "saved", "validat", "generating", "sampling", "evaluation", "warm"),
    *("loading", "process", "cach", "configuring", "embeds"),
)
TRAINING_WORDS = (
    *("running training", "starting training", "start training", "started training"),
    *("starting trainer", "training started", "training begins"),
)

# At most nine digits: larger counts are noise, and would not fit a database integer.
COUNT = r"(?:[0-9]{1,3}(?:,[0-9]{3}){1,2}+|[0-9]{1,9}+)"
OF = r"[ ]{0,3}(?:/|of|out of)[ ]{0,3}"
STEP = re.compile(
    r"step(?:(?<![a-z_]step)|(?<=global_step))(?P<plural>s?)['\"]?[ :=#\[(]{0,4}"
    rf"(?P<step>{COUNT})(?:{OF}(?P<total>{COUNT}))?(?![.,]?[0-9])"
)
EPOCH = re.compile(
    r"epoch(?<![a-z_]epoch)(?P<plural>s?)['\"]?[ :=\[(]{0,4}"
    rf"(?P<epoch>[0-9]{{1,6}}+(?:\.[0-9]{{1,20}}+)?)(?:{OF}(?P<epochs>[0-9]{{1,6}}+))?(?![0-9])"
)
TOTAL_STEPS = re.compile(rf"total (?:optimization|train(?:ing)?) steps[^0-9:=]{{0,40}}[:=] ?({COUNT})(?![0-9])")
# "Validation step 3/10" counts something other than training.
SIDE_COUNTS = (
    *("validation", "validating", "evaluation", "eval", "sampling", "inference", "denoising"),
    *("preprocessing", "warmup", "warm-up", "warming up"),
)

BAR = re.compile(rf"(?<![0-9])[0-9]{{1,3}}%\|[^|]{{0,400}}\|[ ]{{0,2}}(?P<step>{COUNT})/(?P<total>{COUNT})[ ]{{0,2}}\[")
# Ray and container logs put their own words before each line.
LOG_PREFIX = re.compile(
    r"(?:\([^)]{0,80}pid=[^)]{0,80}\) {0,2})?(?:[0-9]{4}-[0-9]{2}-[0-9]{2}[ t][0-9:.,]{5,20}z? {0,2})?"
)
UNIT = re.compile(r"[0-9?] ?(?:s/([a-z]{1,12})|([a-z]{1,12})/s)")
ETA = re.compile(r"<(?:([0-9]{1,5}):)?([0-9]{1,2}):([0-9]{2})(?![0-9:])")
TRAINING_BAR = re.compile(r"(?:epoch\b.{0,60}\bsteps?|(?:train(?:ing)? |global )?steps?|train(?:ing)?)")
ACTIVITY = re.compile(
    r"[a-z]{1,40}ing|map|filter|test|eval[a-z]{0,10}|predict[a-z]{0,10}|infer[a-z]{0,10}|(?:up|down)load"
)

# A figure followed by an arrow is where a change began, not where the training is now.
VALUE = (
    r"['\"]?(?: {0,2}[:=] {0,2}| {1,2})"
    r"([-+]?(?:(?:[0-9]{1,15}+(?:\.[0-9]{0,25}+)?+|\.[0-9]{1,25}+)(?:e[-+]?[0-9]{1,3}+)?+|nan|inf))(?! {0,2}->)"
)
LOSS = re.compile(rf"loss{VALUE}")
LEARNING_RATE = re.compile(rf"(?<![a-z_])(?:lr|learning[_ ]rate){VALUE}")
VALIDATION_NAME = re.compile(r"(?:^|[^a-z])(?:val|validation|eval|evaluation)[ _](?:[a-z]{1,10}_)?$")
# When a line has several losses, that of the step says more than a running average.
LOSS_RANKS = {"step_": 0, "": 1, "avr_": 2, "avg_": 2, "train_": 2, "training_": 2}


class Count(NamedTuple):
    """A step, its total and the seconds left, as far as one line gave them.

    `weak`: the count comes from a bar without a name. A training's bar may look like that, and so may the one of a
    pipeline that draws a sample; it is believed if its total fits what is known.
    """

    step: int | None = None
    total: int | None = None
    eta_seconds: int | None = None
    weak: bool = False


class Bar(NamedTuple):
    """A progress bar. `stage` comes from its name; `steps` is None unless it counts the training's steps."""

    stage: str | None
    steps: Count | None
    postfix: str


def read_stage(line: str, total: int | None) -> str | None:
    """Return the stage of a line. An unnamed bar has one only if it counts to the training's `total`."""
    if "%|" in line:
        bar = read_bar(line)
        foreign = bar is None or (bar.steps and bar.steps.weak and bar.steps.total != total)
        return None if bar is None or foreign else bar.stage
    stage = stage_word(line)
    return TRAINING if stage is None and _mentions_training(line) else stage


def _mentions_training(line: str) -> bool:
    count = read_count(line)
    if (count and count.step is not None) or read_epoch(line):
        return True
    return any(phrase in line for phrase in TRAINING_WORDS)


def stage_word(text: str) -> str | None:
    word = STAGE_WORDS.search(text) if any(mark in text for mark in STAGE_MARKS) else None
    return STAGE_OF_WORD[word.lastgroup or ""] if word else None


def read_count(line: str) -> Count | None:
    """Return the training step, the total, or both; None for a line that counts something else."""
    if "%|" in line:
        bar = read_bar(line)
        return bar.steps if bar else None
    if "step" not in line:
        return None
    count = _count_in_text(line)
    # "Step 2/5: preprocessing" is a step of the preparation.
    return count if count and stage_word(line) != PREPROCESSING else None


def _count_in_text(line: str) -> Count | None:
    count = None
    for match in STEP.finditer(line):
        if line[: match.start()].rstrip(" _-:").endswith(SIDE_COUNTS):
            continue
        step, total = _integer(match["step"]), _integer(match["total"] or "0")
        if total:
            count = Count(step, total)
        # "steps: 250" is a setting, and "step 5/0" a mistake.
        elif count is None and not match["plural"] and match["total"] is None:
            count = Count(step)
    return count or _total_in_text(line)


def _total_in_text(line: str) -> Count | None:
    match = TOTAL_STEPS.search(line)
    total = _integer(match[1]) if match else 0
    return Count(total=total) if total else None


def read_epoch(line: str) -> tuple[float, int | None] | None:
    """Return the epoch, whole or a fraction, and the number of epochs if the line has it."""
    epoch: tuple[float, int | None] | None = None
    for match in EPOCH.finditer(line):
        # "epochs: 10" is a setting.
        if match["epochs"] or not match["plural"]:
            number = match["epoch"]
            epoch = float(number) if "." in number else int(number), int(match["epochs"] or 0) or None
    return epoch if epoch and stage_word(line) != PREPROCESSING else None


def _integer(digits: str) -> int:
    return int(digits.replace(",", ""))


@lru_cache(maxsize=16)
def read_bar(line: str) -> Bar | None:
    """Read a progress bar; None for downloads and other bars that don't count iterations.

    The result is cached briefly, since each question about a log comes back to the same last lines.
    """
    # The last bar of the line: collectors that drop carriage returns glue bars together.
    bar = BAR.search(line, max(0, line.rfind("%|") - 3))
    if bar is None:
        return None
    rest = line[bar.end() :]
    # The log may end in the middle of a bar, and "step_loss=0.0" be the beginning of 0.0873.
    rest = rest if "]" in rest else rest.rpartition(",")[0]
    unit = UNIT.search(rest)
    if unit and (unit[1] or unit[2]) != "it":
        return None
    stage, counts, weak = _bar_name(line[: bar.start()])
    total = _integer(bar["total"])
    count = Count(_integer(bar["step"]), total, _eta(rest), weak) if counts and total else None
    return Bar(stage, count, rest)


@lru_cache(maxsize=256)
def _bar_name(text: str) -> tuple[str | None, bool, bool]:
    """Return what the text before a bar means: its stage, whether it counts training steps, whether that is weak."""
    tag = LOG_PREFIX.match(text)
    name = text[tag.end() if tag else 0 :].rpartition("]")[2].strip(" :.\t")
    side = stage_word(name)
    if side:
        return side, False, False
    if TRAINING_BAR.fullmatch(name):
        return TRAINING, True, False
    if " " not in name and not ACTIVITY.fullmatch(name):
        return TRAINING, True, True
    # "Epoch 3" without "Steps" counts the batches of that epoch only.
    return TRAINING if EPOCH.match(name) else None, False, False


def _eta(rest: str) -> int | None:
    eta = ETA.search(rest)
    if eta is None:
        return None
    return int(eta[1] or 0) * 3600 + int(eta[2]) * 60 + int(eta[3])


def read_losses(line: str) -> tuple[float | None, float | None]:
    """Return the loss of the step and that of the validation, NaN and infinity included."""
    if "%|" not in line:
        return _losses(line)
    bar = read_bar(line)
    loss, validation = _losses(bar.postfix) if bar else (None, None)
    if bar is None or bar.stage == TRAINING:
        return loss, validation
    return None, loss if validation is None and bar.stage == VALIDATION else validation


def _losses(text: str) -> tuple[float | None, float | None]:
    """Return the last loss of each kind. The step's own wins over a running average; a component (a_loss, kl_loss)
    counts as neither.
    """
    loss = validation = None
    best_rank = max(LOSS_RANKS.values())
    for match in LOSS.finditer(text):
        before = text[max(0, match.start() - 32) : match.start()]
        rank = LOSS_RANKS.get(before[len(before.rstrip(string.ascii_lowercase + "_")) :])
        if VALIDATION_NAME.search(before):
            validation = float(match[1])
        elif rank is not None and rank <= best_rank:
            loss, best_rank = float(match[1]), rank
    return loss, validation


def read_learning_rate(line: str) -> float | None:
    """Return the last learning rate of the line, NaN and infinity included."""
    rate = None
    for match in LEARNING_RATE.finditer(line):
        rate = float(match[1])
    return rate
