"""A training on a node of a cluster: the runner is the engine's own process there, and lives with its supervisor.

`run.json` lies in the job's folder on the node and holds:

    marker         the submission's name; a folder of records trains once for all
    command        the trainer's program and arguments; `{folder}` in them stands for the job's folder
    grace_seconds  between SIGTERM and SIGKILL
    records        a folder that the site sees too, which has the claim, the end and the log; empty: the job's folder
    output         a folder to make for the trainer; `{folder}` stands for the job's folder
    log            `records`: the trainer writes `train.log` there. `stdout`: it is copied to our output, with marks
    marks          whether our output gets the records of start and end as marks (see marks.py)
    forwards       whether the trainer has to be told of a SIGTERM: false where the engine tells all processes itself
    environment    variables of the trainer, besides those of the engine
    placed         files in the job's folder in which `{folder}` has to be replaced too

It exits with the trainer's exit code (128 and the number of a signal, as a shell does), or with one of those below.
"""

# No pathlib and no typing here: they would double the time that a start takes.
# ruff: noqa: PTH100, PTH103, PTH112, PTH118, PTH120, PTH123

from __future__ import annotations

import contextlib
import json
import os
import sys

TYPE_CHECKING = False  # typing's own would have to be imported
if TYPE_CHECKING:
    import threading
    from typing import Any

if TYPE_CHECKING or __package__:
    from jobs.providers.runner import marks
    from jobs.providers.runner.checkpoint import place_checkpoint
    from jobs.providers.runner.processes import Guard, Supervisor, Trainer, adopt_orphans, run_to_end, start_record
    from jobs.providers.runner.records import (
        CANCEL,
        CLAIM,
        CONFIG,
        DATALOADER,
        LOG,
        MASKED,
        ExitRecord,
        cancelled_record,
        drop_secrets,
        host_name,
        now,
        open_log,
        open_private,
        write_once,
    )
else:
    import marks
    from checkpoint import place_checkpoint
    from processes import Guard, Supervisor, Trainer, adopt_orphans, run_to_end, start_record
    from records import (
        CANCEL,
        CLAIM,
        CONFIG,
        DATALOADER,
        LOG,
        MASKED,
        ExitRecord,
        cancelled_record,
        drop_secrets,
        host_name,
        now,
        open_log,
        open_private,
        write_once,
    )

FOLDER = "{folder}"
#: The folder of records is not there or can't be written.
CANT_WRITE = 73
#: The marker has its training already, in whatever state.
HAS_TRAINED = 75
COPY_SECONDS = 5.0


class RefusedError(Exception):
    """Nothing was started. `code` is our exit code."""

    def __init__(self, sentence: str, code: int) -> None:
        super().__init__(sentence)
        self.code = code


def run_order(path: str) -> int:
    """Train what the file orders. Returns our exit code."""
    supervisor = Supervisor()
    folder = os.path.dirname(os.path.abspath(path))
    with open(path, encoding="utf-8") as file:
        order = json.load(file)
    os.chdir(folder)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    training = NodeTraining(order, folder)
    try:
        end = training.run(supervisor)
    except RefusedError as refusal:
        training.tell("end", {"exit_code": None, "stopped": False, "error": str(refusal), "ended_at": now()})
        print(refusal, file=sys.stderr)  # noqa: T201 - it goes to the engine's log
        drop_secrets(folder)
        return refusal.code
    return exit_status(end)


def exit_status(end: dict[str, Any]) -> int:
    code: int | None = end["exit_code"]
    if code is None:
        return CANT_WRITE if end["error"] else 0
    return code if code >= 0 else 128 - code


class NodeTraining:
    def __init__(self, order: dict[str, Any], folder: str) -> None:
        self.order = order
        self.folder = folder
        self.records = order["records"] or folder
        self.output: str = order["output"].replace(FOLDER, folder)
        self.copy: marks.MarkedCopy | None = None
        # What others of our group may read on a shared folder is the site's concern.
        os.umask(0o007 if order["records"] else 0o077)
        os.environ.update(order["environment"])

    def run(self, supervisor: Supervisor) -> dict[str, Any]:
        """Claim, train, record the end. Returns the exit record. Raises RefusedError when nothing was started."""
        if not os.path.isdir(self.records):
            raise RefusedError(
                f"The shared folder is missing on node {host_name()}: there is no {self.records}. "
                "Mount it there under the same path.",
                CANT_WRITE,
            )
        trainer, record, copier, start = self.begin()
        if os.path.lexists(os.path.join(self.records, CANCEL)):
            trainer.shut_gate()
            end = cancelled_record()
        else:
            self.tell("start", start)
            hindrance = place_checkpoint(self.folder, self.output)
            if hindrance:
                trainer.shut_gate()
            end = hindrance or self.train(supervisor, trainer, copier)
        drop_secrets(self.folder)
        with contextlib.suppress(OSError):  # the shared folder has gone meanwhile: the mark has it
            record.write(end)
        self.tell("end", {**end, "started_at": start["started_at"]})
        return end

    def train(self, supervisor: Supervisor, trainer: Trainer, copier: threading.Thread | None) -> dict[str, Any]:
        """Let the trainer through its gate, and wait for its end. Returns the exit record."""
        grace = float(self.order["grace_seconds"])
        guard = Guard(trainer, grace)
        adopt_orphans()
        if copier:
            copier.start()
        end = run_to_end(trainer, grace, supervisor, guard, forwards=self.order["forwards"])
        if copier:
            copier.join(COPY_SECONDS)
        return end

    def begin(self) -> tuple[Trainer, ExitRecord, threading.Thread | None, dict[str, Any]]:
        """Fork the trainer, which waits at its gate, and claim the marker for it."""
        try:
            os.makedirs(self.output, exist_ok=True)
            self.place()
            log, copier = self.open_output()
            record = ExitRecord(self.records)
        except OSError as error:
            raise RefusedError(self.cant_write(error), CANT_WRITE) from error
        trainer = Trainer([part.replace(FOLDER, self.folder) for part in self.order["command"]], log)
        os.close(log)
        start = start_record(self.order["marker"], trainer)
        try:
            if write_once(os.path.join(self.records, CLAIM), start):
                return trainer, record, copier, start
            refusal = RefusedError("This submission was already started. It is not started again.", HAS_TRAINED)
        except OSError as error:
            refusal = RefusedError(self.cant_write(error), CANT_WRITE)
        trainer.shut_gate()
        record.discard()
        raise refusal

    def cant_write(self, error: OSError) -> str:
        return f"The job's folder can't be written on node {host_name()}: {error.strerror or error}."

    def open_output(self) -> tuple[int, threading.Thread | None]:
        """Return where the trainer writes, and the thread that copies it from there."""
        if self.order["log"] == "records":
            return open_log(os.path.join(self.records, LOG)), None
        import threading

        source, log = os.pipe()
        self.copy = marks.MarkedCopy(source, 1)
        return log, threading.Thread(target=self.copy.run, daemon=True)

    def place(self) -> None:
        """Write the job's folder into the files that name it, with the mode that they have."""
        names = [name for name in self.order["placed"] if name in (CONFIG, DATALOADER)]
        for name in [*names, *(f"{name}{MASKED}" for name in names)]:
            path = os.path.join(self.folder, name)
            if os.path.lexists(path):
                with open(path, encoding="utf-8") as file:
                    text = file.read()
                with open(path, "w", encoding="utf-8", opener=open_private) as file:
                    file.write(text.replace(FOLDER, json.dumps(self.folder)[1:-1]))

    def tell(self, kind: str, record: object) -> None:
        """Write a record to our output, where the engine's log has it."""
        if self.order["marks"]:
            with contextlib.suppress(OSError):
                marks.write_whole(1, marks.mark(self.copy.copied if self.copy else 0, kind, record))
