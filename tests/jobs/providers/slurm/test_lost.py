"""Lost answers, jobs submitted twice, daemons that are killed, jobs that Slurm has forgotten: each job trains once."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from cloudtrain_site.conf.providers import HardwareProfile
from jobs.providers.base import ProviderError
from jobs.providers.slurm.answers import RAN_AGAIN
from jobs.statuses import JobStatus
from tests.jobs.providers.slurm.test_bad_input import OPENAPI, proxy, stand_in
from tests.jobs.providers.slurm.trainings import (
    ENDLESS,
    PATIENCE_SECONDS,
    Training,
    make_spec,
    start,
    submit,
)
from tests.slurm import SlurmCluster, need_slurm
from tests.wait import wait_until

pytestmark = pytest.mark.slow

#: Says each of its starts in a file that no other start shares.
COUNTING = ("bash", "-c", "mktemp -p . started.XXXX; echo up; exec sleep 1000")
WHOLE_NODE = HardwareProfile("all", cpus=64)
BOTH_NODES = HardwareProfile("both", nodes=2, cpus=64)


def starts_of(training: Training) -> int:
    return len(list(training.folder.glob("started.*")))


def quick(seconds: float = 0) -> tuple[str, ...]:
    return ("bash", "-c", f"mktemp -p . started.XXXX; sleep {seconds}; touch output/model")


@pytest.fixture
def own_slurm() -> Iterator[SlurmCluster]:
    """A cluster of the test's own, which it may break. It forgets jobs two seconds after their end."""
    need_slurm()
    cluster = SlurmCluster(min_job_age=2).start()
    yield cluster
    cluster.stop()


def other_jobs(slurm: SlurmCluster, training: Training) -> list[dict[str, Any]]:
    return [job for job in slurm.jobs(training.spec.marker) if job["job_id"] != training.number]


# Submitted twice.


def test_a_lost_answer_is_found_by_its_marker(slurm: SlurmCluster) -> None:
    training = start(slurm.provider(*COUNTING))
    found = asyncio.run(training.provider.find_by_marker([training.spec.marker, "ct-" + 24 * "0"]))
    assert list(found) == [training.spec.marker]
    assert found[training.spec.marker].status == JobStatus.RUNNING
    assert found[training.spec.marker].metadata["slurm_job_id"] == training.number


def test_a_marker_that_was_submitted_twice_trains_once(slurm: SlurmCluster) -> None:
    blockers = [start(slurm.provider(*ENDLESS, profile=WHOLE_NODE)) for _ in range(2)]
    training = submit(slurm.provider(*COUNTING))
    submit(slurm.provider(*COUNTING), training.spec)
    assert len(slurm.jobs(training.spec.marker)) == 2
    for blocker in blockers:
        blocker.cancel()
    training.wait_for_log("up")
    wait_until(
        lambda: sorted(job["job_state"] for job in slurm.jobs(training.spec.marker)) == ["FAILED", "RUNNING"],
        PATIENCE_SECONDS,
    )
    assert starts_of(training) == 1
    assert training.seen(JobStatus.RUNNING).metadata["slurm_job_id"] == int((training.folder / "slurm_job").read_text())
    training.cancel()
    assert training.ended().status == JobStatus.CANCELLED


def test_a_submission_of_what_trains_already_makes_no_other_job(slurm: SlurmCluster) -> None:
    training = start(slurm.provider(*COUNTING))
    again = submit(slurm.provider(*COUNTING), training.spec)
    assert again.first.status == JobStatus.RUNNING
    assert len(slurm.jobs(training.spec.marker)) == 1


def test_a_copy_that_begins_after_a_cancellation_trains_nothing(slurm: SlurmCluster) -> None:
    blockers = [start(slurm.provider(*ENDLESS, profile=WHOLE_NODE)) for _ in range(2)]
    training = submit(slurm.provider(*COUNTING))
    training.cancel()
    assert training.ended().status == JobStatus.CANCELLED
    slurm.run_kept(training.folder)
    for blocker in blockers:
        blocker.cancel()
    wait_until(lambda: [job["job_state"] for job in other_jobs(slurm, training)] == ["COMPLETED"], PATIENCE_SECONDS)
    assert starts_of(training) == 0


def test_somebody_elses_job_of_the_same_name_is_not_ours(slurm: SlurmCluster) -> None:
    training = start(slurm.provider(*ENDLESS))
    slurm.run("sleep 100", user="daemon", name=training.spec.marker)
    wait_until(lambda: len(slurm.jobs(training.spec.marker)) == 2)
    assert training.seen(JobStatus.RUNNING).metadata["slurm_job_id"] == training.number
    slurm.call("DELETE", f"/job/{training.number}")
    assert training.ended().status == JobStatus.CANCELLED
    assert [job["job_state"] for job in other_jobs(slurm, training)] != ["CANCELLED"]


def test_a_comment_of_the_clusters_own_makes_no_job_foreign(slurm: SlurmCluster) -> None:
    training = start(slurm.provider(*COUNTING))
    slurm.set_comment(training.number, "billed to the lab")
    training.seen(JobStatus.RUNNING)
    assert len(slurm.jobs(training.spec.marker)) == starts_of(training) == 1


# Forgotten by Slurm.


def test_jobs_that_slurm_has_forgotten_are_told_by_their_records(own_slurm: SlurmCluster) -> None:
    well = submit(own_slurm.provider(*quick()))
    badly = submit(own_slurm.provider("bash", "-c", "echo no pictures; exit 3"))
    killed = start(own_slurm.provider(*ENDLESS))
    os.kill(killed.record("process.json")["runner"]["pid"], signal.SIGKILL)
    wait_until(lambda: not own_slurm.jobs(), PATIENCE_SECONDS)
    snapshot = well.ended()
    assert (snapshot.status, snapshot.error_message) == (JobStatus.COMPLETED, None)
    assert snapshot.started_at and snapshot.completed_at and snapshot.billed_seconds is not None
    assert badly.ended().error_message == "The trainer ended with exit code 3: no pictures"
    assert killed.fetch() is None  # its log was written to just now
    os.utime(killed.folder / "train.log", (0, 0))
    snapshot = killed.ended()
    assert snapshot.status == JobStatus.FAILED
    assert "Slurm no longer knows the job, which left no record of how it ended" in str(snapshot.error_message)
    found = asyncio.run(well.provider.find_by_marker([well.spec.marker]))
    assert found[well.spec.marker].status == JobStatus.COMPLETED
    assert submit(well.provider, well.spec).first.status == JobStatus.COMPLETED
    assert own_slurm.jobs() == []


def test_a_copy_that_waits_does_not_hide_the_end_of_what_slurm_forgot(own_slurm: SlurmCluster) -> None:
    training = submit(own_slurm.provider(*quick()))
    wait_until(lambda: training.number not in [job["job_id"] for job in own_slurm.jobs()], PATIENCE_SECONDS)
    start(own_slurm.provider(*ENDLESS, profile=BOTH_NODES))
    copy = own_slurm.run_kept(training.folder)
    assert training.ended().status == JobStatus.COMPLETED
    [left] = own_slurm.jobs(training.spec.marker)
    assert (left["job_id"], left["job_state"]) == (copy, "CANCELLED")
    assert starts_of(training) == 1


def test_a_job_that_was_removed_while_it_waited(own_slurm: SlurmCluster) -> None:
    start(own_slurm.provider(*ENDLESS, profile=BOTH_NODES))
    removed, cancelled = (submit(own_slurm.provider(*quick())) for _ in range(2))
    for training in (removed, cancelled):
        own_slurm.call("DELETE", f"/job/{training.number}")
    wait_until(lambda: len(own_slurm.jobs()) == 1, PATIENCE_SECONDS)
    removed.metadata["slurm_seen"] = True  # as it was seen a while after its submission
    snapshot = removed.ended()
    assert snapshot.status == JobStatus.FAILED
    assert "which never started" in str(snapshot.error_message)
    cancelled.asked_at = datetime.now(UTC)
    assert cancelled.ended().status == JobStatus.CANCELLED


def test_a_controller_that_is_killed_loses_no_job_and_runs_none_twice(own_slurm: SlurmCluster) -> None:
    blocker = start(own_slurm.provider(*ENDLESS, profile=BOTH_NODES))
    own_slurm.wait_until_stored()
    lost = submit(own_slurm.provider(*quick()))
    own_slurm.kill("slurmctld")
    own_slurm.start_controller()
    blocker.seen(JobStatus.RUNNING)
    other = submit(own_slurm.provider(*quick()))
    assert other.number == lost.number  # Slurm gives the number a second time
    assert lost.seen(JobStatus.QUEUED).metadata["slurm_job_id"] != other.number
    blocker.cancel()
    for training in (lost, other):
        assert training.ended().status == JobStatus.COMPLETED
        assert starts_of(training) == 1


@pytest.mark.long
def test_a_controller_that_is_down_says_nothing_about_its_jobs(own_slurm: SlurmCluster) -> None:
    training = start(own_slurm.provider(*COUNTING))
    own_slurm.wait_until_stored()
    own_slurm.kill("slurmctld")
    with pytest.raises(ProviderError, match=r"^Slurm's controller does not answer\.$"):
        training.fetch()
    with pytest.raises(ProviderError, match=r"^Slurm's controller does not answer\.$") as refused:
        submit(own_slurm.provider("true"))
    assert refused.value.nothing_created
    own_slurm.start_controller()
    training.seen(JobStatus.RUNNING)
    training.cancel()
    assert training.ended().status == JobStatus.CANCELLED
    assert starts_of(training) == 1


def test_a_node_daemon_that_is_killed_does_not_end_its_training(own_slurm: SlurmCluster) -> None:
    training = start(own_slurm.provider("bash", "-c", "echo up; until [ -e go ]; do sleep 0.1; done"))
    own_slurm.kill("n1")
    own_slurm.start_node(1)
    (training.folder / "go").touch()
    assert training.ended().status == JobStatus.COMPLETED


def test_a_job_that_slurm_begins_again_is_not_trained_twice(own_slurm: SlurmCluster) -> None:
    training = start(own_slurm.provider(*COUNTING))
    own_slurm.requeue(training.number)
    snapshot = training.ended()
    assert snapshot.status == JobStatus.FAILED
    assert snapshot.error_message == RAN_AGAIN
    assert [job["job_state"] for job in own_slurm.jobs(training.spec.marker)] == ["CANCELLED"]
    assert starts_of(training) == 1


def test_a_training_whose_node_failed_has_failed(own_slurm: SlurmCluster) -> None:
    training = start(own_slurm.provider(*COUNTING))
    for process in ("runner", "trainer"):
        os.kill(training.record("process.json")[process]["pid"], signal.SIGSTOP)
    own_slurm.fail_node("n1")
    # Its log was written to just now; but Slurm may wake the runner as it ends the job, which then records the end.
    training.seen(JobStatus.RUNNING, JobStatus.FAILED)
    os.utime(training.folder / "train.log", (0, 0))
    snapshot = training.ended()
    assert (snapshot.status, snapshot.error_message) == (JobStatus.FAILED, RAN_AGAIN)


def test_an_end_that_slurm_never_learns_of(slurm: SlurmCluster) -> None:
    training = submit(slurm.provider(*quick()))
    training.ended()
    [job] = slurm.jobs(training.spec.marker)
    running = json.dumps({"jobs": [{**job, "job_state": "RUNNING"}]}).encode()
    ended = training.record("exit.json")
    with stand_in({"/jobs": (200, running), f"/job/{job['job_id']}": (200, b"{}")}) as (address, asked):
        lagging = replace(training, provider=slurm.provider("true", address=address))
        lagging.seen(JobStatus.RUNNING)  # it may still learn
        long_ago = datetime.now(UTC) - timedelta(seconds=61)
        (training.folder / "exit.json").write_text(json.dumps({**ended, "ended_at": long_ago.isoformat()}))
        snapshot = lagging.ended()
    assert (snapshot.status, snapshot.completed_at) == (JobStatus.COMPLETED, long_ago)
    assert f"/job/{job['job_id']}" in asked  # the nodes are given back


def test_a_removal_that_slurm_forgot_is_asked_for_again(slurm: SlurmCluster) -> None:
    training, other = submit(slurm.provider(*quick())), start(slurm.provider(*ENDLESS))
    training.ended()
    [job], [others] = slurm.jobs(training.spec.marker), slurm.jobs(other.spec.marker)
    ended = training.record("exit.json")
    body = json.dumps({"jobs": [{**job, "job_state": "RUNNING"}, others]}).encode()
    with stand_in({"/jobs": (200, body), f"/job/{job['job_id']}": (200, b"{}")}) as (address, asked):
        looking = replace(other, provider=slurm.provider("true", address=address))
        looking.seen(JobStatus.RUNNING)
        assert asked == ["/jobs"]  # Slurm may still learn of the end
        long_ago = datetime.now(UTC) - timedelta(seconds=61)
        (training.folder / "exit.json").write_text(json.dumps({**ended, "ended_at": long_ago.isoformat()}))
        looking.seen(JobStatus.RUNNING)
        assert asked == ["/jobs", "/jobs", f"/job/{job['job_id']}"]


# Answers that are cut off or make no sense.


def test_an_empty_list_is_not_believed(slurm: SlurmCluster) -> None:
    training = start(slurm.provider(*ENDLESS))
    body = json.dumps({"jobs": [], "errors": []}).encode()
    with proxy(200, body, but=OPENAPI) as address:
        blind = replace(training, provider=slurm.provider(*ENDLESS, address=address))
        answer = asyncio.run(blind.provider.fetch([blind.handle]))[blind.spec.job_id]
    assert str(answer) == "Slurm's answer has no job."
    training.seen(JobStatus.RUNNING)


def test_a_list_in_another_shape_is_an_error(slurm: SlurmCluster) -> None:
    training = start(slurm.provider(*ENDLESS))
    with proxy(200, b'{"error": "rate limit"}', but=OPENAPI) as address:
        blind = replace(training, provider=slurm.provider(*ENDLESS, address=address))
        with pytest.raises(ProviderError, match="no list of jobs"):
            blind.fetch()


def test_a_job_that_slurm_loses_again_and_again_is_given_up(slurm: SlurmCluster) -> None:
    gone = b'{"errors":[{"error_number":2017,"error":"Invalid job id specified"}]}'
    answers = {"/jobs": (200, b'{"jobs":[]}'), "/job/9": (500, gone), "/job/submit": (200, b'{"job_id":9}')}
    with stand_in(answers) as (address, asked):
        training = submit(slurm.provider("true", address=address))
        for _ in range(2):
            training.seen(JobStatus.QUEUED)
        snapshot = training.ended()
    assert snapshot.status == JobStatus.FAILED
    assert "which never started" in str(snapshot.error_message)
    assert asked.count("/job/submit") == 3


def test_a_shared_folder_that_is_not_mounted_ends_no_job(slurm: SlurmCluster) -> None:
    training = submit(slurm.provider(*quick()))
    wait_until(lambda: slurm.jobs(training.spec.marker)[0]["job_state"] == "COMPLETED", PATIENCE_SECONDS)
    slurm.shared.rename(slurm.folder / "unmounted")
    slurm.shared.mkdir()
    try:
        for look in (training.fetch, lambda: asyncio.run(training.provider.read_log(training.handle))):
            with pytest.raises(ProviderError, match="This is not the shared folder that trainings were written to"):
                look()
    finally:
        slurm.shared.rmdir()
        (slurm.folder / "unmounted").rename(slurm.shared)
    assert training.ended().status == JobStatus.COMPLETED


def test_a_folder_that_somebody_removed(slurm: SlurmCluster, tmp_path: Path) -> None:
    training = start(slurm.provider(*ENDLESS))
    training.folder.rename(slurm.folder / "elsewhere")
    training.seen(JobStatus.RUNNING)
    slurm.call("DELETE", f"/job/{training.number}")
    assert training.ended().status == JobStatus.CANCELLED


def test_the_job_is_kept_until_the_submission_is_known(slurm: SlurmCluster) -> None:
    spec = make_spec()
    with proxy(504, b"<html>", but=OPENAPI) as address, pytest.raises(ProviderError):
        submit(slurm.provider("true", address=address), spec)
    training = submit(slurm.provider("true"), spec)
    assert training.ended().status == JobStatus.COMPLETED
