"""At which step a run began, as its log says."""

from __future__ import annotations

import time

import pytest

from jobs.providers.first_step import first_step

FRESH = "Epoch 1/5, Steps:   0%|          | 0/30000 [00:00<?, ?it/s]\n"
CACHING = "Caching latents:   0%|          | 0/30000 [00:00<?, ?it/s]\n"
END = "Epoch 5/5, Steps: 100%|##########| 30000/30000 [50:00<00:00,  1.67it/s, lr=1e-5, step_loss=0.1]\n"
RESUMED = "  - Steps completed: 25000\nEpoch 5/5, Steps:  83%|########3 | 25000/30000 [00:00<?, ?it/s]\n"


@pytest.mark.parametrize(
    ("log", "step"),
    [
        ("", None),
        (END, None),
        (FRESH + END, 0),
        (CACHING + END, None),
        (CACHING + FRESH + END, 0),
        (RESUMED + END, 25_000),
        (CACHING + RESUMED.splitlines()[0] + END, 25_000),
        ("Resuming from checkpoint checkpoint-500\n" + FRESH, 500),
        ("Resuming from checkpoint out/checkpoint-500\n", 500),
        ("  Continuing training from checkpoint, will skip to saved global_step\n", None),
        ("  Continuing training from global step 500\n", 500),
        ("Loading checkpoint-100: going on after step 100\n", 100),
        ("resume_from_checkpoint=latest, checkpointing_steps: 500\n" + FRESH, 0),
        ("steps:   0%|          | 0/500 [00:00<?, ?it/s]\n" + RESUMED, 25_000),
        ("step 12.5 of resuming step 12.5\n", None),
        (FRESH.replace("\n", "\r") + END, 0),
    ],
)
def test_a_run_began_where_its_log_says(log: str, step: int | None) -> None:
    assert first_step(log, 30_000) == step


def test_a_bar_of_another_length_is_not_the_trainings() -> None:
    assert first_step(FRESH, 10_000) is None


@pytest.mark.parametrize("line", ["Resuming ", "[00:00<?", "continuing from step ", "x", "Steps completed:\r"])
def test_a_long_log_is_read_in_no_time(line: str) -> None:
    log = line * (4_000_000 // len(line))
    began = time.process_time()
    first_step(log, 100)
    assert time.process_time() - began < 1
