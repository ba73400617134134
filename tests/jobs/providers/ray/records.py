"""What Ray and the runner leave of a training, and what a site sees later, for the tests."""

from __future__ import annotations

import io
import json
import zipfile
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from jobs.providers.base import Handle
from jobs.providers.runner.marks import mark
from tests.jobs.providers.ray.clusters import Cluster
from tests.jobs.providers.ray.fake_ray import Answer, FakeRay

STARTED = "2026-11-29T02:00:00+00:00"
ENDED = "2026-11-29T02:01:30+00:00"
PREAMBLE = b"2026-11-29 02:00:00,000\tINFO job_manager.py:581 -- Runtime env is setting up.\n"


def log_of(job: str, *lines: bytes, exit_code: int | None = None, **end: Any) -> bytes:
    """A log as Ray keeps it: its own lines, the runner's marks, the trainer's bytes."""
    entrypoint = f"Running entrypoint for job {job}: exec python3 -I -S runner.pyz run.json\n".encode()
    trainers = b"".join(lines)
    record = {"exit_code": exit_code, "stopped": False, "error": None, "ended_at": ENDED, "started_at": STARTED, **end}
    whole = PREAMBLE + mark(0, "start", {"started_at": STARTED}) + trainers[:5] + entrypoint + trainers[5:]
    return whole + (mark(len(trainers), "end", record) if exit_code is not None or end else b"")


def on_submission(answer: Answer) -> Any:
    return lambda method, path: answer if (method, path) == ("POST", "/api/jobs/") else None


def files_of(ray: FakeRay) -> dict[str, bytes]:
    (data,) = ray.packages.values()
    with zipfile.ZipFile(io.BytesIO(data)) as file:
        assert {entry.external_attr >> 16 & 0o777 for entry in file.infolist()} == {0o600}
        return {name: file.read(name) for name in file.namelist()}


def a_minute_later(handle: Handle) -> Handle:
    earlier = datetime.fromisoformat(handle.metadata["missing_since"]) - timedelta(seconds=61)
    return replace(handle, metadata={**handle.metadata, "missing_since": earlier.isoformat()})


def missing(cluster: Cluster, ray: FakeRay, **fields: Any) -> Handle:
    handle = replace(cluster.submit(), **fields)
    ray.jobs.clear()
    return a_minute_later(replace(handle, metadata={**handle.metadata, **cluster.fetch(handle).metadata}))


def record_end(folder: Path, **end: Any) -> None:
    (folder / "process.json").write_text(json.dumps({"started_at": STARTED}))
    whole = {"exit_code": None, "stopped": False, "error": None, "ended_at": ENDED, **end}
    (folder / "exit.json").write_text(json.dumps(whole))
