"""Slurm's JSON in the shapes of its versions. Those of v0.0.38 are a real Slurm's, the others follow the schemas."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from jobs.providers.slurm import shapes
from jobs.providers.slurm.shapes import SlurmPartition, Submission

DATA = Path(__file__).parent / "data"
MARKER = "ct-0123456789abcdef01234567"
SUBMISSION = Submission(
    name=MARKER,
    comment=f"cloudtrain:{MARKER}",
    script="#!/bin/bash\ntrue\n",
    folder=f"/mnt/shared/{MARKER}",
    environment={"PATH": "/usr/bin:/bin", "LANG": "C.UTF-8"},
    nodes=2,
    cpus=16,
    memory_mb=64_000,
    gpus=8,
    gpu_type="h100",
    partition="gpu",
    account="lab",
    qos="high",
    time_limit_minutes=90,
)


def golden(name: str) -> dict[str, Any]:
    body: dict[str, Any] = json.loads((DATA / f"{name}.json").read_text())
    return body


@pytest.mark.parametrize(
    ("version", "file"),
    [
        ("v0.0.38", "submission_v0.0.38"),
        ("v0.0.39", "submission_v0.0.40"),
        ("v0.0.40", "submission_v0.0.40"),
        ("v0.0.41", "submission_v0.0.41"),
        ("v0.0.44", "submission_v0.0.41"),
    ],
)
def test_what_slurm_is_asked_for(version: str, file: str) -> None:
    assert shapes.write_submission(SUBMISSION, version) == golden(file)


def test_what_is_not_asked_for_is_left_to_the_cluster() -> None:
    plain = Submission(name=MARKER, comment="", script="", folder="/", environment={})
    for version in ("v0.0.38", "v0.0.40"):
        job = shapes.write_submission(plain, version)["job"]
        left = {"partition", "account", "qos", "memory_per_node", "gpus_per_node", "tres_per_node", "time_limit"}
        assert not left & set(job)
    any_gpu = Submission(name=MARKER, comment="", script="", folder="/", environment={}, gpus=2)
    assert shapes.write_submission(any_gpu, "v0.0.38")["job"]["gpus_per_node"] == "2"
    assert shapes.write_submission(any_gpu, "v0.0.40")["job"]["tres_per_node"] == "gres/gpu:2"


@pytest.mark.parametrize(
    ("offered", "chosen"),
    [
        ({"v0.0.38"}, "v0.0.38"),
        ({"v0.0.37", "v0.0.38", "v0.0.39"}, "v0.0.38"),
        ({"v0.0.40", "v0.0.41", "v0.0.39"}, "v0.0.39"),
        ({"v0.0.36", "v0.0.37"}, "v0.0.36"),
        ({"v0.0.45", "v0.0.46"}, "v0.0.45"),
    ],
)
def test_the_version_to_speak(offered: set[str], chosen: str) -> None:
    assert shapes.choose_version(offered) == chosen


def test_jobs_of_the_tested_version() -> None:
    running, waiting = shapes.read_jobs(golden("jobs_v0.0.38"))
    assert (running.name, running.comment, running.user) == (MARKER, f"cloudtrain:{MARKER}", "root")
    assert (running.state, running.nodes, running.first_node, running.gpus) == ("RUNNING", "n[1-2]", "n1", 4)
    assert running.time_limit_minutes == 90
    assert running.started_at == datetime.fromtimestamp(1795919786, UTC)
    assert (waiting.state, waiting.reason, waiting.gpus) == ("PENDING", "Resources", 1)
    assert (waiting.started_at, waiting.ended_at, waiting.time_limit_minutes) == (None, None, None)


def test_jobs_of_a_later_version() -> None:
    running, waiting, failed, ending, killed = shapes.read_jobs(golden("jobs_v0.0.40"))
    [before, _] = shapes.read_jobs(golden("jobs_v0.0.38"))
    for name in ("name", "comment", "state", "nodes", "first_node", "gpus", "time_limit_minutes", "started_at"):
        assert getattr(running, name) == getattr(before, name)
    assert (waiting.state, waiting.started_at, waiting.time_limit_minutes) == ("PENDING", None, None)
    assert (failed.exit_code, failed.signal) == (3, 0)
    assert ending.state == "COMPLETING"
    assert (killed.exit_code, killed.signal) == (0, 9)


def test_nodes_and_partitions_of_both() -> None:
    first, second = shapes.read_nodes(golden("nodes_v0.0.38"))
    assert (first.name, first.state, first.partitions) == ("n1", "mixed", ["main"])
    assert (first.gpus, first.used_gpus, first.version) == ({"h100": 2}, 2, "22.05.8")
    assert second.memory_mb == 2000
    [later] = shapes.read_nodes(golden("nodes_v0.0.40"))
    assert (later.state, later.gpus, later.used_gpus) == ("mixed+drain", {"h100": 8}, 3)
    assert shapes.read_partitions(golden("partitions_v0.0.38")) == [SlurmPartition("main", True, None)]
    assert shapes.read_partitions(golden("partitions_v0.0.40")) == [
        SlurmPartition("gpu", False, 2880),
        SlurmPartition("long", False, None),
    ]
    assert shapes.read_version(golden("nodes_v0.0.38")) == "22.05.8"
    assert shapes.read_version(golden("nodes_v0.0.40")) == "23.11.4"


@pytest.mark.parametrize(
    ("text", "counts"),
    [
        ("", {}),
        ("(null)", {}),
        ("gpu:2", {"": 2}),
        ("gpu:h100:8(S:0-1)", {"h100": 8}),
        ("gpu:a100-40gb:2(IDX:0-1),gpu:l40s:1,shard:8,tmp:9", {"a100-40gb": 2, "l40s": 1}),
        ("gres:gpu:1", {"": 1}),
        ("gres/gpu=4", {"": 4}),
        ("gres/gpu:h100=4", {"h100": 4}),
        ("gpu:h100:0(IDX:N/A)", {"h100": 0}),
        pytest.param("gpu:" + "a" * 1_000_000, {}, id="a name without an end"),
    ],
)
def test_gpus_in_slurms_lists(text: str, counts: dict[str, int]) -> None:
    assert shapes.gpus_in(text) == counts


@pytest.mark.parametrize("value", [None, [], {}, "x", 1.5, True, {"set": "x"}, {"job_id": None}, [["x"]], "\0\ud800"])
def test_nothing_that_a_field_may_hold_breaks_the_reading(value: Any) -> None:
    [row] = golden("jobs_v0.0.38")["jobs"][:1]
    for key in row:
        shapes.read_jobs({"jobs": [{**row, key: value}]})
    for kind, read in (("nodes", shapes.read_nodes), ("partitions", shapes.read_partitions)):
        [row] = golden(f"{kind}_v0.0.38")[kind][:1]
        for key in row:
            read({kind: [{**row, key: value}, value]})
    assert isinstance(shapes.read_version({"meta": {"Slurm": value}}), str)
