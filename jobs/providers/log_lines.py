"""Parsing of one line of a trainer's log: its stage, steps, epoch and figures.

A line comes here in lower case, without ANSI sequences and cut to a bounded length. No pattern has an unbounded repeat
over it, so no line is expensive to read. The bars and sentences of SimpleTuner, sd-scripts, ai-toolkit, diffusers,
transformers, axolotl, lightning, mmengine, nanoGPT and torchtune are known.
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
    r"(?P<preprocessing>pre-?process|(?<!up)(?<!off)(?<!un)loading|caching|(?:embedding|text|vae|latents?) cache"
    r"|cached? (?:latent|text|vae|embed)|latents? cached"
    r"|(?:make|(?:mak|build|creat|fill|assign|sort)ing) (?:aspect )?buckets?"
    r"|bucketing|bucket [0-9]|buckets? (?:info|resolution|size)|aspect (?:ratio )?buckets?"
    r"|configuring data|processing bucket|embeds to disk)"
    r"|(?P<warmup>warming[ -]up|warm-?up)"
    r"|(?P<validation>(?<!in)validat|generating (?:images|samples)|sampling|running evaluation)"
    r"|(?P<saving>(?<!gradient )(?<!gradient-)checkpoint|sav(?:ing|ed) (?:at step|state|model|weights))"
    r")(?![a-z]{0,10}_)"
)
SCALES = {"k": 1_000, "m": 1_000_000}
STAGE_OF_WORD = {"preprocessing": PREPROCESSING, "warmup": WARMUP, "validation": VALIDATION, "saving": SAVING}
# Every stage word holds one of these. Looking for them takes a tenth of the pattern's time.
STAGE_MARKS = (
    *("checkpoint", "saving", "saved", "validat", "generating", "sampling", "evaluation", "warm"),
    *("loading", "process", "cach", "configuring", "embeds", "bucket"),
)
TRAINING_WORDS = (
    *("running training", "starting training", "start training", "started training"),
    *("starting trainer", "training started", "training begins"),
)

# At most nine digits: larger counts are noise, and would not fit a database integer.
COUNT = r"(?:[0-9]{1,3}(?:,[0-9]{3}){1,2}+|[0-9]{1,9}+)"
OF = r"[ ]{0,3}(?:/|of|out of)[ ]{0,3}"
STEP = re.compile(
    r"step(?:(?<![a-z_]step)|(?<=global_step))(?P<plural>s?)['\"]?[ :=#\[(]{0,4}['\"]?"
    rf"(?P<step>{COUNT})(?:{OF}(?P<total>{COUNT}))?(?![.,]?[0-9])"
)
EPOCH = re.compile(
    r"epoch(?<![a-z_]epoch)(?P<plural>s?)(?:\(train\))?['\"]?[ :=\[(]{0,4}"
    rf"['\"]?(?P<epoch>[0-9]{{1,6}}+(?:\.[0-9]{{1,20}}+)?)(?:{OF}(?P<epochs>[0-9]{{1,6}}+))?(?![0-9])"
)
ITERATION = re.compile(
    r"(?<![a-z_])iter(?:ation)?(?P<plural>s?)(?:\(train\))?['\"]?[ :=#\[(]{0,8}['\"]?"
    rf"(?P<step>{COUNT})(?:{OF}(?P<total>{COUNT}))?(?![.,]?[0-9])"
)
# A sentence may name a step that isn't the training's: "tried to log to step 9 that is less than step 1440". A count
# stands at the beginning of its message, behind a mark or one of these words, or the sentence begins with an event.
MARKS_BEFORE_COUNT = "])}[({,;|>=:\"'-\u2022\u2713\u23f3"
WORD_BEFORE_COUNT = re.compile(r"info|debug|train(?:ing)?|global|optimizer|[0-9][0-9:.,tz+-]{7,40}")
WORDS_BEFORE_COUNT = re.compile(
    r"(?:epoch [0-9./]{1,20}|[0-9]z? std(?:out|err) [fp]|[0-9]{2}(?:z|[+-][0-9:]{2,5}) [a-z0-9][-a-z0-9._]{0,60})$"
)
BEGINNINGS = ("] ", ": ", "| ", ", ", "- ")
EVENT = re.compile(
    r"\s{0,8}(?:sav|resum|validat|evaluat|sampl|generat|checkpoint|continu|start|train|reach|complet|finish)"
)
NO_EVENT = re.compile(r"\b(?:will|until|every|each|next|than|should|must|would|best|last|previous|after|before)\b")
AFTER_COUNT = re.compile(
    r"['\"\])]{0,3}\s{0,8}(?:$|[^a-z0-9\s]|(?:done|completed?|finished|reached|saving|saved|took|to)\b"
    r"|[a-z_./]{1,30}(?: [a-z_]{1,20})?(?: ?[:=]| [-+0-9.]| nan))"
)
TOTAL_STEPS = re.compile(
    r"total (?:optimization|train(?:ing)?) steps(?![^0-9:=]{0,20}(?:remain|left|to go))"
    rf"[^0-9:=]{{0,40}}[:=] ?({COUNT})(?![0-9])"
)
# "Validation step 3/10" counts something other than training.
SIDE_COUNTS = (
    *("validation", "validating", "evaluation", "eval", "sampling", "inference", "denoising"),
    *("preprocessing", "warmup", "warm-up", "warming up", "remaining", "skipped", "skipping"),
)

# Of "1.60k/3.20k" too, as tqdm draws scaled counts.
SCALED = r"[0-9]{1,3}\.[0-9]{1,2}[km]"
IN_BAR = rf"(?P<step>{SCALED}|{COUNT})/(?P<total>{SCALED}|{COUNT})[ ]{{0,2}}\["
BAR = re.compile(rf"(?<![0-9.,])[0-9]{{1,3}}(?:[.,][0-9]{{1,3}})?%(?:\|[^|]{{0,400}}\|)?[ ]{{0,2}}{IN_BAR}")
# A terminal that is too narrow leaves nothing of the bar itself.
NARROW_BAR = re.compile(rf"% {{1,2}}{IN_BAR}")
UNIT = re.compile(r"[0-9?] ?(?:s/([a-z]{1,12})|([a-z]{1,12})/s)")
COUNTED_UNITS = {"it", "kit", "step", "steps", "iter", "iters", "iteration", "iterations", "update", "updates"}
# Ranks, hosts, pods, collectors and loggers put their own words before a line, and one of these marks behind them.
PREFIX_MARK = re.compile(r"[\]):|>]|(?<= )- ")
# Prefixes that end without a mark: a time (in CRI logs followed by the stream), and a host or pod.
UNMARKED_PREFIX = re.compile(
    r"(?:[0-9]{4}-[0-9]{2}-[0-9]{2}[ t])?[0-9]{2}(?:[.,][0-9]{1,9})?(?:z|[+-][0-9]{2,4})?\s{1,4}"
    r"(?:std(?:out|err) [fp] )?"
    r"(?:(?:info|debug|warning) )?|[0-9]{2}\s{1,4}"
)
HOST_WORDS = re.compile(r"[a-z0-9]{1,60}[-0-9._/][-a-z0-9._/]{0,100} (?:[-a-z0-9._/]{1,60} )?")
ETA = re.compile(r"<(?:([0-9]{1,5}):)?([0-9]{1,2}):([0-9]{2})(?![0-9:])")
TRAINING_BAR = re.compile(r"(?:epoch\b.{0,60}\bsteps?|(?:train(?:ing)? |global )?steps?|train(?:ing)?)")
ACTIVITY = re.compile(
    r"[a-z]{1,40}ing|map|filter|test|val|valid|dev|eval[a-z]{0,10}|predict[a-z]{0,10}|infer[a-z]{0,10}|(?:up|down)load"
)
# torchtune names its bar by epoch, step and loss; the bar itself counts the steps of the epoch.
TORCHTUNE_NAME = re.compile(r"(?P<epoch>[0-9]{1,6})\|(?P<step>[0-9]{1,9})\|loss")

# A figure followed by an arrow is where a change began, not where the training is now.
VALUE = (
    r"['\"]?(?: {0,2}[:=] {0,2}| {1,2})"
    r"['\"]?([-+]?(?:(?:[0-9]{1,15}+"
    r"(?:\.[0-9]{0,25}+|,[0-9]{1,25}+(?![.,][0-9]))?+|\.[0-9]{1,25}+)(?:e[-+]?[0-9]{1,3}+)?+|nan|inf))(?! {0,2}->)"
)
LOSS = re.compile(rf"loss{VALUE}")
LEARNING_RATE = re.compile(rf"(?<![a-z_])(?:lr|learning[_ ]rate){VALUE}")
VALIDATION_NAME = re.compile(r"(?:^|[^a-z])(?:val|validation|eval|evaluation)[ _](?:[a-z]{1,10}_)?$")
# When a line has several losses, that of the step says more than a running average.
LOSS_RANKS = {"step_": 0, "": 1, "avr_": 2, "avg_": 2, "train_": 2, "training_": 2}


# How sure it is that a count is the training's.
UNNAMED = 0
NAMED = 1
#: A bar with a learning rate.
LEARNING = 2
SURE = 3


class Count(NamedTuple):
    """A step, its total and the seconds left, as far as one line gave them, and how sure the total is.

    A training's bar may have no name or that of the job, and so may the bar of its preparation.
    """

    step: int | None = None
    total: int | None = None
    eta_seconds: int | None = None
    sureness: int = SURE


class Bar(NamedTuple):
    """A progress bar. `stage` comes from its name; `steps` is None unless it counts the training's steps."""

    stage: str | None
    steps: Count | None
    postfix: str


def is_bar(line: str) -> bool:
    return "%|" in line or ("% " in line and NARROW_BAR.search(line) is not None)


def read_stage(line: str) -> str | None:
    """Return the stage of a line. That of a bar which may be another's is left to the one who knows the total."""
    if is_bar(line):
        bar = read_bar(line)
        return bar.stage if bar and (bar.steps is None or bar.steps.sureness == SURE) else None
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


@lru_cache(maxsize=16)
def read_count(line: str) -> Count | None:
    """Return the training step, the total, or both; None for a line that counts something else."""
    if is_bar(line):
        bar = read_bar(line)
        return bar.steps if bar else None
    if "step" not in line and "iter" not in line:
        return None
    count = _count_in_text(line)
    # "Step 2/5: preprocessing" is a step of the preparation.
    return count if count and stage_word(line) != PREPROCESSING else None


def _count_in_text(line: str) -> Count | None:
    count = None
    for match in (STEP if "step" in line else ITERATION).finditer(line):
        if not _counts_training(line, match):
            continue
        step, total = _integer(match["step"]), _integer(match["total"] or "0")
        if total:
            count = Count(step, total)
        # "steps: 250" is a setting, and "step 5/0" a mistake.
        elif count is None and not match["plural"] and match["total"] is None:
            count = Count(step)
    return count or _total_in_text(line)


def _counts_training(line: str, match: re.Match[str]) -> bool:
    before = line[max(0, match.start() - 200) : match.start()].removesuffix("global_")
    if before.rstrip(" _-:").endswith(SIDE_COUNTS):
        return False
    return AFTER_COUNT.match(line, match.end()) is not None and _introduces_count(before.rstrip())


def _introduces_count(text: str) -> bool:
    if not text or text[-1] in MARKS_BEFORE_COUNT or WORD_BEFORE_COUNT.fullmatch(text.rpartition(" ")[2]):
        return True
    sentence = text[max(0, *(text.rfind(mark) + 1 for mark in BEGINNINGS)) :]
    is_event = EVENT.match(sentence) is not None and NO_EVENT.search(sentence) is None
    return is_event or WORDS_BEFORE_COUNT.search(text) is not None


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
    if digits[-1] in SCALES:
        return round(float(digits[:-1]) * SCALES[digits[-1]])
    return int(digits.replace(",", ""))


@lru_cache(maxsize=16)
def read_bar(line: str) -> Bar | None:
    """Read a progress bar; None for downloads and other bars that don't count iterations.

    The result is cached briefly, since each question about a log comes back to the same last lines.
    """
    # The last bar of the line: collectors that drop carriage returns glue bars together.
    mark = line.rfind("%|")
    bar = BAR.search(line, max(0, (line.rfind("% ") if mark < 0 else mark) - 7))
    if bar is None:
        return None
    rest = line[bar.end() :]
    # The log may end in the middle of a bar, and "step_loss=0.0" be the beginning of 0.0873.
    rest = rest if "]" in rest else rest.rpartition(",")[0]
    unit = UNIT.search(rest)
    if unit and (unit[1] or unit[2]) not in COUNTED_UNITS:
        return None
    name = line[: bar.start()]
    own = TORCHTUNE_NAME.search(name) if "|loss" in name else None
    if own:
        return Bar(TRAINING, Count(int(own["step"])), name)
    stage, sureness = _bar_name(name, LEARNING_RATE.search(rest) is not None)
    total = _integer(bar["total"])
    count = Count(_integer(bar["step"]), total, _eta(rest), sureness) if sureness is not None and total else None
    return Bar(stage, count, rest)


@lru_cache(maxsize=256)
def _bar_name(text: str, has_rate: bool) -> tuple[str | None, int | None]:
    """Return what the text before a bar means: its stage, and how sure it is that it counts training steps (None: it
    doesn't). `has_rate`: the bar shows a learning rate, so that it is a training's whatever its name is.
    """
    *others, name = (part.strip(" .\t") for part in PREFIX_MARK.split(text.rstrip(" :.|)\t")))
    if prefix := UNMARKED_PREFIX.match(name):
        name = name[prefix.end() :]
    host = HOST_WORDS.match(name)
    if host and TRAINING_BAR.fullmatch(name, host.end()) and not _is_side(host[0]):
        name = name[host.end() :]
    if TRAINING_BAR.fullmatch(name):
        # "Validation: steps"; a host's name has more than letters.
        side = stage_word(others[-1]) if others and others[-1].replace(" ", "").isalpha() else None
        return (side, None) if side else (TRAINING, SURE)
    side = stage_word(name)
    if side and (side == WARMUP or not has_rate):
        return side, None
    # "Epoch 3" without "Steps" counts the batches of that epoch only.
    if EPOCH.match(name):
        return TRAINING, None
    if has_rate:
        return TRAINING, LEARNING
    if " " not in name and not ACTIVITY.fullmatch(name):
        return TRAINING, NAMED if name else UNNAMED
    return None, None


def _is_side(text: str) -> bool:
    return stage_word(text) is not None or text.rstrip().endswith(SIDE_COUNTS)


def _eta(rest: str) -> int | None:
    eta = ETA.search(rest)
    if eta is None:
        return None
    return int(eta[1] or 0) * 3600 + int(eta[2]) * 60 + int(eta[3])


def read_losses(line: str) -> tuple[float | None, float | None]:
    """Return the loss of the step and that of the validation, NaN and infinity included."""
    if not is_bar(line):
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
            validation = _number(match[1])
        elif rank is not None and rank <= best_rank:
            loss, best_rank = _number(match[1]), rank
    return loss, validation


def _number(digits: str) -> float:
    return float(digits.replace(",", "."))


def read_learning_rate(line: str) -> float | None:
    """Return the last learning rate of the line, NaN and infinity included."""
    rate = None
    for match in LEARNING_RATE.finditer(line):
        rate = _number(match[1])
    return rate
