"""A backup put back where jobs ran on, and where all was lost: no job is lost, doubled or stuck."""

from __future__ import annotations

import json
import shutil
import signal
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from cloudtrain_site.conf.occupancy import RESTORING
from cloudtrain_site.states import SYSTEM, Source
from queueing import operations
from tests.cloudtrain_site.process_stacks import Stack, migrated  # noqa: F401
from tests.fault_storm import JOBS, running_storm
from tests.site import Site, let_all_run, make_people, running_site
from tests.wait import wait_until

pytestmark = [pytest.mark.slow, pytest.mark.long, pytest.mark.timeout(240)]

#: Counts itself beside the data folder, and trains until it may end.
TRAINER = """
import os, time
open('../../../starts', 'a').write(os.path.basename(os.getcwd()) + ' ')
while not os.path.exists('../../../go-on'):
    time.sleep(0.1)
"""
CONFIG = {
    "background": {"job_status_polling": {"interval_seconds": 1}, "queue_processing": {"interval_seconds": 1}},
    "providers": {"local": {"command": ["{python}", "-S", "-c", TRAINER], "max_running": 2, "grace_seconds": 1}},
}


def prepare() -> None:
    """Let two jobs run, and print the people's keys: to be run by a process of the site."""
    let_all_run(2)
    make_people()


def resume() -> None:
    operations.set_paused(False, operations.ChangedBy(SYSTEM, Source.API))


@pytest.fixture
def site(tmp_path: Path, migrated: Stack) -> Iterator[Site]:  # noqa: F811
    with running_site(tmp_path, migrated, config=json.dumps(CONFIG), prepare=prepare) as site:
        yield site


def command(site: Site, *line: str) -> str:
    """What a command of the site answers; it must be well."""
    done = site.run(*line)
    assert done.returncode == 0, done.stderr
    return done.stdout


def killed_while(site: Site, folder: Path, pattern: str, *line: str) -> None:
    """Kill a command as soon as it works in the folder."""
    process = site.start(*line)
    wait_until(lambda: any(folder.glob(pattern)) or process.poll() is not None, 60)
    process.kill()
    process.wait(10)


def back_up(site: Site, folder: Path) -> None:
    """Make a backup; the first one is killed."""
    killed_while(site, folder, ".partial-*", "backup", str(folder))
    for whole in folder.glob("cloudtrain-*"):  # it was quicker than the kill
        command(site, "restore", str(whole), "--verify")
    assert "verified" in command(site, "backup", str(folder), "--verify")
    assert not list(folder.glob(".partial-*"))


def put_back(site: Site, backed_up: list[tuple[Any, ...]], *line: str) -> None:
    """Put it back, killed at first: then all is as it was, or as it should be, or no process of the site starts."""
    before = site.query(JOBS)
    killed_while(site, site.folder / "data", ".restor*", "restore", *line, "--replace")
    if (site.folder / "data" / RESTORING).exists():
        assert "was interrupted" in site.run("check").stderr
    else:
        assert site.query(JOBS) in (before, backed_up)
    assert "The queue is paused" in command(site, "restore", *line, "--replace")
    assert site.query(JOBS) == backed_up


def status_of(site: Site, job_id: str) -> str:
    answer = site.clients["bob"].get(f"/api/cloud/jobs/{job_id}")
    return str(answer.json()["job"]["status"]) if answer.is_success else str(answer.status_code)


def statuses(site: Site, jobs: list[str]) -> list[str]:
    return [status_of(site, job_id) for job_id in jobs]


def test_by_keeping_the_job_folders_nothing_is_lost_doubled_or_stuck(site: Site, tmp_path: Path) -> None:
    backups = tmp_path / "backups"
    jobs = [site.submit("bob") for _ in range(4)]
    wait_until(lambda: statuses(site, jobs) == ["running", "running", "pending", "pending"], 60)
    back_up(site, backups)
    backed_up = site.query(JOBS)
    assert "A site runs on" in site.run("restore", str(backups), "--database-only", "--replace").stderr

    # Life goes on: one is cancelled, so that the third begins; one is new.
    site.post("bob", f"/api/cloud/jobs/{jobs[0]}/cancel")
    wait_until(lambda: statuses(site, jobs) == ["cancelled", "running", "running", "pending"], 60)
    late = site.submit("bob")
    assert site.up
    site.up.send_signal(signal.SIGTERM)
    site.up.wait(30)
    put_back(site, backed_up, str(backups), "--database-only")
    site.ensure_up()

    wait_until(lambda: status_of(site, jobs[0]) == "cancelled", 60)
    assert statuses(site, jobs[1:]) == ["running", "pending", "pending"]
    assert status_of(site, late) == "404"
    position = site.get("bob", f"/api/queue/position/{jobs[3]}")
    assert position["waiting_reason"] == "The queue is paused until an admin resumes it."

    site.call(resume)
    (site.folder / "go-on").touch()
    wait_until(lambda: statuses(site, jobs) == ["cancelled", *["completed"] * 3], 90)
    starts = Counter((site.folder / "starts").read_text().split())
    assert starts == dict.fromkeys(jobs, 1)
    wait_until(lambda: not site.query("SELECT 1 FROM queueing_queueentry WHERE finished_at IS NULL"), 30)
    assert not site.trainings()


def test_a_lost_site_comes_back_and_follows_what_went_on_elsewhere(
    tmp_path: Path,
    migrated: Stack,  # noqa: F811
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("SECRET_KEY")  # the site keeps its own
    backups = tmp_path / "backups"
    with running_storm(tmp_path, migrated, kill_seconds=3600, in_a_hurry=True, script="0,3600") as storm:
        site, fake = storm.site, storm.fake
        storm.submit(1)
        wait_until(lambda: [row[1] for row in site.query(JOBS)] == ["running"], 60)
        (site.folder / "data" / "uploads").mkdir()
        (site.folder / "data" / "uploads" / "archive").write_bytes(b"zip")
        command(site, "backup", str(backups))
        backed_up, key = site.query(JOBS), (site.folder / "data" / "secret_key").read_text()

        assert site.up
        site.up.kill()
        wait_until(lambda: not site.own_pids(), 30)
        shutil.rmtree(site.folder / "data")
        if site.database_url:
            storm.site.execute("DROP SCHEMA public CASCADE")
            storm.site.execute("CREATE SCHEMA public")
        (prediction,) = fake.predictions()
        fake.update(prediction["id"], status="succeeded")

        put_back(site, backed_up, str(backups))
        assert (site.folder / "data" / "uploads" / "archive").read_bytes() == b"zip"
        assert (site.folder / "data" / "secret_key").read_text() == key
        site.ensure_up()
        wait_until(lambda: [row[1] for row in site.query(JOBS)] == ["completed"], 60)
        assert len(fake.predictions()) == 1
        assert site.get("alice", f"/api/cloud/jobs/{backed_up[0][0]}")["job"]["status"] == "completed"
