"""The cause of a failure, from what a trainer says."""

from __future__ import annotations

import pytest

from jobs.failures.cause import MAX_LINE_CHARACTERS, advice_for, line_of

TRACEBACK = """Traceback (most recent call last):
  File "/src/train.py", line 10, in <module>
    main()
  File "/src/train.py", line 5, in main
    raise OutOfMemoryError
torch.cuda.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB."""
LAUNCHED = f"""[rank0]: {TRACEBACK.replace(chr(10), chr(10) + "[rank0]: ")}
Traceback (most recent call last):
  File "/usr/bin/torchrun", line 8, in <module>
torch.distributed.elastic.multiprocessing.errors.ChildFailedError:
============================================================
train.py FAILED
------------------------------------------------------------"""


@pytest.mark.parametrize(
    ("error", "line"),
    [
        ("", ""),
        ("\n \n", ""),
        ("The training exited with code 1.", "The training exited with code 1."),
        (TRACEBACK, "torch.cuda.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB."),
        (LAUNCHED, "torch.cuda.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB."),
        ("ValueError: no captions\nSee https://example.org/help", "ValueError: no captions"),
        ("2026-11-29T07:00:00Z KeyboardInterrupt", "KeyboardInterrupt"),
        ("It could not start.\nIts trainer does not exist.", "Its trainer does not exist."),
        ("subprocess.CalledProcessError: Command died", "subprocess.CalledProcessError: Command died"),
        ("x" * 1000, "x" * MAX_LINE_CHARACTERS),
    ],
)
def test_one_line_names_the_cause(error: str, line: str) -> None:
    assert line_of(error) == line


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (TRACEBACK, "Lower the batch size"),
        (LAUNCHED, "Lower the batch size"),
        ("huggingface_hub.errors.GatedRepoError: 401 Client Error", "hf_token"),
        ("OSError: [Errno 28] No space left on device", "machine is full"),
        ("RuntimeError: loss is NaN at step 12", "learning rate"),
        ("ValueError: No captions found for 12 images", "caption"),
        ("ValueError: No images were found in /data", "no usable images"),
        ("The training exited with code -9.", "machine's memory"),
        ("RepositoryNotFoundError: 404 Client Error", "no such model"),
        ("Slurm ended the job: DUE TO TIME LIMIT", "time limit"),
    ],
)
def test_the_usual_causes_have_advice(error: str, words: str) -> None:
    assert words in advice_for(error)


@pytest.mark.parametrize("error", ["", "The training exited with code 1.", "KeyError: 'x'", "100 images were found"])
def test_others_have_none(error: str) -> None:
    assert advice_for(error) == ""


def test_a_long_error_is_read_in_time() -> None:
    assert line_of("a" * 1_000_000)
    assert line_of("(trainer pid=" + "1" * 1_000_000)
    assert advice_for("caption " * 100_000) == ""
