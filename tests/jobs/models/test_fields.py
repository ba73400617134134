"""The key that jobs are sorted by name with: written with each row, however it comes in."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from jobs.models import Job

pytestmark = pytest.mark.django_db


def save(job: Job) -> None:
    job.save(force_insert=True)


def save_with_others(job: Job) -> None:
    Job.objects.bulk_create([job])


@pytest.mark.parametrize("write", [save, save_with_others])
@pytest.mark.parametrize(("name", "key"), [("Flux 10", "flux 10"), ("ÄRGER_Z", "ärger_z"), ("🦊", "🦊")])
def test_each_new_row_has_its_key(write: Callable[[Job], Any], name: str, key: str) -> None:
    write(Job(provider="local", config_name=name, correlation_id="c"))
    assert Job.objects.values_list("config_name", "name_key").get() == (name, key)


def test_a_key_that_is_longer_than_its_name_is_cut() -> None:
    Job.objects.create(provider="local", config_name="ﷺ" * 200, correlation_id="c")
    assert Job.objects.get().name_key == ("صلى الله عليه وسلم" * 12)[:200]


def test_a_name_that_is_saved_anew_has_a_new_key() -> None:
    job = Job.objects.create(provider="local", config_name="Old", correlation_id="c")
    job.config_name = "New"
    job.save()
    assert Job.objects.get().name_key == "new"
    job.config_name = "Newer"
    job.save(update_fields=["status"])
    assert Job.objects.get().name_key == "new"


def test_keys_sort_by_the_numbers_of_their_letters_on_every_database() -> None:
    for name in ("ä", "b", "_", "Z", "🦊", "a-c", "ab"):
        Job.objects.create(provider="local", config_name=name, correlation_id="c")
    in_order = Job.objects.order_by("name_key").values_list("config_name", flat=True)
    assert list(in_order) == ["_", "a-c", "ab", "b", "Z", "ä", "🦊"]
