"""`manage.py machines` as an operator reads it, and as a program does."""

from __future__ import annotations

import json
from datetime import timedelta
from io import StringIO
from typing import Any

import pytest
from django.core.management import call_command

from jobs.providers.clusters.view import ClusterView
from jobs.sync import clusters
from tests.factories import make_process
from tests.providers import ClusterProvider, node

pytestmark = pytest.mark.django_db


def output(*arguments: str) -> str:
    written = StringIO()
    call_command("machines", *arguments, stdout=written)
    return written.getvalue()


@pytest.fixture
def seen(lab: ClusterProvider) -> ClusterProvider:
    lab.view = ClusterView(
        "2.60.0",
        (node("node-1", free_gpus=1, resources={"h100": 2.0}), node("node-2", free_gpus=None)),
        unrunnable={"gpu": "No node has 8 GPUs."},
        warnings=("It takes jobs from anybody.",),
    )
    clusters.look_now("lab")
    make_process("one", code="abc", clock_offset_seconds=0.012)
    make_process("two", code="abc", clock_offset_seconds=-7.0, silent_for=timedelta(hours=1))
    return lab


def test_an_empty_site_says_so() -> None:
    text = output()
    assert "No web or background process is running." in text
    assert "local" in text and "replicate" in text


def test_people_read_tables(seen: ClusterProvider) -> None:
    lines = [line.split() for line in output().splitlines()]
    assert ["MACHINE", "ROLE", "PID", "VERSION", "CODE", "LAST", "HEARTBEAT", "CLOCK", "REMARKS"] in lines
    [one] = [line for line in lines if line[:1] == ["one"]]
    assert one[1:5] == ["web", "7", "1.2.0", "abc"] and one[-3:] == ["+0.012", "s", "-"]
    [two] = [line for line in lines if line[:1] == ["two"]]
    assert two[-5:] == ["-7.000", "s", "silent,", "clock", "is", "off"][-5:]
    [lab] = [line for line in lines if line[:1] == ["lab"] and len(line) > 1]
    assert lab[:4] == ["lab", "lab", "Ready", "2.60.0"] and lab[-1] == "UTC"
    assert "! gpu: No node has 8 GPUs." in output() and "! It takes jobs from anybody." in output()
    assert ["node-1", "idle", "8", "64000", "MB", "2", "1", "h100", "2"] in lines
    assert ["node-2", "idle", "8", "64000", "MB", "2", "?"] in lines


def test_programs_read_json(seen: ClusterProvider) -> None:
    report = json.loads(output("--json"))
    [one, two] = report["processes"]
    assert (one["machine"], one["is_silent"], one["is_clock_off"]) == ("one", False, False)
    assert (two["machine"], two["is_silent"], two["is_clock_off"]) == ("two", True, True)
    assert one["seen_at"].endswith("Z")
    lab: dict[str, Any] = {provider["name"]: provider for provider in report["providers"]}["lab"]
    assert (lab["state"], lab["version"], lab["gpus"]["free"]) == ("Ready", "2.60.0", 1)
    assert [found["name"] for found in lab["nodes"]] == ["node-1", "node-2"]
    assert lab["unrunnable"] == {"gpu": "No node has 8 GPUs."}


def test_it_asks_no_cluster(seen: ClusterProvider) -> None:
    output(), output("--json")
    assert seen.looks == 1
