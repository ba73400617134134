"""The tree of runs: numbers, names, order, and who sees what."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db import connection
from django.test.utils import CaptureQueriesContext
from django.utils import timezone

from jobs.models import Job
from jobs.runs.tree import MAX_RUNS, next_name, number_of, tree_of

pytestmark = pytest.mark.django_db
MakeJob = Callable[..., Job]


def change(path: str, before: Any, after: Any) -> dict[str, Any]:
    return {"total": 1, "items": [{"path": path, "before": before, "after": after}]}


@pytest.fixture
def family(make_job: MakeJob) -> list[Job]:
    """A first run, two that changed it, and one that changed the first of these."""
    first = make_job(config_name="flux-portraits")
    fields = {"root": first, "changes": change("learning_rate", 1e-4, 5e-5)}
    second = make_job(config_name="flux-portraits-2", parent=first, **fields)
    third = make_job(config_name="flux-portraits-3", retry_of=first, root=first)
    fourth = make_job(config_name="flux-portraits-4", parent=second, **fields)
    return [first, second, third, fourth]


def shown(job: Job, reader: User) -> list[tuple[int, int, str]]:
    return [(run.number, run.depth, run.text) for run in tree_of(job, reader).runs]


def test_each_comes_before_what_was_made_from_it(family: list[Job], alice: User) -> None:
    expected = [
        (1, 0, ""),
        (2, 1, "learning_rate 1e-4 → 5e-5"),
        (4, 2, "learning_rate 1e-4 → 5e-5"),
        (3, 1, "Retried with nothing changed"),
    ]
    for job in family:
        assert shown(job, alice) == expected
        assert tree_of(job, alice).name == "flux-portraits"


def test_a_job_that_was_made_from_none_is_a_tree_of_one(make_job: MakeJob, alice: User) -> None:
    job = make_job()
    make_job()
    assert shown(job, alice) == [(1, 0, "")]
    assert number_of(job) == 1


def test_a_deleted_run_is_left_out_and_keeps_its_number(family: list[Job], alice: User) -> None:
    Job.objects.filter(pk=family[1].pk).update(deleted_at=timezone.now())
    assert shown(family[0], alice) == [
        (1, 0, ""),
        (3, 1, "Retried with nothing changed"),
        (4, 0, "learning_rate 1e-4 → 5e-5"),
    ]
    assert number_of(family[3]) == 4
    assert tree_of(family[0], alice).total == 4


def test_a_stranger_sees_none_of_it(family: list[Job], charlie: User) -> None:
    assert shown(family[0], charlie) == []


def test_the_next_name_has_the_next_number(family: list[Job], make_job: MakeJob) -> None:
    assert {next_name(job) for job in family} == {"flux-portraits-5"}
    assert next_name(make_job(config_name="sdxl-1024")) == "sdxl-1024-2"
    assert next_name(make_job(config_name="sdxl-bold", parent=family[0], root=family[0])) == "sdxl-bold-6"


def test_the_longest_name_has_room_for_its_number(make_job: MakeJob) -> None:
    name = next_name(make_job(config_name="x" * 200))
    assert len(name) == 200
    assert name.endswith("x-2")


def test_a_large_tree_is_cut_and_costs_no_more_queries(make_job: MakeJob, alice: User) -> None:
    first = make_job()
    second = make_job(parent=first, root=first)
    with CaptureQueriesContext(
        connection,
    ) as few:
        tree_of(second, alice)
    for _ in range(MAX_RUNS + 10):
        make_job(parent=first, root=first)
    with CaptureQueriesContext(connection) as many:
        tree = tree_of(second, alice)
    assert tree.total == MAX_RUNS + 12
    assert {first.pk, second.pk} <= {run.job.pk for run in tree.runs}
    assert len(tree.runs) == MAX_RUNS + 2
    assert len(many) == len(few)
