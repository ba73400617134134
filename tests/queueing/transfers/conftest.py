"""What the tests of transfers share."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import User

from jobs import providers
from jobs.datasets import store
from jobs.models import DatasetUpload, Job, Organization
from queueing import dispatch, transfers
from queueing.models import QueueEntry
from tests.dataset_archives import make_zip
from tests.queueing.transfers.carrier import Carrier

Enqueue = Callable[..., QueueEntry]


@pytest.fixture
def carrier(monkeypatch: pytest.MonkeyPatch) -> Carrier:
    carrier = Carrier()
    monkeypatch.setattr(providers, "_PROVIDERS", {**providers._PROVIDERS, "carrier": lambda: carrier})
    monkeypatch.setattr(transfers, "PROGRESS_SECONDS", 0.005)
    return carrier


@pytest.fixture
def upload(alice: User, acme: Organization, settings: Any, tmp_path: Path) -> DatasetUpload:
    """Two pictures of alice's, on this machine."""
    settings.DATA_DIR = tmp_path
    path = tmp_path / "arrived"
    path.write_bytes(make_zip())
    store.folder().mkdir()
    received = store.Received(path, "toys.zip", path.stat().st_size, "0" * 64)
    return store.store_upload(received, user=alice, organization=acme)


@pytest.fixture
def submit(enqueue: Enqueue, carrier: Carrier, upload: DatasetUpload) -> Callable[[], Job]:
    """A job with the dataset, as a pass leaves it: uploading."""

    def make() -> Job:
        entry = enqueue(provider="carrier", dataset=upload)
        assert dispatch.run_pass() == 0
        return entry.job

    return make
