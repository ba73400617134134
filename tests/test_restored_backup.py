"""A backup put back where jobs ran on, as docs/deploying.md says: no job is lost, doubled or stuck."""

from __future__ import annotations

import json
import re
import shutil
import signal
import subprocess
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from cloudtrain_site.conf.places import BASE_DIR
from cloudtrain_site.states import SYSTEM, Source
from queueing import operations
from tests.cloudtrain_site.process_stacks import Stack, migrated  # noqa: F401
from tests.servers import find_binary
from tests.site import Site, let_all_run, make_people, running_site
from tests.wait import wait_until

pytestmark = [pytest.mark.slow, pytest.mark.long, pytest.mark.timeout(240)]

GUIDE = (BASE_DIR / "docs/deploying.md").read_text()
BACKUP_LINES = re.findall(r"^    ((?:sqlite3|find) /.*)$", GUIDE.partition("## Backups")[2], re.M)
(PAUSE,) = re.findall(r"`(UPDATE queueing_queuestate SET paused = true;)`", GUIDE)
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


def back_up(site: Site, backup: Path) -> None:
    backup.mkdir()
    for line in BACKUP_LINES:
        if site.database_url and line.startswith("sqlite3"):
            line = f"{find_binary('pg_dump')} -Fc -f /backup/database {site.database_url}"
        command = line.replace("/var/lib/cloudtrain", str(site.folder / "data")).replace("/backup", str(backup))
        subprocess.run(command, shell=True, check=True)


def put_back(site: Site, backup: Path) -> None:
    """Put the database back alone, and pause the queue in it."""
    if site.database_url:
        restore = [str(find_binary("pg_restore")), "--clean", "--if-exists", "-d", site.database_url]
        subprocess.run([*restore, str(backup / "database")], check=True)
        subprocess.run([str(find_binary("psql")), site.database_url, "-c", PAUSE], check=True)
        return
    database = site.folder / "data" / "cloudtrain.sqlite3"
    for left in database.parent.glob(f"{database.name}*"):
        left.unlink()
    shutil.copy2(backup / database.name, database)
    subprocess.run(["sqlite3", str(database), PAUSE], check=True)


def status_of(site: Site, job_id: str) -> str:
    answer = site.clients["bob"].get(f"/api/cloud/jobs/{job_id}")
    return str(answer.json()["job"]["status"]) if answer.is_success else str(answer.status_code)


def statuses(site: Site, jobs: list[str]) -> list[str]:
    return [status_of(site, job_id) for job_id in jobs]


def test_by_keeping_the_job_folders_nothing_is_lost_doubled_or_stuck(site: Site, tmp_path: Path) -> None:
    backup = tmp_path / "backup"
    jobs = [site.submit("bob") for _ in range(4)]
    wait_until(lambda: statuses(site, jobs) == ["running", "running", "pending", "pending"], 60)
    back_up(site, backup)

    # Life goes on: one is cancelled, so that the third begins; one is new.
    site.post("bob", f"/api/cloud/jobs/{jobs[0]}/cancel")
    wait_until(lambda: statuses(site, jobs) == ["cancelled", "running", "running", "pending"], 60)
    late = site.submit("bob")
    assert site.up
    site.up.send_signal(signal.SIGTERM)
    site.up.wait(30)
    put_back(site, backup)
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
