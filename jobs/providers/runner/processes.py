"""The trainer's process: how it is started, waited for and ended, with all that it leaves running."""

# No pathlib and no typing here: they would double the time that a start takes.
# ruff: noqa: PTH208

from __future__ import annotations

import contextlib
import errno
import os
import signal
import time

TYPE_CHECKING = False  # typing's own would have to be imported
if TYPE_CHECKING or __package__:
    from jobs.providers.runner.records import boot_id, host_name, now, start_time, stat_fields
else:
    from records import boot_id, host_name, now, start_time, stat_fields

POLL_SECONDS = 0.05
#: How often a runner that ends with its supervisor looks at it.
WATCH_SECONDS = 1.0
#: What SIGKILL has not ended by then, such as a process that waits for a broken device, is left alone.
UNKILLABLE_SECONDS = 5.0
PR_SET_CHILD_SUBREAPER = 36


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
        errno.EACCES: "it is not executable",
        errno.ENOEXEC: "it is not a program for this machine",
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


def exit_code_of(status: int) -> int:
    """Return the exit code of a wait status; negative: the signal that killed it. Python's own is of 3.9."""
    return -os.WTERMSIG(status) if os.WIFSIGNALED(status) else os.WEXITSTATUS(status)


def start_record(marker: str, trainer: Trainer) -> dict[str, object]:
    return {
        "marker": marker,
        "host": host_name(),
        "boot_id": boot_id(),
        "started_at": now(),
        "runner": {"pid": os.getpid(), "start": start_time(os.getpid())},
        "trainer": {"pid": trainer.pid, "start": start_time(trainer.pid)},
    }


class Supervisor:
    """The process that started us, when we are to end with it. Its death leaves us to another parent."""

    def __init__(self) -> None:
        self.pid = os.getppid()

    @property
    def is_gone(self) -> bool:
        return os.getppid() != self.pid


def wait_for_end(
    pid: int, grace: float, supervisor: Supervisor | None = None, *, forwards: bool = True
) -> tuple[int, float | None]:
    """Return the exit code (negative: the signal that killed it), and the kill deadline if a stop was requested.

    A stop is a SIGTERM, or that the supervisor is gone. `forwards`: the one who sent the SIGTERM has not sent it to the
    trainer as well, which may take a second one for impatience.
    """
    kill_at: float | None = None
    while True:
        timeout = WATCH_SECONDS if supervisor else 3600.0
        if kill_at is not None:
            timeout = min(timeout, max(0.0, kill_at - time.monotonic()))
        received = signal.sigtimedwait({signal.SIGCHLD, signal.SIGTERM}, timeout)
        is_asked = received is not None and received.si_signo == signal.SIGTERM
        # Checked first: a trainer that had ended before we could tell it to stop was not stopped. One that was told
        # together with us may well have ended by now.
        ended, _ = reap()
        if pid in ended:
            is_told = is_asked and not forwards
            return exit_code_of(ended[pid]), time.monotonic() + grace if is_told and kill_at is None else kill_at
        is_alone = supervisor is not None and supervisor.is_gone
        if kill_at is None and (is_asked or is_alone):
            kill_at = time.monotonic() + grace
            if forwards or is_alone:
                ask_group_to_end(pid)
        elif kill_at is not None and time.monotonic() >= kill_at:
            signal_group(pid, signal.SIGKILL)
            kill_at = time.monotonic() + 1


def ask_group_to_end(group: int) -> None:
    signal_group(group, signal.SIGTERM)
    signal_group(group, signal.SIGCONT)  # a suspended process would not receive it


def descendants() -> dict[tuple[int, int], int]:
    """Return the process groups of all living processes below us, by pid and start."""
    pids = [int(name) for name in os.listdir("/proc") if name.isdecimal()]
    living = {pid: fields for pid in pids if (fields := stat_fields(pid))}
    found: dict[int, int] = {}
    parents = {os.getpid()}
    while parents:
        parents = {pid for pid, fields in living.items() if int(fields[1]) in parents and pid not in found}
        found.update({pid: int(living[pid][2]) for pid in parents})
    return {(pid, int(living[pid][19])): group for pid, group in found.items()}


def signal_process(pid: int, start: int, number: int) -> None:
    """Signal this process and no later owner of its pid: the descriptor pins the process that was checked."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        if not hasattr(os, "pidfd_open"):  # Python 3.8: a moment is left in which the pid may get another owner
            if start_time(pid) == start:
                os.kill(pid, number)
            return
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


def is_group_alive(group: int) -> bool:
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True


class Guard:
    """A process that ends the trainer's group when we die before it: an engine may kill us, and only us, by SIGKILL.

    It ignores what is sent to all of a job's processes to end them kindly.
    """

    def __init__(self, trainer: Trainer, grace: float) -> None:
        end, self.end = os.pipe()
        self.pid = os.fork()
        if self.pid == 0:
            try:
                for other in (self.end, trainer.gate, trainer.failure):
                    os.close(other)
                self._watch(end, trainer.pid, grace)
            finally:
                os._exit(0)
        os.close(end)

    @staticmethod
    def _watch(end: int, group: int, grace: float) -> None:
        os.setsid()
        for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
            signal.signal(number, signal.SIG_IGN)
        if os.read(end, 1):
            return
        ask_group_to_end(group)
        kill_at = time.monotonic() + grace
        while is_group_alive(group) and time.monotonic() < kill_at:
            time.sleep(POLL_SECONDS)
        signal_group(group, signal.SIGKILL)

    def dismiss(self) -> None:
        """Let it go: the trainer has ended, and we live."""
        with contextlib.suppress(BrokenPipeError):  # killed before
            os.write(self.end, b"!")
        os.close(self.end)
        with contextlib.suppress(ChildProcessError):  # reaped with the others
            os.waitpid(self.pid, 0)


def run_to_end(
    trainer: Trainer,
    grace: float,
    supervisor: Supervisor | None = None,
    guard: Guard | None = None,
    *,
    forwards: bool = True,
) -> dict[str, object]:
    """Let the trainer run, wait for it and end what it leaves running. Returns the exit record."""
    error = trainer.open_gate()
    code, kill_at = wait_for_end(trainer.pid, grace, supervisor, forwards=forwards)
    ended_at = now()
    if guard:
        guard.dismiss()
    stop_leftovers(trainer.pid, grace, kill_at)
    return {"exit_code": code, "stopped": kill_at is not None, "error": error, "ended_at": ended_at}
