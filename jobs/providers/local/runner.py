"""Start one trainer, wait for it, and record its end on disk: our only process that lives as long as a training.

Plain Python without Django, since it stays in memory for days: 10 MB, up in 30 ms. It is run as a script,

    python -I -S runner.py FOLDER MARKER GRACE DEADLINE PROGRAM [ARGUMENT ...]

and shares nothing with the process that started it but the job's folder, so that our own restarts don't touch a
training. It prints the record of the start, which the trainer may remove. SIGTERM to it is a cancellation: SIGTERM to
the trainer's process group and, GRACE seconds later, SIGKILL. What a trainer leaves running, a daemon too, becomes our
child and is ended with it. The functions that read and write records are imported by the provider as well.
"""

# No pathlib and no typing here: they would double the time that a start takes.
# ruff: noqa: PTH105, PTH108, PTH118, PTH119, PTH123, PTH208, PTH211

from __future__ import annotations

import contextlib
import errno
import json
import os
import signal
import sys
import time
from datetime import UTC, datetime

TYPE_CHECKING = False  # typing's own would have to be imported
if TYPE_CHECKING:
    from collections.abc import Callable

CLAIM = "process.json"
END = "exit.json"
CANCEL = "cancel.json"
LOG = "train.log"
CONFIG = "config.json"
DATALOADER = "dataloader.json"
#: The suffix of a config's copy without secrets, which replaces it after the training.
MASKED = ".masked"
#: A folder beside the job folders, with a link for each training whose end nobody has seen.
ACTIVE = "active"

#: More than an exit record ever has.
DRAFT_BYTES = 4096
POLL_SECONDS = 0.05
#: What SIGKILL has not ended by then, such as a process that waits for a broken device, is left alone.
UNKILLABLE_SECONDS = 5.0
PR_SET_CHILD_SUBREAPER = 36


# Identity: a pid alone proves nothing, since it may have been reused.


def stat_fields(pid: int) -> list[bytes] | None:
    """Return the kernel's fields of a process, from its state on. None: it doesn't exist, or is a zombie."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            # A program's name may have blanks and parentheses of its own: count from the last one.
            fields = file.read().rpartition(b")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return None if fields[0] in (b"Z", b"X") else fields


def start_time(pid: int) -> int | None:
    """Return a process's start in clock ticks since the machine's boot. None: it doesn't exist."""
    fields = stat_fields(pid)
    return int(fields[19]) if fields else None


def boot_id() -> str:
    """Return an id that changes with every boot."""
    with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
        return file.read().strip()


def host_name() -> str:
    return os.uname().nodename


def now() -> str:
    return datetime.now(UTC).isoformat()


# Records: a reader finds one whole, or not at all.


def open_private(path: str, flags: int) -> int:
    """Open a file that is our user's alone from its first byte on."""
    return os.open(path, flags, 0o600)


def write_draft(path: str, record: object, opener: Callable[[str, int], int] | None = None) -> str:
    """Write the record beside `path`. Returns the draft's path."""
    draft = f"{path}.{os.getpid()}.{time.monotonic_ns()}"
    try:
        with open(draft, "w", encoding="utf-8", opener=opener) as file:
            json.dump(record, file, ensure_ascii=False, indent=1)
    except OSError:
        os.unlink(draft)
        raise
    return draft


def write_atomically(path: str, record: object, opener: Callable[[str, int], int] | None = None) -> None:
    os.replace(write_draft(path, record, opener), path)


def drop_secrets(folder: str) -> None:
    """Replace the configs by their masked copies, and remove the drafts that crashes left."""
    for name in (CONFIG, DATALOADER):
        path = os.path.join(folder, name)
        with contextlib.suppress(OSError):
            os.replace(f"{path}{MASKED}", path)
    with contextlib.suppress(OSError):
        for draft in os.listdir(folder):
            if draft.startswith((f"{CONFIG}.", f"{DATALOADER}.")):
                os.unlink(os.path.join(folder, draft))


def write_once(path: str, record: object) -> bool:
    """Write the record unless there is one. False: another process was first, and its record stays."""
    draft = write_draft(path, record)
    try:
        os.link(draft, path)
    except FileExistsError:
        return False
    finally:
        os.unlink(draft)
    return True


class ExitRecord:
    """The exit record. Its space on the disk is reserved at the start, since the training itself may fill the disk."""

    def __init__(self, folder: str) -> None:
        self.path = os.path.join(folder, END)
        self.draft = f"{self.path}.{os.getpid()}"
        self.file = os.open(self.draft, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o600)
        os.write(self.file, b" " * DRAFT_BYTES)

    def write(self, record: dict[str, object]) -> None:
        data = json.dumps(record, indent=1).encode()
        os.pwrite(self.file, data, 0)
        os.ftruncate(self.file, len(data))
        os.fsync(self.file)
        try:
            os.replace(self.draft, self.path)
        except FileNotFoundError:  # a trainer that cleans its working folder removes it
            write_atomically(self.path, record)

    def discard(self) -> None:
        os.unlink(self.draft)


class Trainer:
    """The trainer's process: forked at once, but held at a gate until its pid is safely on disk.

    If we die before the gate is opened, it reads the end of the pipe and exits without having run anything.
    """

    def __init__(self, command: list[str], log: int) -> None:
        self.program = command[0]
        gate, self.gate = os.pipe()
        self.failure, failure = os.pipe()
        self.pid = os.fork()
        if self.pid == 0:
            exec_trainer(command, log, gate=gate, failure=failure, other_ends=(self.gate, self.failure))
        os.close(gate)
        os.close(failure)
        os.setpgid(self.pid, self.pid)

    def open_gate(self) -> str | None:
        """Let the trainer run. Returns an error message when the program could not be started."""
        os.write(self.gate, b"!")
        os.close(self.gate)
        # exec closes the pipe.
        code = os.read(self.failure, 16)
        return (
            f"The trainer's program {self.program!r} could not be started: {exec_error_text(int(code))}."
            if code
            else None
        )

    def shut_gate(self) -> None:
        """End the trainer without running anything."""
        os.close(self.gate)
        os.waitpid(self.pid, 0)


def exec_trainer(command: list[str], log: int, *, gate: int, failure: int, other_ends: tuple[int, int]) -> None:
    """Wait at the gate, then execute the program. Never returns."""
    try:
        for end in other_ends:
            os.close(end)
        os.setpgid(0, 0)
        os.dup2(log, 1)
        os.dup2(log, 2)
        if os.read(gate, 1):
            restore_signals()
            os.execvp(command[0], command)  # noqa: S606
    except OSError as error:
        os.write(failure, str(error.errno or 0).encode())
    finally:
        os._exit(127)


def restore_signals() -> None:
    """Undo what the runner, and Python itself, ignore or block: the trainer would inherit it."""
    for number in (signal.SIGHUP, signal.SIGINT, signal.SIGPIPE, signal.SIGXFSZ):
        signal.signal(number, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())


def exec_error_text(code: int) -> str:
    texts = {
        errno.ENOENT: "it does not exist",
        errno.EACCES: "it may not be executed",
        errno.ENOEXEC: "it is not a program of this machine",
    }
    return texts.get(code, os.strerror(code))


def signal_group(group: int, number: int) -> None:
    """Signal every process of the group, if there is any."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(group, number)


def adopt_orphans() -> None:
    """Become the parent of every process of the training whose own parent ends, in whatever session it is."""
    import ctypes  # ten milliseconds, for which nobody waits any more

    ctypes.CDLL(None, use_errno=True).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def reap() -> tuple[dict[int, int], bool]:
    """Reap the children that have ended. Returns their wait statuses by pid, and whether a living one is left."""
    ended: dict[int, int] = {}
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return ended, False
        if not pid:
            return ended, True
        ended[pid] = status


def wait_for_end(pid: int, grace: float) -> tuple[int, float | None]:
    """Return the exit code (negative: the signal that killed it), and the kill deadline if a stop was requested."""
    kill_at: float | None = None
    while True:
        timeout = 3600.0 if kill_at is None else max(0.0, kill_at - time.monotonic())
        received = signal.sigtimedwait({signal.SIGCHLD, signal.SIGTERM}, timeout)
        # Checked first: a trainer that had ended before it could be told to stop was not stopped.
        ended, _ = reap()
        if pid in ended:
            return os.waitstatus_to_exitcode(ended[pid]), kill_at
        if received is not None and received.si_signo == signal.SIGTERM and kill_at is None:
            kill_at = time.monotonic() + grace
            signal_group(pid, signal.SIGTERM)
            signal_group(pid, signal.SIGCONT)  # a suspended process would not receive it
        elif kill_at is not None and time.monotonic() >= kill_at:
            signal_group(pid, signal.SIGKILL)
            kill_at = time.monotonic() + 1


def descendants() -> dict[tuple[int, int], int]:
    """Return the process groups of all living processes below us, by pid and start."""
    pids = [int(name) for name in os.listdir("/proc") if name.isdecimal()]
    living = {pid: fields for pid in pids if (fields := stat_fields(pid))}
    found: dict[int, int] = {}
    parents = {os.getpid()}
    while parents:
        parents = {pid for pid, fields in living.items() if int(fields[1]) in parents and pid not in found}
        found |= {pid: int(living[pid][2]) for pid in parents}
    return {(pid, int(living[pid][19])): group for pid, group in found.items()}


def signal_process(pid: int, start: int, number: int) -> None:
    """Signal this process and no later owner of its pid: the descriptor pins the process that was checked."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        descriptor = os.pidfd_open(pid)
        try:
            if start_time(pid) == start:
                signal.pidfd_send_signal(descriptor, number)
        finally:
            os.close(descriptor)


def stop_leftovers(group: int, grace: float, kill_at: float | None) -> None:
    """Stop what the trainer left running: loaders that hold memory, daemons in sessions of their own.

    `kill_at` is the deadline after a SIGTERM that the trainer's group has had; None: it gets one now.
    """
    is_group_signalled = kill_at is not None
    kill_at = time.monotonic() + grace if kill_at is None else kill_at
    signalled: set[tuple[int, int]] = set()
    while reap()[1] and time.monotonic() < kill_at + UNKILLABLE_SECONDS:
        is_killing = time.monotonic() >= kill_at
        for process, its_group in descendants().items():
            if is_killing:
                signal_process(*process, signal.SIGKILL)
            elif process not in signalled and not (is_group_signalled and its_group == group):
                signal_process(*process, signal.SIGTERM)
                signal_process(*process, signal.SIGCONT)
                signalled.add(process)
        time.sleep(POLL_SECONDS)


def start_record(marker: str, trainer: Trainer) -> dict[str, object]:
    return {
        "marker": marker,
        "host": host_name(),
        "boot_id": boot_id(),
        "started_at": now(),
        "runner": {"pid": os.getpid(), "start": start_time(os.getpid())},
        "trainer": {"pid": trainer.pid, "start": start_time(trainer.pid)},
    }


def claim(folder: str, marker: str, trainer: Trainer, deadline: float) -> dict[str, object]:
    """Make this the job's only training; returns its start record. OSError: it has one, or it is past `deadline`."""
    if time.monotonic() > deadline:
        raise TimeoutError(errno.ETIMEDOUT, "this machine is too busy")
    job_id = os.path.basename(folder)
    with contextlib.suppress(FileExistsError):
        os.symlink(os.path.join(os.pardir, job_id), os.path.join(folder, os.pardir, ACTIVE, job_id))
    record = start_record(marker, trainer)
    if not write_once(os.path.join(folder, CLAIM), record):
        raise FileExistsError(errno.EEXIST, "the job has its training already")
    return record


def run(folder: str, trainer: Trainer, grace: float) -> dict[str, object]:
    """Run the trainer to its end. Returns the exit record."""
    # A canceller writes its request first and reads our claim second; we do the reverse, so that one of us sees the
    # other.
    if os.path.lexists(os.path.join(folder, CANCEL)):
        trainer.shut_gate()
        return {"exit_code": None, "stopped": True, "error": None, "ended_at": now()}
    error = trainer.open_gate()
    code, kill_at = wait_for_end(trainer.pid, grace)
    ended_at = now()
    stop_leftovers(trainer.pid, grace, kill_at)
    return {"exit_code": code, "stopped": kill_at is not None, "error": error, "ended_at": ended_at}


def release_caller(decided: int, start: dict[str, object]) -> None:
    """Release the process that waits for the claim, with the start record; it may have gone already."""
    # A reader of our output must not have to wait for the whole training.
    os.dup2(os.dup2(os.open(os.devnull, os.O_RDWR), 1), 2)
    with contextlib.suppress(BrokenPipeError):
        os.write(decided, json.dumps(start).encode())


def train(folder: str, marker: str, grace: float, deadline: float, command: list[str], decided: int) -> None:
    """Claim the job, train, record the end. Writes to `decided` after the claim; raises OSError when it fails."""
    log = os.open(os.path.join(folder, LOG), os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW, 0o600)
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


def main(folder: str, marker: str, grace: str, deadline: str, *command: str) -> None:
    # The trainer inherits it: its output is for our account alone.
    os.umask(0o077)
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGCHLD})
    for number in (signal.SIGHUP, signal.SIGINT):
        signal.signal(number, signal.SIG_IGN)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
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


if __name__ == "__main__":
    main(*sys.argv[1:])
