"""The log and the progress of a training on this machine."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from cloudtrain_site.encryption import SecretScrubber
from jobs.providers.base import Handle, LogSlice
from jobs.providers.local import log as local_log
from tests.jobs.providers.local.trainings import ENDLESS, Trainings, until


@pytest.fixture
def trainings(tmp_path: Path) -> Iterator[Trainings]:
    trainings = Trainings(tmp_path)
    yield trainings
    trainings.end_all()


def test_a_log_is_read_piece_by_piece(trainings: Trainings) -> None:
    text = "aé€😀z\n" * 50
    handle = trainings.start(f"import sys; sys.stdout.buffer.write({text.encode()!r})")
    trainings.ended(handle)
    pieces = pieces_of(trainings, handle, limit=7)
    assert "".join(piece.text for piece in pieces) == text
    assert pieces[-1].complete
    assert not any(piece.complete for piece in pieces[:-1])


SECRET = "hf_κλειδί-of-mine-0123456789"
BLOT = SecretScrubber([(("hub_token",), SECRET)])


@pytest.mark.parametrize("limit", [4, 7, 11, 1000])
def test_no_piece_shows_a_part_of_a_secret_wherever_it_begins(tmp_path: Path, limit: int) -> None:
    log = tmp_path / "train.log"
    text = f"é {SECRET} and {SECRET}{SECRET[:20]}"
    log.write_text(text)
    stars = "*" * len(SECRET.encode())
    for start in range(len(text.encode())):
        piece = local_log.read_slice(log, start=start, limit=limit, ended=True, scrubber=BLOT)
        masked = f"é {stars} and {stars}{'*' * len(SECRET[:20].encode())}".encode()
        assert piece.text == masked[piece.start : piece.end].decode()
        assert piece.start - start <= 1


def test_bytes_that_are_no_text_move_nothing(tmp_path: Path) -> None:
    log = tmp_path / "train.log"
    log.write_bytes(b"\xff\xc3" + SECRET.encode() + b"\xff after")
    piece = local_log.read_slice(log, start=0, limit=1000, ended=True, scrubber=BLOT)
    assert piece.text == f"\ufffd\ufffd{'*' * len(SECRET.encode())}\ufffd after"
    assert piece.end == log.stat().st_size


def pieces_of(trainings: Trainings, handle: Handle, limit: int) -> list[LogSlice]:
    pieces = [asyncio.run(trainings.provider().read_log(handle, limit=limit))]
    while not pieces[-1].complete:
        pieces.append(asyncio.run(trainings.provider().read_log(handle, start=pieces[-1].end, limit=limit)))
    return pieces


def test_a_piece_that_would_begin_within_a_character_begins_after_it(trainings: Trainings) -> None:
    handle = trainings.start("import sys; sys.stdout.buffer.write('😀z'.encode())")
    trainings.ended(handle)
    starts = [asyncio.run(trainings.provider().read_log(handle, start=start)).start for start in range(6)]
    assert starts == [0, 4, 4, 4, 4, 5]


def test_half_a_character_waits_for_its_other_half(trainings: Trainings) -> None:
    half = "sys.stdout.buffer.write(b'a' + '€'.encode()[:2]); sys.stdout.flush()"
    handle = trainings.start(f"import signal, sys; {half}; signal.pause()")
    until(lambda: (trainings.folder(handle) / "train.log").stat().st_size == 3)
    assert asyncio.run(trainings.provider().read_log(handle)) == LogSlice("a", 0, 1, complete=False)
    trainings.cancel(handle)
    trainings.ended(handle)
    assert asyncio.run(trainings.provider().read_log(handle)) == LogSlice("a�", 0, 3, complete=True)


def test_bytes_that_are_no_text_are_replaced(trainings: Trainings) -> None:
    handle = trainings.start(r"import sys; sys.stdout.buffer.write(b'a\xff\x80b\xe9')")
    trainings.ended(handle)
    assert asyncio.run(trainings.provider().read_log(handle)).text == "a\ufffd\ufffdb\ufffd"


def test_progress_follows_what_is_new_in_the_log(trainings: Trainings) -> None:
    handle = trainings.start(ENDLESS, text="up\n")
    with (trainings.folder(handle) / "train.log").open("a") as log:
        for step in (1, 2, 3):
            print(f"Step {step}/4", file=log, flush=True)
            snapshot = trainings.fetch(handle)
            assert snapshot and snapshot.progress
            assert snapshot.progress.step == step


def test_an_unfinished_bar_counts_already(trainings: Trainings) -> None:
    handle = trainings.start(r"print('\rEpoch 1/1, Steps:  25%|##   | 1/4 [00:01<00:03,  1.00s/it]', end=''); 1/0")
    snapshot = trainings.ended(handle)
    assert snapshot.progress
    assert (snapshot.progress.step, snapshot.progress.percent) == (1, 25.0)
