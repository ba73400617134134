"""A database that takes no writes for a while under a running site: it says so, and goes on by itself."""

from __future__ import annotations

import json
import os
import re
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import psycopg
import pytest

from tests.cloudtrain_site.process_stacks import Stack, migrated, running_stack  # noqa: F401
from tests.site import Site
from tests.wait import wait_until

pytestmark = [pytest.mark.slow, pytest.mark.long, pytest.mark.timeout(240)]

SENTENCE = "The database can't be written to, so this could not be done."
SECONDS = 12.0
CONFIG = {"background": {"job_status_polling": {"interval_seconds": 1}, "queue_processing": {"interval_seconds": 1}}}
PASSWORD = "set password of a person"
SET_PASSWORD = f"""
from django.contrib.auth.models import User
from approvals.models import ApprovalRule
ApprovalRule.objects.update(enabled=False)
person = User.objects.get(username='bob')
person.set_password({PASSWORD!r})
person.save()
"""


@pytest.fixture
def site(tmp_path: Path, migrated: Stack) -> Iterator[Site]:  # noqa: F811
    with running_stack(tmp_path, migrated) as stack:
        # An account that heeds the modes of files, when the tests run as root.
        runner = ("setpriv", "--bounding-set", "-dac_override") if os.getuid() == 0 else ()
        site = Site(stack.folder, stack.database_url, stack.mark, stack.started, runner=runner)
        site.config.write_text(json.dumps(CONFIG))
        try:
            site.ensure_up()
            site.make_people()
            done = site.run("shell", "--no-imports", "-c", SET_PASSWORD)
            assert done.returncode == 0, done.stderr
            yield site
        finally:
            site.end()


@contextmanager
def read_only(site: Site) -> Iterator[None]:
    """Let nothing be written: by the modes of the files, or for each new session of PostgreSQL."""
    data = site.folder / "data"
    set_modes(data, 0o500, 0o400) if site.database_url is None else set_sessions(site.database_url, "on")
    try:
        yield
    finally:
        set_modes(data, 0o700, 0o600) if site.database_url is None else set_sessions(site.database_url, "off")


def set_modes(data: Path, folder: int, file: int) -> None:
    data.chmod(0o700)
    for path in data.glob("cloudtrain.sqlite3*"):
        path.chmod(file)
    data.chmod(folder)


def set_sessions(database_url: str, read_only: str) -> None:
    name = database_url.rpartition("/")[2]
    with psycopg.connect(f"{database_url.rpartition('/')[0]}/postgres", autocommit=True) as connection:
        connection.execute(f"ALTER DATABASE {name} SET default_transaction_read_only = {read_only}")
        connection.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", [name])


def sign_in(site: Site) -> httpx.Response:
    with httpx.Client(base_url=f"http://127.0.0.1:{site.port}", timeout=30) as browser:
        (token,) = re.findall(r'name="csrfmiddlewaretoken" value="([^"]+)', browser.get("/login").text)[:1]
        fields = {"csrfmiddlewaretoken": token, "login": "bob", "password": PASSWORD}
        return browser.post("/login", data=fields, headers={"Referer": str(browser.base_url)})


def test_it_says_so_and_goes_on_by_itself(site: Site) -> None:
    bob = site.clients["bob"]
    running = site.submit("bob", max_train_steps=4000)
    site.until(running, "running")
    submission = {"config": {"max_train_steps": 5}}
    with read_only(site):
        wait_until(lambda: bob.get("/api/cloud/health/ready").status_code == 503, 20)
        for answer in (
            bob.post("/api/cloud/jobs/submit", json=submission),
            bob.put("/api/configs/a", json={"config": {"x": 1}}),
            bob.post(f"/api/cloud/jobs/{running}/cancel"),
        ):
            assert (answer.status_code, answer.json()["code"]) == (507, "storage_not_writable")
            assert answer.json()["detail"].startswith(SENTENCE)
        refused = sign_in(site)
        assert refused.status_code == 507
        assert "The database can&#x27;t be written to" in refused.text
        for address in ("jobs", f"jobs/{running}", f"jobs/{running}/logs", f"jobs/{running}/inline-progress"):
            assert bob.get(f"/api/cloud/{address}").status_code == 200
        health = bob.get("/api/cloud/health").json()
        assert health["status"] == "unhealthy"
        assert "can't be written to" in str([part["message"] for part in health["components"]])
        time.sleep(SECONDS)  # the outage itself
    began = time.monotonic()
    wait_until(lambda: bob.post("/api/cloud/jobs/submit", json=submission).status_code == 201, 20)
    assert time.monotonic() - began < 5
    wait_until(lambda: bob.get("/api/cloud/health/ready").is_success, 20)
    assert sign_in(site).status_code == 302
    bob.post(f"/api/cloud/jobs/{running}/cancel")
    site.until(running, "cancelled")
    wait_until(lambda: not site.query("SELECT 1 FROM queueing_queueentry WHERE finished_at IS NULL"), 60)
    lines = Counter(json.loads(line)["message"] for line in site.log.read_text().splitlines() if '"ERROR"' in line)
    assert lines["Watcher failed"] <= 1
    assert max(lines.values()) < SECONDS, lines
