"""Whether somebody else has written since the last look."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest
from django.contrib.auth.models import Group
from django.db import connection

from cloudtrain_site.database.changes import Changes


def write(name: str) -> None:
    try:
        Group.objects.create(name=name)
    finally:
        connection.close()


@pytest.mark.django_db(transaction=True)
@pytest.mark.sqlite
def test_what_another_connection_wrote_is_found_once() -> None:
    changes = Changes(most_seconds=600)
    assert changes.found()
    assert not changes.found()
    with ThreadPoolExecutor(1) as other:
        other.submit(write, "one").result()
    assert changes.found()
    assert not changes.found()


@pytest.mark.django_db(transaction=True)
def test_changes_are_supposed_after_a_time() -> None:
    changes = Changes(most_seconds=0)
    assert changes.found()
    assert changes.found()
