"""The main job, end to end: submitted over HTTP, held, approved, trained for real, followed, and never lost."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from cloudtrain_site.enterprise import SAMPLE_TRAINER
from cloudtrain_site.serving.processes import is_running
from tests.cloudtrain_site.process_stacks import MANAGE, Stack, running_stack, wait_until
from tests.jobs.providers.local.confined import confined, need_bubblewrap
from tests.jobs.providers.local.trainings import processes_of
from tests.servers import free_port
from tests.site import QUICK, TRAINING_SECONDS, Site, running_site

pytestmark = pytest.mark.slow

CORRELATION_ID = "main-job-1"
DECISION_ID = "main-job-1-decision"
#: The history of a job that nothing held and that trained to its end, once.
ONE_LIFE = [
    ("job", None, "pending"),
    ("queue_entry", None, "pending"),
    ("queue_entry", "pending", "dispatching"),
    ("queue_entry", "dispatching", "running"),
    ("job", "pending", "running"),
    ("job", "running", "completed"),
    ("queue_entry", "running", "completed"),
]


@pytest.fixture(scope="module")
def one_site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """A stack for the whole module: starting one takes longer than most of the tests."""
    with running_site(tmp_path_factory.mktemp("site")) as site:
        yield site


@pytest.fixture
def site(one_site: Site) -> Site:
    """The same; up again if the test before has stopped it."""
    one_site.ensure_up()
    return one_site


@dataclass
class Story:
    """What everybody saw of alice's first job, as it happened."""

    submitted: dict[str, Any]
    held: dict[str, Any]
    events: list[dict[str, Any]] = field(default_factory=list)
    events_for_charlie: list[dict[str, Any]] = field(default_factory=list)
    half_way: dict[str, Any] = field(default_factory=dict)
    first_logs: dict[str, Any] = field(default_factory=dict)

    @property
    def job_id(self) -> str:
        return str(self.submitted["job_id"])

    @property
    def path(self) -> str:
        return f"/api/cloud/jobs/{self.job_id}"

    def kinds(self) -> list[str]:
        """What the stream told of the job, in order; of equal news in a row one."""
        kinds = [event["type"] if "status" not in event else event["status"] for event in self.events]
        return [kind for kind, before in zip(kinds, ["", *kinds], strict=False) if kind != before]


@pytest.fixture(scope="module")
def story(one_site: Site) -> Story:
    """The job from its submission to its end, and what the event stream told of it."""
    site = one_site
    site.ensure_up()
    with site.stream("alice") as alice, site.stream("charlie") as charlie:
        body = {"config": QUICK, "config_name": "first-light"}
        submitted = site.post("alice", "/api/cloud/jobs/submit", body, **{"X-Correlation-ID": CORRELATION_ID})
        story = Story(submitted, held=site.get("alice", "/api/cloud/jobs?search=first-light")["jobs"][0])
        decision = f"/api/approvals/{submitted['approval_id']}/approve"
        site.post("bob", decision, {"reason": "welcome"}, **{"X-Correlation-ID": DECISION_ID})
        with site.half_way(story.job_id):
            story.half_way = site.get("alice", f"{story.path}/inline-progress")
            story.first_logs = site.get("alice", f"{story.path}/logs")
        while not story.events or story.events[-1].get("status") != "completed":
            event = alice.next().data
            if event.get("job_id") == story.job_id:
                story.events.append(event)
        # The last that charlie is told: whatever came before it was told to him as well, or never will be.
        own = site.submit("charlie", max_train_steps=1)
        while not story.events_for_charlie or story.events_for_charlie[-1].get("job_id") != own:
            story.events_for_charlie.append(charlie.next().data)
        site.until(own, "completed", reader="charlie")
    return story


class TestTheMainJob:
    def test_the_submission_says_that_it_needs_an_approval(self, story: Story) -> None:
        assert story.submitted["success"] is True
        assert story.submitted["requires_approval"] is True
        assert story.submitted["status"] == "pending"

    def test_the_list_says_that_it_is_held(self, story: Story) -> None:
        assert (story.held["status"], story.held["queue_status"]) == ("pending", "blocked")
        assert (story.held["approval_status"], story.held["approval_id"]) == ("pending", story.submitted["approval_id"])
        assert story.held["waiting_reason"].startswith("Needs approval: ")

    def test_the_request_says_why(self, site: Site, story: Story) -> None:
        request = site.get("alice", f"/api/approvals/{story.submitted['approval_id']}")["approval"]
        assert request["reason"] == "This is the first job of alice."

    def test_the_stream_told_it_from_beginning_to_end(self, story: Story) -> None:
        expected = ["pending", "approval_requested", "approval_approved", "running", "job_progress", "completed"]
        assert story.kinds() == expected

    def test_no_news_came_twice(self, story: Story) -> None:
        ids = [event["id"] for event in story.events]
        assert ids == sorted(set(ids))

    def test_half_way_it_said_how_far_it_was(self, story: Story) -> None:
        assert story.half_way["job_id"] == story.job_id
        assert 0 < story.half_way["progress"] < 100
        assert story.half_way["stage"] in ("Training", "Saving checkpoint", "Validation")
        assert story.half_way["last_log"]

    def test_the_log_goes_on_where_one_left_off(self, site: Site, story: Story) -> None:
        rest = site.get("alice", f"{story.path}/logs?since={story.first_logs['offset']}")
        whole = site.get("alice", f"{story.path}/logs")
        assert story.first_logs["complete"] is False
        assert whole["complete"] is True
        assert story.first_logs["logs"] + rest["logs"] == whole["logs"] == site.trained(story.job_id)

    def test_the_loss_fell(self, site: Site, story: Story) -> None:
        losses = [loss for _, loss in site.get("alice", f"{story.path}/metrics")["series"]["loss"]]
        assert losses[-1] < losses[0] / 2

    def test_the_history_is_whole_and_in_order(self, site: Site, story: Story) -> None:
        held = [("queue_entry", None, "blocked"), ("approval", None, "pending")]
        approved = [("approval", "pending", "approved"), ("queue_entry", "blocked", "pending")]
        site.until_slot_is_free(story.job_id)
        assert site.moves(story.job_id) == [ONE_LIFE[0], *held, *approved, *ONE_LIFE[2:]]

    def test_it_was_queued_before_it_started(self, site: Site, story: Story) -> None:
        job = site.job(story.job_id)
        moments = [job[name] for name in ("created_at", "queued_at", "started_at", "completed_at")]
        assert all(moments)
        assert moments == sorted(moments, key=datetime.fromisoformat)

    def test_the_history_has_one_correlation_id_and_the_decision_its_own(self, site: Site, story: Story) -> None:
        site.until_slot_is_free(story.job_id)
        events = site.get("alice", f"{story.path}/events")["events"]
        assert {event["correlation_id"] for event in events if event["actor"] == "bob"} == {DECISION_ID}
        assert {event["correlation_id"] for event in events if event["actor"] != "bob"} == {CORRELATION_ID}

    def test_grep_finds_web_worker_and_provider_by_that_id(self, site: Site, story: Story) -> None:
        pattern = f'"correlation_id": "{CORRELATION_ID}"'
        found = subprocess.run(["grep", pattern, str(site.log)], capture_output=True, text=True, check=True).stdout
        lines = [json.loads(line) for line in found.splitlines()]
        assert "POST /api/cloud/jobs/submit" in [line.get("extra", {}).get("request") for line in lines]
        # The pass that the approval asked for, or the tick when that came first.
        tasks = {"queueing.tasks.run_pass", "queueing.tasks.process_queue"}
        assert tasks & {line.get("extra", {}).get("task") for line in lines}
        assert {"simpletuner.cloud.jobs", "simpletuner.cloud.providers"} <= {line["logger"] for line in lines}

    def test_the_trainer_knew_the_id(self, site: Site, story: Story) -> None:
        assert f"Training for job {story.job_id}, correlation id {CORRELATION_ID}" in site.trained(story.job_id)


class TestOthers:
    def test_a_stranger_was_told_nothing_of_it(self, story: Story) -> None:
        """The last is of a job of his own: until then the stream told him of the queue's length alone."""
        *before, own = [event["type"] for event in story.events_for_charlie]
        assert own.startswith("job_")
        assert set(before) == {"queue_changed"}

    def test_a_stranger_finds_nothing(self, site: Site, story: Story) -> None:
        assert story.job_id not in [job["job_id"] for job in site.get("charlie", "/api/cloud/jobs")["jobs"]]
        for tail in ("", "/inline-progress", "/logs", "/events", "/metrics"):
            assert site.clients["charlie"].get(f"{story.path}{tail}").status_code == 404
        assert site.clients["charlie"].get(f"/api/approvals/{story.submitted['approval_id']}").status_code == 404

    def test_a_viewer_sees_it_and_may_do_nothing(self, site: Site, story: Story) -> None:
        vera = site.clients["vera"]
        assert site.get("vera", story.path)["job"]["status"] == "completed"
        assert vera.post("/api/cloud/jobs/submit", json={"config": QUICK}).status_code == 403
        assert vera.post(f"{story.path}/cancel").status_code == 403
        assert vera.delete(story.path).status_code == 403


def test_a_cancelled_training_is_saved_and_makes_room(site: Site) -> None:
    cancelled = site.submit("bob", max_train_steps=10_000)
    waiting = site.submit("bob", max_train_steps=2)
    wait_until(lambda: (site.job(cancelled)["progress"] or 0) > 0, TRAINING_SECONDS)
    assert site.job(waiting)["status"] == "pending"
    site.post("bob", f"/api/cloud/jobs/{cancelled}/cancel", {"reason": "enough"})
    site.until(cancelled, "cancelled")
    site.until(waiting, "completed")
    assert "Stopped by SIGTERM" in site.trained(cancelled)
    assert list((site.jobs / cancelled / "output").glob("checkpoint-*/state.json"))
    assert site.moves(cancelled).count(("job", "running", "cancelled")) == 1


@pytest.mark.long
def test_a_confined_training_is_followed_and_saved_as_any_other(site: Site) -> None:
    need_bubblewrap()
    site.config.write_text(json.dumps({"providers": {"local": {"command": confined(*SAMPLE_TRAINER)}}}))
    try:
        cancelled = site.submit("bob", max_train_steps=10_000)
        wait_until(lambda: (site.job(cancelled)["progress"] or 0) > 0, TRAINING_SECONDS)
        logs = site.get("bob", f"/api/cloud/jobs/{cancelled}/logs")
        assert "Sample trainer:" in logs["logs"] and not logs["complete"]
        site.post("bob", f"/api/cloud/jobs/{cancelled}/cancel", {"reason": "enough"})
        site.until(cancelled, "cancelled")
        assert_trained_once(site, site.submit("bob"))
    finally:
        site.config.write_text("")
    assert "Stopped by SIGTERM" in site.trained(cancelled)
    assert list((site.jobs / cancelled / "output").glob("checkpoint-*/state.json"))


def test_a_trainer_that_does_not_exist_fails_the_job_with_that_reason(site: Site) -> None:
    site.config.write_text(json.dumps({"providers": {"local": {"command": ["/no/such/trainer"]}}}))
    try:
        job = site.until(site.submit("bob"), "failed")
    finally:
        site.config.write_text("")
    assert job["error_message"] == "The trainer's program '/no/such/trainer' could not be started: it does not exist."


def assert_trained_once(site: Site, job_id: str) -> None:
    """It completes, its history is that of one life, and one trainer did it all."""
    site.until(job_id, "completed")
    site.until_slot_is_free(job_id)
    assert site.moves(job_id) == ONE_LIFE
    assert site.trained(job_id).count("Sample trainer:") == 1
    assert (site.jobs / job_id / "output" / "result.json").exists()


@pytest.mark.long
class TestWhatStops:
    """Each half-way through a training."""

    def test_kill_9_of_the_background_process(self, site: Site) -> None:
        job_id = site.submit("bob")
        with site.half_way(job_id):
            trainings = site.trainings()
            killed = site.background()
            os.kill(killed, signal.SIGKILL)
            wait_until(lambda: not is_running(killed), 10)
            assert site.background() != killed
            assert set(processes_of(site.jobs / job_id)) == trainings
        assert_trained_once(site, job_id)

    def test_kill_9_of_everything_while_the_training_goes_on_to_its_end(self, site: Site) -> None:
        job_id = site.submit("bob")
        with site.half_way(job_id):
            kill_everything(site)
        wait_until(lambda: not site.trainings(), TRAINING_SECONDS)
        site.ensure_up()
        assert_trained_once(site, job_id)

    def test_ctrl_c_leaves_the_training_and_nothing_else(self, site: Site) -> None:
        job_id = site.submit("bob")
        with site.half_way(job_id):
            trainings = site.trainings()
            assert site.up is not None
            site.up.send_signal(signal.SIGINT)
            wait_until(lambda: not site.own_pids(), 10)
            assert site.up.wait() == 0
            assert site.trainings() == trainings
            site.ensure_up()
            assert site.job(job_id)["status"] == "running"
        assert_trained_once(site, job_id)


def kill_everything(site: Site) -> None:
    """SIGKILL, until nothing of ours is left but the trainings."""

    def kill() -> bool:
        left = site.own_pids()
        for pid in left:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        return not left

    wait_until(kill, 10)
    assert site.up is not None
    site.up.wait()


@pytest.fixture
def fresh(tmp_path: Path) -> Iterator[Stack]:
    """An empty data folder and an empty database, not started."""
    with running_stack(tmp_path) as stack:
        yield stack


class TestWhatCannotStart:
    """A sentence on stderr, exit code 1, no traceback."""

    def test_a_second_one_on_the_same_port(self, site: Site, fresh: Stack) -> None:
        refused = start_in_vain(fresh, port=site.port)
        assert f"Can't listen on 127.0.0.1 port {site.port}: Address already in use." in refused
        assert site.is_ready()

    def test_a_data_folder_that_may_not_be_written_to(self, fresh: Stack) -> None:
        data = fresh.folder / "data"
        data.chmod(0o555)
        try:
            refused = start_in_vain(fresh, prefix=without_override())
        finally:
            data.chmod(0o755)
        assert f"The data folder {data} can't be used (Permission denied)." in refused

    def test_a_disk_that_is_full(self, fresh: Stack) -> None:
        refused = start_in_vain(fresh, prefix=on_a_disk_of(fresh.folder / "data", "4k", fill=True))
        assert f"The data folder {fresh.folder / 'data'} can't be used (" in refused

    def test_a_disk_that_gets_full_by_the_first_tables(self, fresh: Stack) -> None:
        if fresh.database_url:
            return  # its tables are elsewhere
        refused = start_in_vain(fresh, prefix=on_a_disk_of(fresh.folder / "data", "256k"))
        assert "The database can't be prepared: " in refused


def start_in_vain(stack: Stack, *, port: int | None = None, prefix: Sequence[str] = ()) -> str:
    """Run `up`, which must refuse to. Returns its sentence."""
    # As on a first start: the key is made in the data folder.
    environment = {name: value for name, value in stack.environment.items() if name != "SECRET_KEY"}
    command = [*prefix, *MANAGE, "up", "--port", str(port or free_port())]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60)
    assert done.returncode == 1, done.stderr
    assert "Traceback" not in done.stderr + done.stdout
    return done.stderr


def without_override() -> list[str]:
    """What makes a command heed the permissions of files, when the tests run as root."""
    return ["setpriv", "--bounding-set", "-dac_override"] if os.getuid() == 0 else []


def on_a_disk_of(folder: Path, size: str, *, fill: bool = False) -> list[str]:
    """What gives a command a tiny disk of its own at `folder`; where none can be mounted, a limit for each file."""
    apart = ["unshare", "--mount"] if os.getuid() == 0 else ["unshare", "--map-root-user", "--mount"]
    mount = f'mount -t tmpfs -o size={size} tmpfs "$0"'
    if subprocess.run([*apart, "sh", "-c", mount, str(folder)], stderr=subprocess.DEVNULL).returncode:
        return ["prlimit", f"--fsize={0 if fill else 4096}"]
    filling = '; cat /dev/zero > "$0/filler" 2> /dev/null' if fill else ""
    return [*apart, "sh", "-c", f'{mount}{filling}; exec "$@"', str(folder)]
