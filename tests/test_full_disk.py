"""A disk that gets full while a provider answers: the answer is recorded as soon as there is room."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from examples.fake_replicate.process import FakeReplicateProcess
from jobs.models import ProviderConfig
from tests.cloudtrain_site.process_stacks import Stack, migrated, running_stack  # noqa: F401
from tests.site import Site, let_all_run, make_people
from tests.wait import wait_until

pytestmark = [pytest.mark.sqlite, pytest.mark.slow, pytest.mark.long]

#: Longer than a cluster of workers that saves nothing is left alone; below the lease of a claim.
FULL_SECONDS = float(os.environ.get("CLOUDTRAIN_FULL_SECONDS", "25"))
JOBS = 3
#: How long the provider takes for an answer: meanwhile the disk gets full.
LATENCY_MS = 3000
DISK_BYTES = 30_000_000


def prepare() -> None:
    """Let everybody run many jobs at Replicate, and print the people's keys: to be run by a process of the site."""
    let_all_run(JOBS)
    ProviderConfig.objects.update_or_create(name="replicate", defaults={"default_hardware": "h100"})
    make_people()


@contextmanager
def small_disk(folder: Path, files: Path) -> Iterator[None]:
    """Mount a disk of DISK_BYTES there, with what `files` holds."""
    mount = ["mount", "-t", "tmpfs", "-o", f"size={DISK_BYTES},mode=700", "tmpfs", str(folder)]
    if os.getuid() or subprocess.run(mount, stderr=subprocess.DEVNULL).returncode:
        pytest.skip("no disk can be mounted here")
    try:
        subprocess.run(["cp", "-a", f"{files}/.", str(folder)], check=True)
        yield
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)


@pytest.fixture
def provider() -> Iterator[FakeReplicateProcess]:
    with FakeReplicateProcess.start("--script", "0,600") as fake:
        yield fake


@pytest.fixture
def site(
    tmp_path: Path,
    migrated: Stack,  # noqa: F811
    provider: FakeReplicateProcess,
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Site]:
    monkeypatch.setenv("REPLICATE_API_TOKEN", provider.token)
    monkeypatch.setenv("REPLICATE_BASE_URL", provider.url)
    with running_stack(tmp_path) as stack, small_disk(stack.folder / "data", migrated.folder / "data"):
        site = Site(stack.folder, stack.database_url, stack.mark, stack.started)
        site.config.write_text("background:\n  queue_processing:\n    interval_seconds: 1\n")
        try:
            site.ensure_up()
            site.make_people(prepare)
            yield site
        finally:
            site.end()


def fill(file: Path) -> None:
    """Leave no room on the file's disk."""
    with file.open("wb", buffering=0) as filler:
        try:
            while True:
                filler.write(bytes(4096))
        except OSError:
            return


def entries(site: Site) -> dict[str, int]:
    return dict(site.query("SELECT status, COUNT(*) FROM queueing_queueentry GROUP BY status"))


@pytest.mark.timeout(FULL_SECONDS + 150)
def test_an_answer_waits_for_room_and_not_for_the_lease(site: Site, provider: FakeReplicateProcess) -> None:
    body = {"config": {"max_train_steps": 10}}
    provider.change(latency_ms=LATENCY_MS)
    for _ in range(JOBS):
        site.post("bob", "/api/cloud/jobs/submit?provider=replicate", body)
    wait_until(lambda: entries(site) == {"dispatching": JOBS}, 20)
    # Filled while the provider is asked, after the marker was stored.
    markers = "SELECT COUNT(*) FROM jobs_job WHERE submission_marker IS NOT NULL"
    wait_until(lambda: site.query(markers) == [(JOBS,)], 20)
    filler = site.folder / "data" / "filler"
    fill(filler)
    wait_until(lambda: len(provider.predictions()) == JOBS, 30)
    time.sleep(FULL_SECONDS)  # the outage itself
    assert entries(site) == {"dispatching": JOBS}
    filler.unlink()
    began = time.monotonic()
    wait_until(lambda: entries(site) == {"running": JOBS}, 30)
    seconds = time.monotonic() - began
    sys.stdout.write(f"recorded {seconds:.2f} s after there was room again\n")
    assert seconds < 5
    assert len(provider.predictions()) == JOBS
    messages = Counter(json.loads(line)["message"] for line in site.log.read_text().splitlines())
    assert (messages["Recorded late"], messages["Job accepted by the provider"]) == (JOBS, JOBS)
