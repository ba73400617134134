"""Logs of many trainers, behind many launchers: which of their counts is the training's."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.curves.series import Series, read_series
from jobs.providers.local.log import follow_progress, stop_following
from jobs.providers.progress import Progress, read_progress

DATA = Path(__file__).parent / "data"
LOGS = {path.stem: path.read_text() for path in sorted(DATA.glob("log_*.txt"))}
BAR = "steps:  50%|#####     | 800/1600 [26:00<26:00,  1.95s/it, avr_loss=0.09]"
UNNAMED = "100%|##########| 5000/5000 [00:06<00:00, 790.11it/s]"


def counted(text: str) -> tuple[str | None, int | None, int | None]:
    progress = read_progress(text)
    return progress.stage, progress.step, progress.total


# Whole logs.


@pytest.mark.parametrize(
    ("name", "step", "total", "percent", "loss"),
    [
        ("log_longer_preparation_bar", 120, 3000, 4.0, 0.3512),
        ("log_step_in_a_sentence", 1440, 1600, 90.0, 0.0721),
        ("log_remaining_steps", 20000, 24000, 83.33, None),
        ("log_job_called_test", 900, 3000, 30.0, 0.3821),
        ("log_job_name_with_blanks", 900, 3000, 30.0, 0.3821),
        ("log_behind_a_rank", 800, 1600, 50.0, 0.09),
        ("log_behind_a_container", 800, 1600, 50.0, 0.09),
        ("log_decimal_percentage", 800, 1600, 50.0, 0.09),
        ("log_half_of_the_steps", 5, 10, 50.0, None),
    ],
)
def test_it_finds_the_trainings_count(name: str, step: int, total: int, percent: float, loss: float | None) -> None:
    read = read_progress(LOGS[name])
    assert (read.step, read.total, read.percent, read.loss, read.stage) == (step, total, percent, loss, "Training")


@pytest.mark.parametrize("name", ["log_job_called_test", "log_job_name_with_blanks"])
def test_a_bar_called_after_the_job_gives_the_curves(name: str) -> None:
    series = read_series(LOGS[name]).series
    assert (series["loss"], series["learning_rate"]) == ([(900, 0.3821)], [(900, 1e-4)])


def test_the_curves_of_a_longer_preparation_are_the_trainings() -> None:
    assert read_series(LOGS["log_longer_preparation_bar"]).series["loss"] == [(120, 0.3512)]


def test_a_named_bar_stays_surer_in_the_next_piece() -> None:
    first, second = LOGS["log_unnamed_bar_follows_1"], LOGS["log_unnamed_bar_follows_2"]
    in_pieces = read_progress(second, before=read_progress(first))
    assert in_pieces == read_progress(first + second)
    assert (in_pieces.step, in_pieces.total, in_pieces.percent) == (800, 1600, 50.0)


def test_a_named_bar_stays_surer_after_an_unnamed_one_of_its_length() -> None:
    same = " 50%|#####     | 801/1600 [26:00<26:00,  1.95s/it]"
    assert counted(f"{BAR}\n{same}\n{UNNAMED}") == ("Training", 801, 1600)


@pytest.mark.parametrize(
    ("log", "step", "total"),
    [
        ("shards: 100%|#| 3/3 [00:01<00:00, 3.0it/s]\n 10%|#| 30/300 [00:45<06:49, 1.52s/it]", 30, 300),
        (" 10%|#| 30/300 [00:45<06:49, 1.52s/it]\nshards:  66%|#| 2/3 [00:01<00:00, 3.0it/s]", 30, 300),
        (f"{UNNAMED}\nharbour_v3:   0%| | 0/3000 [00:00<?, ?it/s]", 0, 3000),
        (f"{UNNAMED}\n  Total optimization steps = 300", None, 300),
        (f"{BAR}\ntest: 100%|#| 40/40 [00:01<00:00, 3.0it/s, loss=0.3]", 800, 1600),
        (f"{BAR}\neval: 100%|#| 4000/4000 [00:01<00:00, 3.0it/s, loss=0.3]", 800, 1600),
    ],
)
def test_a_bar_of_something_else_never_takes_its_place(log: str, step: int | None, total: int) -> None:
    read = read_progress(log)
    assert (read.step, read.total) == (step, total)


# However a log is cut.

PIECES = st.sampled_from(
    [
        *(text for text in LOGS.values()),
        *(sample["line"] + "\n" for sample in json.loads((DATA / "progress_samples.json").read_text())),
    ]
)


@given(st.lists(PIECES, min_size=1, max_size=6).map("".join), st.data())
def test_a_log_cut_at_any_byte_reads_as_the_whole(
    tmp_path_factory: pytest.TempPathFactory, text: str, data: st.DataObject
) -> None:
    log, whole = tmp_path_factory.getbasetemp() / "cut.log", text.encode()
    cut = data.draw(st.integers(0, len(whole)))
    stop_following(log)
    for end in (cut, len(whole)):
        log.write_bytes(whole[:end])
        read = follow_progress(log)
    assert read == read_progress(text)


@given(st.lists(PIECES, min_size=1, max_size=6), st.integers(0, 6))
def test_curves_read_in_pieces_are_those_of_the_whole(pieces: list[str], cut: int) -> None:
    series = Series()
    series.read("".join(piece + "\n" for piece in pieces[:cut]))
    assert series.curves("".join(piece + "\n" for piece in pieces[cut:])) == read_series("\n".join(pieces))


# Launchers and collectors.


@pytest.mark.parametrize(
    "prefix",
    [
        *("0: ", " 3: ", "[rank0]:", "[rank0]: ", "[default0]:", "[1,0]<stderr>:", "trainer-1  | ", "node-07: "),
        *("10.0.0.2: ", "[pod/train-7f9c4/main] ", "train-7f9c4-x main ", "(TrainWorker pid=12, ip=10.0.0.2) "),
        *("Nov 28 21:00:00 gpu-box trainer[812]: ", "Nov 28 21:00:00 gpu-box trainer: ", "21:00:00 "),
        *("2026-11-28T21:00:00.123456789Z stderr F ", "2026-11-28T21:00:00.123456+00:00 ", "[2026-11-28 21:00:00] "),
        *("2026-11-28T21:00:00+0100 host-1 ", "2026-11-28 21:00:00,123 INFO ", "2026-11-28 21:00:00 - INFO - main - "),
    ],
)
def test_it_reads_behind_the_words_of_a_launcher(prefix: str) -> None:
    read = read_progress(prefix + BAR)
    assert (read.stage, read.step, read.total, read.loss) == ("Training", 800, 1600, 0.09)
    assert read_progress(prefix + "Step 800/1600 - loss: 0.09").percent == 50.0
    validation = prefix + "validation steps:  50%|#####     | 3/6 [00:01<00:01,  2.00it/s]"
    assert counted(validation) == ("Validation", None, None)


# Forms of a bar and of a number.


@pytest.mark.parametrize(
    "bar",
    [
        "steps:  50% 800/1600 [26:00<26:00,  1.95s/it, avr_loss=0.09]",
        "steps:  50%|5| 800/1600 [26:00<26:00,  1.95s/it, avr_loss=0.09]",
        "steps:  50,0%|#####     | 800/1600 [26:00<26:00,  1.95s/it, avr_loss=0,09]",
        "steps: 50.000%|#####     | 800/1600 [26:00<26:00,  1.95s/step, avr_loss='0.09']",
        "steps:  50%|#####     | 0.80k/1.60k [26:00<26:00,  1.95s/it, avr_loss=0.09]",
    ],
)
def test_it_reads_bars_of_other_formats(bar: str) -> None:
    read = read_progress(bar)
    assert (read.step, read.total, read.percent, read.loss) == (800, 1600, 50.0, 0.09)


@pytest.mark.parametrize(
    "line",
    [
        "tracker: WARNING Tried to log to step 9 that is less than the current step 1440. Steps must grow.",
        "WARNING: step 9 is less than the current step 1440.",
        "The learning rate will decay at step 900",
        "Training will stop at step 900",
        "Remaining steps: 4000/24000",
        "tried to log to step 9/10 that is odd",
        "Saving will begin before step 9",
    ],
)
def test_a_step_in_a_sentence_about_something_else_is_no_progress(line: str) -> None:
    assert read_progress(f"{BAR}\n{line}").step == 800
    assert read_progress(line).step is None


# Other trainers, as their documents show their output.


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        # diffusers with accelerate
        (
            "Steps:   1%|          | 12/1500 [00:20<40:10,  1.62s/it, loss=0.0213, lr=5e-6]",
            Progress("Training", 0.8, 12, 1500, loss=0.0213, learning_rate=5e-6, eta_seconds=2410),
        ),
        ("INFO:__main__:  Total optimization steps = 1500", Progress(total=1500)),
        ("Resuming from checkpoint checkpoint-500", Progress("Saving checkpoint")),
        # sd-scripts
        ("make buckets", Progress("Preprocessing")),
        ("bucket 0: resolution (512, 768), count: 20", Progress("Preprocessing")),
        ("caching latents with caching strategy.", Progress("Preprocessing")),
        (
            "steps:   6%|6         | 100/1600 [03:12<48:00,  1.92s/it, avr_loss=0.113]",
            Progress("Training", 6.25, 100, 1600, loss=0.113, eta_seconds=2880),
        ),
        # ai-toolkit
        ("Caching latents to disk:  40%|####      | 4/10 [00:02<00:03,  2.00it/s]", Progress("Preprocessing")),
        (
            "my lora (v2):  25%|##5       | 500/2000 [20:00<1:00:00,  2.40s/it, lr: 1.0e-04 loss: 4.5e-01]",
            Progress("Training", 25.0, 500, 2000, loss=0.45, learning_rate=1e-4, eta_seconds=3600),
        ),
        # OneTrainer
        (
            "step:  20%|##        | 20/100 [00:30<02:00,  1.50s/it, loss=0.12, smooth loss=0.11]",
            Progress("Training", 20.0, 20, 100, loss=0.11, eta_seconds=120),
        ),
        ("caching:  50%|#####     | 5/10 [00:02<00:02,  2.00it/s]", Progress("Preprocessing")),
        # transformers and axolotl
        (
            "{'loss': '1.234', 'grad_norm': '0.54', 'learning_rate': '1.9e-05', 'epoch': '0.1'}",
            Progress("Training", loss=1.234, learning_rate=1.9e-5, epoch=0.1),
        ),
        ("{'eval_loss': '1.1', 'eval_runtime': '12.3', 'epoch': '1.0'}", Progress("Training", epoch=1.0)),
        (
            "{'loss': 0.9321, 'learning_rate': 2e-05, 'epoch': 0.5}",
            Progress("Training", loss=0.9321, learning_rate=2e-5, epoch=0.5),
        ),
        # lightning
        (
            "Epoch 3:  45%|####5     | 450/1000 [00:10<00:12, 45.00it/s, v_num=0, train_loss=0.3]",
            Progress("Training", epoch=3, loss=0.3),
        ),
        ("Validation DataLoader 0:  50%|#####     | 5/10 [00:01<00:01,  5.00it/s]", Progress("Validation")),
        # mmengine
        (
            "11/28 21:00:00 - mmengine - INFO - Iter(train) [   800/1600]  lr: 1.0e-04  eta: 0:26:00  loss: 0.09",
            Progress("Training", 50.0, 800, 1600, loss=0.09, learning_rate=1e-4),
        ),
        (
            "11/28 21:00:00 - mmengine - INFO - Epoch(train)  [1][ 50/200]  lr: 1.0e-02  loss: 0.5",
            Progress("Training", epoch=1, loss=0.5, learning_rate=0.01),
        ),
        # nanoGPT
        ("iter 800: loss 0.0900, time 200.12ms, mfu 30.00%", Progress("Training", step=800, loss=0.09)),
        ("step 250: train loss 3.1, val loss 3.2", Progress("Training", step=250, loss=3.1)),
        # torchtune
        ("1|30|Loss: 1.23:  10%|#         | 30/300 [00:45<06:49,  1.52s/it]", Progress("Training", step=30, loss=1.23)),
        (
            "Step 30 | loss:1.23 lr:2e-05 tokens_per_second_per_gpu:410.2",
            Progress("Training", step=30, loss=1.23, learning_rate=2e-5),
        ),
        # others
        ("[step=5] loss=0.3", Progress("Training", step=5, loss=0.3)),
        ("global step 800, loss 0,09", Progress("Training", step=800, loss=0.09)),
    ],
)
def test_it_reads_other_trainers(line: str, expected: Progress) -> None:
    fields = ("stage", "percent", "step", "total", "epoch", "loss", "learning_rate", "eta_seconds")
    read = read_progress(line)
    assert {name: getattr(read, name) for name in fields} == {name: getattr(expected, name) for name in fields}
