"""The shapes of Slurm's JSON, which differ between the versions of its API, as values of ours.

v0.0.38 (Slurm 22.05) is tested against the real one. From v0.0.39 on a job is described with other keys, and numbers
may come as objects; that is written by the published schemas of v0.0.39 and v0.0.40, and was never run. Answers are
read in every shape.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

TESTED_VERSION = "v0.0.38"
OLDEST_MINOR, NEWEST_MINOR = 38, 44
#: From this version on the script is a part of the job's description.
SCRIPT_IN_JOB_MINOR = 41
#: Slurm's numbers for "not set" and "without a limit", as some versions give them.
NO_NUMBERS = frozenset({-1, -2, 0xFFFFFFFF, 0xFFFFFFFE, 0xFFFE, 0xFFFF})
_GPU = re.compile(r"(?:gres[:/])?gpu(?::([0-9.-]{0,80}[A-Za-z_][A-Za-z0-9_.-]{0,80}))?[:=]([0-9]{1,6})")


def minor_of(version: str) -> int:
    return int(version.rpartition(".")[2])


def choose_version(offered: Collection[str]) -> str:
    """Return the version to speak: the tested one, or the nearest that is known, or the oldest that is offered."""
    in_order = sorted(offered, key=minor_of)
    known = [version for version in in_order if OLDEST_MINOR <= minor_of(version) <= NEWEST_MINOR]
    return (known or in_order)[0]


@dataclass(frozen=True, slots=True)
class Submission:
    """What Slurm is asked to run. Figures are for one of its nodes."""

    name: str
    comment: str
    script: str
    folder: str
    environment: Mapping[str, str]
    nodes: int = 1
    cpus: int = 1
    memory_mb: int = 0
    gpus: int = 0
    gpu_type: str = ""
    partition: str = ""
    account: str = ""
    qos: str = ""
    time_limit_minutes: int | None = None


def write_submission(submission: Submission, version: str) -> dict[str, Any]:
    """Return the body of `POST /job/submit`."""
    minor = minor_of(version)
    job = _common_keys(submission) | (_first_keys(submission) if minor <= 38 else _later_keys(submission))
    if minor >= SCRIPT_IN_JOB_MINOR:
        return {"job": {**job, "script": submission.script}}
    return {"script": submission.script, "job": job}


def _common_keys(submission: Submission) -> dict[str, Any]:
    optional = {"partition": submission.partition, "account": submission.account, "qos": submission.qos}
    return {
        "name": submission.name,
        "comment": submission.comment,
        "current_working_directory": submission.folder,
        # The script writes its own log, once it knows that the node sees the folder.
        "standard_output": "/dev/null",
        "standard_error": "/dev/null",
        # With fewer tasks than nodes Slurm takes nodes away (measured).
        "tasks": submission.nodes,
        "tasks_per_node": 1,
        "cpus_per_task": submission.cpus,
        # 22.05 does not heed it over REST (measured): the script refuses to start twice.
        "requeue": False,
        **{key: value for key, value in optional.items() if value},
    }


def _first_keys(submission: Submission) -> dict[str, Any]:
    optional = {
        "memory_per_node": submission.memory_mb,
        "gpus_per_node": _gpus(submission, "") if submission.gpus else None,
        "time_limit": submission.time_limit_minutes,
    }
    return {
        "environment": dict(submission.environment),
        "nodes": [submission.nodes, submission.nodes],
        **{key: value for key, value in optional.items() if value},
    }


def _later_keys(submission: Submission) -> dict[str, Any]:
    optional = {
        "memory_per_node": _number_object(submission.memory_mb),
        "tres_per_node": _gpus(submission, "gres/gpu:") if submission.gpus else None,
        "time_limit": _number_object(submission.time_limit_minutes),
    }
    return {
        "environment": [f"{name}={value}" for name, value in submission.environment.items()],
        "minimum_nodes": submission.nodes,
        "maximum_nodes": submission.nodes,
        **{key: value for key, value in optional.items() if value},
    }


def _gpus(submission: Submission, prefix: str) -> str:
    return prefix + (f"{submission.gpu_type}:{submission.gpus}" if submission.gpu_type else str(submission.gpus))


def _number_object(number: int | None) -> dict[str, Any] | None:
    return {"set": True, "infinite": False, "number": number} if number else None


# Answers, in any version's shape.


@dataclass(frozen=True, slots=True)
class SlurmJob:
    job_id: int
    name: str
    comment: str
    user: str
    #: In capitals, such as "RUNNING"; "COMPLETING" goes before the end that it leads to.
    state: str
    reason: str
    submitted_at: datetime | None
    started_at: datetime | None
    ended_at: datetime | None
    time_limit_minutes: int | None
    #: The nodes that it has or had, as Slurm's list; empty for one that never ran.
    nodes: str
    first_node: str
    #: What it asks for, on all nodes together.
    gpus: int
    exit_code: int
    #: The signal that ended it; 0: none did.
    signal: int
    #: How often Slurm put it back to begin again.
    restarts: int


def read_jobs(body: Mapping[str, Any]) -> list[SlurmJob]:
    return [read_job(row) for row in _rows(body, "jobs") if isinstance(row.get("job_id"), int)]


def read_job(row: Mapping[str, Any]) -> SlurmJob:
    exit_code, signal = _exit(row.get("exit_code"))
    nodes = _text(row.get("nodes"))
    count = _number(row.get("node_count")) or 1
    return SlurmJob(
        job_id=row["job_id"],
        name=_text(row.get("name")),
        comment=_text(row.get("comment")),
        user=_text(row.get("user_name")),
        state=_state(row.get("job_state")),
        reason=_text(row.get("state_reason")),
        submitted_at=_moment(row.get("submit_time")),
        started_at=_moment(row.get("start_time")) if nodes else None,
        ended_at=_moment(row.get("end_time")),
        time_limit_minutes=_number(row.get("time_limit")),
        nodes=nodes,
        first_node=_text(row.get("batch_host")),
        gpus=count * sum(gpus_in(_text(row.get("tres_per_node"))).values()),
        exit_code=exit_code,
        signal=signal,
        restarts=_number(row.get("restart_cnt")) or 0,
    )


def _state(value: Any) -> str:
    states = [str(state).upper() for state in value] if isinstance(value, list) else [_text(value).upper()]
    return "COMPLETING" if "COMPLETING" in states else states[0] if states else ""


def _exit(value: Any) -> tuple[int, int]:
    """Return the exit code and the signal, of a wait status or of the object that later versions have."""
    if isinstance(value, Mapping) and "return_code" in value:
        signal = value.get("signal")
        number = _number(signal.get("id", signal.get("signal_id"))) if isinstance(signal, Mapping) else None
        return _number(value["return_code"]) or 0, number or 0
    status = _number(value) or 0
    return status >> 8, status & 0x7F


@dataclass(frozen=True, slots=True)
class SlurmNode:
    name: str
    #: In small letters with its flags, such as "idle+drain".
    state: str
    #: Why it is down or drained, in the words of who did that.
    reason: str
    partitions: Sequence[str]
    cpus: int
    memory_mb: int
    #: The number of GPUs by type; "" for those without.
    gpus: Mapping[str, int] = field(default_factory=dict)
    used_gpus: int = 0
    #: Slurm's on that node.
    version: str = ""


def read_nodes(body: Mapping[str, Any]) -> list[SlurmNode]:
    return [_read_node(row) for row in _rows(body, "nodes") if _text(row.get("name"))]


def _read_node(row: Mapping[str, Any]) -> SlurmNode:
    partitions = row.get("partitions")
    return SlurmNode(
        name=_text(row.get("name")),
        state=_node_state(row.get("state"), row.get("state_flags")),
        reason=_text(row.get("reason")),
        partitions=[_text(name) for name in partitions] if isinstance(partitions, list) else [],
        cpus=_number(row.get("cpus")) or 0,
        memory_mb=_number(row.get("real_memory")) or 0,
        gpus=gpus_in(_text(row.get("gres"))),
        used_gpus=sum(gpus_in(_text(row.get("gres_used"))).values()),
        version=_text(row.get("slurmd_version")) or _text(row.get("version")),
    )


def _node_state(state: Any, flags: Any) -> str:
    parts = [*(state if isinstance(state, list) else [state]), *(flags if isinstance(flags, list) else [])]
    return "+".join(_text(part).lower() for part in parts if part)


@dataclass(frozen=True, slots=True)
class SlurmPartition:
    name: str
    is_default: bool
    #: None: without a limit.
    max_minutes: int | None


def read_partitions(body: Mapping[str, Any]) -> list[SlurmPartition]:
    return [_read_partition(row) for row in _rows(body, "partitions") if _text(row.get("name"))]


def _read_partition(row: Mapping[str, Any]) -> SlurmPartition:
    flags, maximums = row.get("flags"), row.get("maximums")
    limit = row.get("max_time_limit", maximums.get("time") if isinstance(maximums, Mapping) else None)
    is_default = isinstance(flags, list) and "default" in [_text(flag).lower() for flag in flags]
    return SlurmPartition(_text(row.get("name")), is_default, _number(limit))


def read_version(body: Mapping[str, Any]) -> str:
    """Return Slurm's own version, such as "22.05.8"; empty when the answer doesn't say."""
    meta = body.get("meta")
    slurm = (meta.get("Slurm") or meta.get("slurm")) if isinstance(meta, Mapping) else None
    return _text(slurm.get("release")) if isinstance(slurm, Mapping) else ""


def gpus_in(text: str) -> dict[str, int]:
    """Return the number of GPUs by type in a list of Slurm's, such as "gpu:h100:2(IDX:0-1),gpu:1"."""
    counts: dict[str, int] = {}
    for kind, number in _GPU.findall(text):
        counts[kind] = counts.get(kind, 0) + int(number)
    return counts


def _rows(body: Mapping[str, Any], key: str) -> Iterator[Mapping[str, Any]]:
    rows = body.get(key)
    return (row for row in rows if isinstance(row, Mapping)) if isinstance(rows, list) else iter(())


def _number(value: Any) -> int | None:
    """Return a number as it is or in an object; None for one that is not set, or without a limit."""
    if isinstance(value, Mapping):
        value = value.get("number") if value.get("set") and not value.get("infinite") else None
    return None if isinstance(value, bool) or not isinstance(value, int) or value in NO_NUMBERS else value


def _moment(value: Any) -> datetime | None:
    seconds = _number(value)
    return datetime.fromtimestamp(seconds, UTC) if seconds and 0 < seconds < 10**11 else None


def _text(value: Any) -> str:
    """Return `value` as text that a database takes; empty for anything that isn't text."""
    return value.encode("utf-8", "replace").decode().replace("\x00", " ")[:2000] if isinstance(value, str) else ""
