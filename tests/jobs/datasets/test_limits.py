"""How many uploads, and bytes of them, one person keeps."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import User
from rest_framework.test import APIClient

from cloudtrain_site.models import LimitUse
from jobs.datasets import store
from jobs.models import DatasetUpload
from tests.dataset_archives import make_zip
from tests.jobs.datasets.test_store import files_in, send
from tests.limits import SetLimits
from tests.races import at_once

ClientOf = Callable[[User | None], APIClient]
SIZE = len(make_zip())


@pytest.fixture(autouse=True)
def data_dir(settings: Any, tmp_path: Path) -> Path:
    settings.DATA_DIR = tmp_path
    return tmp_path


@pytest.mark.django_db
def test_one_upload_too_many_is_a_429_and_leaves_no_file(
    client_of: ClientOf, alice: User, bob: User, set_limits: SetLimits, data_dir: Path
) -> None:
    set_limits(uploads=2)
    answers = [send(client_of(alice)) for _ in range(3)]
    assert [answer.status_code for answer in answers] == [201, 201, 429]
    text = "You have 2 uploaded datasets, the maximum per user. Remove one that no job needs."
    assert (answers[-1].json()["detail"], answers[-1].json()["code"]) == (text, "limit_reached")
    assert answers[-1]["Retry-After"] == "60"
    assert len(files_in(data_dir)) == 2
    assert LimitUse.objects.get().limit == "uploads"
    assert send(client_of(bob)).status_code == 201


@pytest.mark.django_db
def test_a_removed_upload_makes_room(client_of: ClientOf, alice: User, set_limits: SetLimits) -> None:
    set_limits(uploads=1)
    assert send(client_of(alice)).status_code == 201
    store.remove(DatasetUpload.objects.get())
    assert send(client_of(alice)).status_code == 201
    assert send(client_of(alice)).status_code == 429


@pytest.mark.django_db
@pytest.mark.parametrize(("room", "statuses"), [(2 * SIZE, [201, 201, 429]), (2 * SIZE - 1, [201, 429, 429])])
def test_the_bytes_of_all_uploads_count_together(
    client_of: ClientOf, alice: User, set_limits: SetLimits, data_dir: Path, room: int, statuses: list[int]
) -> None:
    set_limits(upload_bytes=room)
    answers = [send(client_of(alice)) for _ in range(3)]
    assert [answer.status_code for answer in answers] == statuses
    kept = statuses.count(201)
    assert f"Your uploaded datasets have {kept * SIZE:,} bytes" in answers[-1].json()["detail"]
    assert f"more than {room:,}, the maximum per user" in answers[-1].json()["detail"]
    assert len(files_in(data_dir)) == kept


@pytest.mark.django_db(transaction=True)
def test_of_ten_uploads_at_once_with_room_for_one_exactly_one_is_kept(
    client_of: ClientOf, alice: User, set_limits: SetLimits, data_dir: Path
) -> None:
    set_limits(uploads=2)
    send(client_of(alice))
    answers = at_once(*[partial(send, client_of(alice)) for _ in range(10)])
    assert sorted(answer.status_code for answer in answers) == [201] + [429] * 9
    assert DatasetUpload.objects.count() == len(files_in(data_dir)) == 2
