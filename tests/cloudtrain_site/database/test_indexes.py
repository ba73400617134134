"""Each index of a table that grows with the jobs is paid for by every row that is written."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from django.apps import apps
from django.db import connection
from django.db.models import Model

from cloudtrain_site.database.online_indexes import DropIndexesOnline
from jobs.models import Job, JobEvent
from tests.large_tables import GROWING


def models() -> list[type[Model]]:
    found = [model for model in apps.get_models() if model._meta.db_table in GROWING]
    assert len(found) == len(GROWING)
    return found


def begun(model: type[Model]) -> Iterator[tuple[str, str]]:
    """Yield each index of the model's table that another one begins with, and that one. Partial ones have few rows."""
    partial = {one.name for one in (*model._meta.indexes, *model._meta.constraints) if getattr(one, "condition", None)}
    with connection.cursor() as cursor:
        found = connection.introspection.get_constraints(cursor, model._meta.db_table)
    indexes = {
        name: one
        for name, one in found.items()
        if (one["index"] or one["unique"]) and name not in partial and one["columns"] and None not in one["columns"]
    }
    for name, one in indexes.items():
        for other_name, other in indexes.items():
            is_beginning = other["columns"][: len(one["columns"])] == one["columns"]
            if name != other_name and is_beginning and not one["unique"]:
                yield name, other_name


@pytest.mark.django_db
def test_no_index_of_a_table_that_grows_is_the_beginning_of_another() -> None:
    assert [pair for model in models() for pair in begun(model)] == []


@pytest.mark.django_db
def test_an_index_that_is_the_beginning_of_another_is_found() -> None:
    with connection.cursor() as cursor:
        cursor.execute("CREATE INDEX of_one_job ON jobs_jobevent (job_id)")
    assert list(begun(JobEvent)) == [("of_one_job", "event_by_job")]


@pytest.mark.django_db(transaction=True)
def test_an_index_is_dropped_once_and_one_that_is_not_there_is_no_error() -> None:
    with connection.cursor() as cursor:
        cursor.execute("CREATE INDEX of_one_number ON jobs_job (number, id)")
    for _ in range(2):
        with connection.schema_editor(atomic=False) as editor:
            DropIndexesOnline("of_one_number", "never_there").database_forwards("jobs", editor, None, None)  # type: ignore[arg-type]
    with connection.cursor() as cursor:
        assert "of_one_number" not in connection.introspection.get_constraints(cursor, Job._meta.db_table)
