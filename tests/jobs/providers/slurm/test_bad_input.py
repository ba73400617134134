"""What may be wrong with the settings, the cluster and its nodes: each is a sentence that says what to do."""

from __future__ import annotations

import asyncio
import os
import pwd
import re
import subprocess
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from cloudtrain_site.conf.providers import HardwareProfile, Secret
from jobs.providers.base import ProviderError
from jobs.providers.slurm import access, folder
from jobs.providers.slurm.provider import SlurmProvider
from jobs.statuses import JobStatus
from tests.jobs.providers.slurm.trainings import ENDLESS, make_spec, start, submit
from tests.servers import free_port
from tests.slurm import NOBODY, SlurmCluster
from tests.wait import wait_until


def refusal(provider: SlurmProvider, **fields: Any) -> ProviderError:
    with pytest.raises(ProviderError) as caught:
        asyncio.run(provider.submit(make_spec(**fields)))
    return caught.value


def validation(provider: SlurmProvider) -> str:
    with pytest.raises(ProviderError) as caught:
        asyncio.run(provider.validate())
    return str(caught.value)


# The token.


def test_a_wrong_key(slurm: SlurmCluster, tmp_path: Path) -> None:
    (tmp_path / "key").write_bytes(b"x" * 32)
    provider = slurm.provider(key=Secret(file=tmp_path / "key"))
    sentence = (
        "Slurm refuses the token. The token is made with the `key_file` of slurm-lab. That file must be the cluster's "
        "signing key, 'root' must be an account of the cluster, and both clocks must agree."
    )
    error = refusal(provider)
    assert (str(error), error.nothing_created, error.permanent) == (sentence, True, False)
    assert validation(provider) == sentence
    with pytest.raises(ProviderError, match="Slurm refuses the token"):
        asyncio.run(provider.find_by_marker(["ct-0"]))


def test_an_expired_token_is_taken_anew_from_its_file(
    slurm: SlurmCluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "token"
    monkeypatch.setattr(access, "TOKEN_SECONDS", -60)
    file.write_text(access.headers(slurm.instance())["X-SLURM-USER-TOKEN"])
    monkeypatch.undo()
    provider = slurm.provider(key=Secret(), token=Secret(file=file))
    expired = re.fullmatch(
        rf"Slurm refuses the token\. It expired at {datetime.now(UTC):%Y}-..-.. ..:..:.. UTC\. Make a new one with "
        r"`scontrol token username=root lifespan=SECONDS` and write it to the `token_file` of slurm-lab\.",
        validation(provider),
    )
    assert expired
    file.write_text(access.headers(slurm.instance())["X-SLURM-USER-TOKEN"] + "\n")
    assert "takes jobs of root" in asyncio.run(provider.validate())


def test_a_token_of_somebody_else(slurm: SlurmCluster, tmp_path: Path) -> None:
    (tmp_path / "token").write_text(access.headers(slurm.instance(user="daemon"))["X-SLURM-USER-TOKEN"])
    provider = slurm.provider(key=Secret(), token=Secret(file=tmp_path / "token"))
    assert "It is 'daemon''s, and not 'root''s. Make a new one" in validation(provider)


def test_a_token_that_is_none(slurm: SlurmCluster, tmp_path: Path) -> None:
    provider = slurm.provider(key=Secret(), token=Secret("nonsense-of-a-token"))
    assert "It is not from this cluster, or has expired. Make a new one" in validation(provider)
    lost = slurm.provider(key=Secret(), token=Secret(file=tmp_path / "gone"))
    assert validation(lost) == "The `token_file` of slurm-lab can't be read: No such file or directory."
    locked_away = slurm.provider(key=Secret(file=tmp_path / "gone"))
    assert validation(locked_away) == "The `key_file` of slurm-lab can't be read: No such file or directory."
    assert "has no token" in validation(slurm.provider(key=Secret(), token=Secret()))


def test_a_key_that_openssl_made(tmp_path: Path) -> None:
    pem = b"-----BEGIN RSA PRIVATE KEY-----\nMIIB\n-----END RSA PRIVATE KEY-----\n"
    (tmp_path / "key").write_bytes(pem)
    instance = SlurmCluster.instance.__get__(_Nowhere(tmp_path))(key=Secret(file=tmp_path / "key"))
    token = access.headers(instance)["X-SLURM-USER-TOKEN"]
    assert len(token.split(".")) == 3


class _Nowhere:
    """As much of a cluster as `instance` needs."""

    def __init__(self, path: Path) -> None:
        self.shared = path
        self.key = path / "key"
        self.user = "nobody"
        self.address = "http://127.0.0.1:1"


# The address.


def test_nothing_listens_at_the_address(slurm: SlurmCluster) -> None:
    error = refusal(slurm.provider(address=f"http://127.0.0.1:{free_port()}"))
    assert re.fullmatch(r"Slurm could not be reached at http://127\.0\.0\.1:\d+: Connection refused\.", str(error))
    assert error.nothing_created


@contextmanager
def stand_in(answers: Mapping[str, tuple[int, bytes]]) -> Iterator[tuple[str, list[str]]]:
    """A server in Slurm's place: its answers by the end of the path, "" for all others; and what it was asked."""
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            ends = [end for end in answers if self.path.endswith(end)]
            status, body = answers[max(ends, key=len)] if ends else (200, OPENAPI)
            asked.extend(ends)
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_POST = do_DELETE = do_GET  # noqa: N815

        def log_message(self, *_: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}", asked
        server.shutdown()


@contextmanager
def proxy(status: int, body: bytes, *, but: bytes = b"") -> Iterator[str]:
    """A server that answers everything so; `but` is its answer for the version of the API."""
    version = {"/openapi/v3": (200, but)} if but else {}
    with stand_in({"": (status, body), **version}) as (address, _):
        yield address


HTML = b"<html><body>Welcome to the portal</body></html>"
OPENAPI = rb'{"paths":{"\/slurm\/v0.0.38\/ping":{}}}'


@pytest.mark.parametrize("status", [200, 302, 404, 502])
def test_a_proxys_page(slurm: SlurmCluster, status: int) -> None:
    with proxy(status, HTML) as address:
        error = refusal(slurm.provider(address=address))
    assert str(error) == f"{address} answered {status}, but not as Slurm does. Is this slurmrestd's address?"
    assert error.nothing_created


def test_a_proxy_that_gives_up_may_have_handed_the_job_on(slurm: SlurmCluster) -> None:
    with proxy(504, HTML, but=OPENAPI) as address:
        assert not refusal(slurm.provider(address=address)).nothing_created
    with proxy(404, HTML, but=OPENAPI) as address:
        assert refusal(slurm.provider(address=address)).nothing_created


@pytest.mark.parametrize("body", [b"[]", b"{}", b'{"jobs":null}', b'{"jobs":[1,{"job_id":"x"}]}', b'{"job_id":-5}'])
def test_answers_that_make_no_sense_create_nothing_and_lose_nothing(slurm: SlurmCluster, body: bytes) -> None:
    with proxy(200, body, but=OPENAPI) as address:
        provider = slurm.provider(address=address)
        assert not refusal(provider).nothing_created


# The shared folder, as this machine sees it.


def test_the_shared_folder_is_not_there(slurm: SlurmCluster, tmp_path: Path) -> None:
    provider = slurm.provider(shared_folder=tmp_path / "not-mounted")
    sentence = "The shared folder is missing on this machine. Mount it."
    assert str(refusal(provider)) == validation(provider) == sentence
    assert not (tmp_path / "not-mounted").exists()


def test_an_account_that_this_machine_does_not_know(slurm: SlurmCluster) -> None:
    assert "This machine has no account 'ghost'" in str(refusal(slurm.provider(user="ghost")))


def test_a_site_that_may_not_give_files_to_the_account(slurm: SlurmCluster) -> None:
    os.seteuid(NOBODY)
    try:
        with pytest.raises(ProviderError) as caught:
            folder.account("root")
        assert folder.account("nobody").pw_uid == NOBODY
    finally:
        os.seteuid(0)
    assert str(caught.value) == (
        "This site runs as 'nobody', but trainings run as 'root', who can't read their configs. "
        "Run the site as 'root', or set `user` to 'nobody'."
    )


@pytest.fixture
def small_folder(slurm: SlurmCluster) -> Iterator[Path]:
    """A shared folder of its own file system, of which a little is free."""
    place = slurm.folder / "small"
    place.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=256k,mode=755", "tmpfs", place], check=True)
    yield place
    slurm.end_jobs()
    subprocess.run(["umount", place], check=True)
    place.rmdir()


def fill(place: Path) -> None:
    with (place / "filler").open("wb", buffering=0) as file, pytest.raises(OSError, match="No space"):
        while True:
            file.write(b"x" * 4096)


def test_a_full_shared_folder_takes_no_job(slurm: SlurmCluster, small_folder: Path) -> None:
    fill(small_folder)
    provider = slurm.provider(shared_folder=small_folder)
    error = refusal(provider)
    assert str(error) == "This site can't use the cluster's shared folder: No space left on device."
    assert error.nothing_created
    assert validation(provider) == str(error)


# The nodes.


@pytest.mark.slow
def test_a_shared_folder_that_is_full_when_the_job_begins(slurm: SlurmCluster, small_folder: Path) -> None:
    everything = HardwareProfile("all", nodes=2, cpus=64)
    first = start(slurm.provider(*ENDLESS, profile=HardwareProfile("all", cpus=64)))
    waiting = submit(slurm.provider("true", profile=everything, shared_folder=small_folder))
    waiting.seen(JobStatus.QUEUED)
    fill(small_folder)
    first.cancel()
    snapshot = waiting.ended()
    assert snapshot.status == JobStatus.FAILED
    assert snapshot.error_message == "The job's folder could not be written on n1: it is full or read-only."


@pytest.mark.slow
def test_a_folder_that_the_node_does_not_see(slurm: SlurmCluster) -> None:
    hidden = slurm.folder / "hidden"
    (hidden / "shared").mkdir(parents=True)
    hidden.chmod(0o700)
    snapshot = submit(slurm.provider("true", user="daemon", shared_folder=hidden / "shared")).ended()
    assert snapshot.status == JobStatus.FAILED
    assert snapshot.error_message == (
        "n1 can't read the job's folder in the shared folder. Mount the shared folder there under the same path."
    )


@pytest.mark.slow
def test_a_node_without_python(slurm: SlurmCluster) -> None:
    snapshot = submit(slurm.provider("true", python="no-such-python")).ended()
    assert snapshot.status == JobStatus.FAILED
    assert snapshot.error_message == (
        "n1 has no Python. Set the provider's `python` to a Python 3.8 or newer on the nodes."
    )


@pytest.mark.slow
def test_a_python_that_is_none(slurm: SlurmCluster) -> None:
    snapshot = submit(slurm.provider("true", python="/bin/false")).ended()
    assert snapshot.status == JobStatus.FAILED
    assert (
        snapshot.error_message == "The job failed on n1 before the trainer started: it ended with exit code 1 (FAILED)."
    )


@pytest.mark.slow
def test_a_trainer_that_the_node_does_not_have(slurm: SlurmCluster) -> None:
    snapshot = submit(slurm.provider("no-such-trainer", "{config}")).ended()
    assert snapshot.status == JobStatus.FAILED
    assert snapshot.error_message == (
        "The trainer's program 'no-such-trainer' could not be started: it does not exist."
    )


@pytest.mark.slow
def test_another_account_trains_with_files_of_its_own(slurm: SlurmCluster) -> None:
    slurm.shared.chmod(0o755)
    code = "id -un; cat config.json; touch output/model; echo up; exec sleep 1000"
    training = start(slurm.provider("bash", "-c", code, user="daemon"))
    daemon = pwd.getpwnam("daemon")
    for name in (".", "config.json", "output", "output/model", "train.log", "process.json"):
        assert (training.folder / name).stat().st_uid == daemon.pw_uid
    assert training.folder.stat().st_mode & 0o777 == 0o700
    assert (training.folder / "config.json").stat().st_mode & 0o777 == 0o600
    assert training.log().startswith("daemon\n")
    training.cancel()
    assert training.ended().status == JobStatus.CANCELLED


# What Slurm refuses.


def test_a_partition_that_does_not_exist(slurm: SlurmCluster) -> None:
    error = refusal(slurm.provider(profile=HardwareProfile("x", partition="h1000")))
    assert str(error) == (
        "Slurm refused: Invalid partition name specified. The profile's `partition` does not exist on this cluster."
    )
    assert error.permanent
    assert error.nothing_created


def test_an_account_without_the_right(slurm: SlurmCluster) -> None:
    error = refusal(slurm.provider(profile=HardwareProfile("x", partition="theirs"), user="daemon"))
    assert "Slurm refused: User's group not permitted to use this partition." in str(error)
    assert "The account `user` is in no group that can use the profile's partition." in str(error)
    assert error.permanent


def test_hardware_that_no_node_has(slurm: SlurmCluster) -> None:
    error = refusal(slurm.provider(profile=HardwareProfile("x", gpus=8, gpu_type="a100")))
    assert str(error) == (
        "Slurm refused: Requested node configuration is not available. "
        "No node of the cluster has what the profile asks for."
    )
    assert error.permanent


def test_hardware_that_is_not_declared(slurm: SlurmCluster) -> None:
    error = refusal(slurm.provider(), hardware_profile="h200")
    assert str(error) == "Slurm lab has no hardware “h200”. It has cpu."
    assert error.permanent


def test_a_job_that_slurm_takes_with_an_error_is_one_that_waits(slurm: SlurmCluster) -> None:
    slurm.drain("n1")
    try:
        training = submit(slurm.provider(profile=HardwareProfile("x", nodes=2)))
        assert training.first.status == JobStatus.QUEUED
        assert training.first.waiting_reason == (
            "The cluster keeps the job waiting: Required node not available (down, drained or reserved)."
        )
        reason = wait_until(lambda: training.seen(JobStatus.QUEUED).waiting_reason)
        assert str(reason).startswith(
            "The cluster keeps the job waiting, as nodes that it needs are down or reserved: ReqNode"
        )
        view = asyncio.run(training.provider.look())
        assert "n1 is idle+drain: for a test." in view.warnings
        assert [node.is_usable for node in view.nodes] == [False, True]
    finally:
        slurm.resume("n1")
    training.cancel()
    assert training.ended().status == JobStatus.CANCELLED


def test_a_longer_time_than_the_partition_allows(slurm: SlurmCluster) -> None:
    profile = HardwareProfile("x", partition="short", time_limit_minutes=60)
    training = submit(slurm.provider(profile=profile))
    deadline = time.monotonic() + 20
    while "PartitionTimeLimit" not in str(training.seen(JobStatus.QUEUED).waiting_reason):
        assert time.monotonic() < deadline
    training.cancel()
    training.ended()
