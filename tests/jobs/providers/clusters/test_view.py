"""A view of a cluster as it is stored, and read again."""

from __future__ import annotations

import json
from typing import Any

import pytest

from jobs.providers.clusters.view import ClusterView, view_data, view_from
from tests.providers import node

VIEW = ClusterView(
    "2.60.0",
    (node("a", resources={"h100": 2.0}), node("b", state="DEAD", is_usable=False, free_gpus=None)),
    unrunnable={"h100-x8": "No node has 8 GPUs."},
    warnings=("It takes jobs from anybody.",),
)


def test_it_is_read_as_it_was_stored() -> None:
    assert view_from(json.loads(json.dumps(view_data(VIEW)))) == VIEW


def test_what_a_later_version_added_is_left_out() -> None:
    data = view_data(VIEW)
    data["new"] = 1
    data["nodes"][0]["new"] = 1
    assert view_from(data) == VIEW


@pytest.mark.parametrize("data", [{}, {"nodes": [{"name": "a"}], "version": "1"}, {"nodes": None}, {"nodes": []}])
def test_what_lacks_something_is_no_view(data: dict[str, Any]) -> None:
    assert view_from(data) is None


def test_what_no_column_takes_is_left_out() -> None:
    odd = ClusterView("1\0", [node("a\ud800", resources={"gpu\0": float("nan")})])
    [stored] = view_data(odd)["nodes"]
    assert (view_data(odd)["version"], stored["name"], stored["resources"]) == ("1", "a?", {"gpu": None})
