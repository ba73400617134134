"""The runner as a script: on this machine by its arguments, on a node of a cluster with the path of a `run.json`.

On this machine it shares nothing with the process that started it but the job's folder, so that our own restarts don't
touch a training. It prints the record of the start, which the trainer may remove. SIGTERM to it is a cancellation:
SIGTERM to the trainer's process group and, GRACE seconds later, SIGKILL. What a trainer leaves running, a daemon too,
becomes our child and is ended with it.
"""

# No pathlib and no typing here: they would double the time that a start takes.
# ruff: noqa: PTH108, PTH118, PTH119, PTH211

from __future__ import annotations

import contextlib
import errno
import json
import os
import signal
import sys
import time

TYPE_CHECKING = False  # typing's own would have to be imported
if TYPE_CHECKING or __package__:
    from jobs.providers.runner.checkpoint import place_checkpoint
    from jobs.providers.runner.processes import Trainer, adopt_orphans, run_to_end, start_record
    from jobs.providers.runner.records import (
        ACTIVE,
        CANCEL,
        CLAIM,
        CLAIMS,
        DRAFT_BYTES,
        LOG,
        OUTPUT,
        TRAINS_ELSEWHERE,
        ExitRecord,
        cancelled_record,
        drop_secrets,
        open_log,
        write_once,
    )
else:
    from checkpoint import place_checkpoint
    from processes import Trainer, adopt_orphans, run_to_end, start_record
    from records import (
        ACTIVE,
        CANCEL,
        CLAIM,
        CLAIMS,
        DRAFT_BYTES,
        LOG,
        OUTPUT,
        TRAINS_ELSEWHERE,
        ExitRecord,
        cancelled_record,
        drop_secrets,
        open_log,
        write_once,
    )


def claim(folder: str, marker: str, trainer: Trainer, deadline: float) -> dict[str, object]:
    """Make this the job's only training; returns its start record. OSError: it has one, or it is past `deadline`."""
    if time.monotonic() > deadline:
        raise TimeoutError(errno.ETIMEDOUT, "this machine is too busy")
    job_id = os.path.basename(folder)
    with contextlib.suppress(FileExistsError):
        os.symlink(os.path.join(os.pardir, job_id), os.path.join(folder, os.pardir, ACTIVE, job_id))
    record, made = start_record(marker, trainer), []
    try:
        # Trainings of an older release have the first alone.
        for path in (os.path.join(folder, CLAIM), os.path.join(folder, os.pardir, CLAIMS, job_id)):
            if not write_once(path, record):
                raise FileExistsError(errno.EEXIST, "the job already has a training")
            made.append(path)
        hold_name(job_id)
    except OSError:
        for path in made:
            os.unlink(path)
        raise
    return record


def hold_name(job_id: str) -> None:
    """Keep every other runner of this machine from training the job until we end, in whatever folder.

    A backup that is restored while trainings run has no claim of those that were started after it. OSError: one trains.
    """
    import _socket  # the module `socket` would take ten milliseconds

    name = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM)
    try:
        name.bind(f"\0cloudtrain-job-{job_id}")
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise OSError(errno.EADDRINUSE, TRAINS_ELSEWHERE) from None
    name.detach()  # closed with us


def run(folder: str, trainer: Trainer, grace: float) -> dict[str, object]:
    """Run the trainer to its end. Returns the exit record."""
    # A canceller writes its request first and reads our claim second; we do the reverse, so that one of us sees the
    # other.
    if os.path.lexists(os.path.join(folder, CANCEL)):
        trainer.shut_gate()
        return cancelled_record()
    hindrance = place_checkpoint(folder, os.path.join(folder, OUTPUT))
    if hindrance:
        trainer.shut_gate()
        return hindrance
    return run_to_end(trainer, grace)


def release_caller(decided: int, start: dict[str, object]) -> None:
    """Release the process that waits for the claim, with the start record; it may have gone already."""
    # A reader of our output must not have to wait for the whole training.
    os.dup2(os.dup2(os.open(os.devnull, os.O_RDWR), 1), 2)
    with contextlib.suppress(BrokenPipeError):
        os.write(decided, json.dumps(start).encode())


def train(folder: str, marker: str, grace: float, deadline: float, command: list[str], decided: int) -> None:
    """Claim the job, train, record the end. Writes to `decided` after the claim; raises OSError when it fails."""
    log = open_log(os.path.join(folder, LOG))
    record = ExitRecord(folder)
    trainer = Trainer(command, log)
    try:
        start = claim(folder, marker, trainer, deadline)
    except OSError:
        trainer.shut_gate()
        record.discard()
        raise
    release_caller(decided, start)
    adopt_orphans()  # the trainer waits at its gate until then
    end = run(folder, trainer, grace)
    drop_secrets(folder)
    record.write(end)


def prepare_signals() -> None:
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGCHLD})
    for number in (signal.SIGHUP, signal.SIGINT):
        signal.signal(number, signal.SIG_IGN)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)


def train_here(folder: str, marker: str, grace: str, deadline: str, *command: str) -> None:
    """Print the record of the start; the training goes on in a process of its own."""
    # The trainer inherits it: its output is for our account alone.
    os.umask(0o077)
    answer, decided = os.pipe()
    # The parent prints the start record once the claim is decided, and exits. The child then has no parent of ours:
    # nothing has to reap it, and no death of ours reaches it.
    if os.fork():
        os.close(decided)
        os.write(1, os.read(answer, DRAFT_BYTES))
        return
    os.setsid()
    try:
        train(folder, marker, float(grace), float(deadline), list(command), decided)
    except OSError as error:
        sys.exit(error.strerror)


def train_on_node(path: str) -> None:
    """Train as the engine's own process, and exit with the trainer's exit code."""
    if TYPE_CHECKING or __package__:
        from jobs.providers.runner.node import run_order
    else:
        from node import run_order
    sys.exit(run_order(path))


if __name__ == "__main__":
    prepare_signals()
    if len(sys.argv) == 2:
        train_on_node(sys.argv[1])
    else:
        train_here(*sys.argv[1:])
