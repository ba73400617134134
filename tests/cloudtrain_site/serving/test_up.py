"""`manage.py up` as an operator meets it: a terminal, a port that is taken, its log, the admin, Ctrl-C, kill -9."""

from __future__ import annotations

import json
import os
import pty
import signal
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from django.core.management import CommandError, call_command

from tests.cloudtrain_site.doc_recipes import DOCUMENTED, OURS, found, run, shown_by
from tests.cloudtrain_site.process_stacks import MANAGE, START_SECONDS, Stack, running_stack
from tests.cloudtrain_site.running_site import ADDRESS, MANY, Life, running_life
from tests.servers import free_port
from tests.wait import wait_until

pytestmark = [pytest.mark.slow, pytest.mark.long]


@pytest.fixture
def empty_stack(tmp_path: Path) -> Iterator[Stack]:
    """An empty data folder and an empty database."""
    with running_stack(tmp_path) as made:
        yield made


@pytest.fixture
def port() -> int:
    return free_port()


class TestWhatCannotBeStarted:
    def test_a_port_that_is_taken(self, empty_stack: Stack) -> None:
        with socket.socket() as other:
            other.bind(("127.0.0.1", 0))
            other.listen()
            taken = other.getsockname()[1]
            done = empty_stack.run("up", "--port", str(taken))
        assert done.returncode == 1
        assert done.stderr.strip().endswith(
            f"Can't listen on 127.0.0.1 port {taken}: Address already in use. Choose another with --port."
        )
        assert "Traceback" not in done.stderr + done.stdout
        assert not (empty_stack.folder / "data" / "cloudtrain.sqlite3").exists()

    @pytest.mark.parametrize("port", ["99999", "-1", "0"])
    def test_a_port_that_is_none(self, port: str) -> None:
        with pytest.raises(CommandError, match=f"Can't listen on 127.0.0.1 port {port}: a port is a number"):
            call_command("up", "--port", port)

    def test_a_data_folder_that_is_a_file(self, empty_stack: Stack) -> None:
        (empty_stack.folder / "file").touch()
        done = empty_stack.run("up", "--port", str(free_port()), SIMPLETUNER_DATA_DIR=str(empty_stack.folder / "file"))
        assert done.returncode == 1
        assert str(empty_stack.folder / "file") in done.stderr
        assert "Traceback" not in done.stderr + done.stdout

    def test_a_database_that_cannot_be_opened(self, empty_stack: Stack) -> None:
        url = f"sqlite:///{empty_stack.folder}/no/such/folder/db.sqlite3"
        done = empty_stack.run("up", "--port", str(free_port()), DATABASE_URL=url)
        assert done.returncode == 1
        assert "The database can't be prepared: unable to open database file" in done.stderr
        assert "Traceback" not in done.stderr + done.stdout


@pytest.fixture(scope="module")
def one_life(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Life]:
    """One for the whole module: a start takes longer than most of the tests."""
    with running_life(tmp_path_factory.mktemp("life")) as life:
        yield life


@pytest.fixture
def life(one_life: Life) -> Life:
    """The same; up again if the test before has stopped it."""
    one_life.site.ensure_up()
    return one_life


class TestRunning:
    def test_nothing_of_one_request_or_task_is_in_a_line_of_another(self, life: Life) -> None:
        life.submit_many()
        tasks = {f"task-{number}": {"number": number, "inner": number, "own": number} for number in range(MANY)}
        wait_until(lambda: life.messages().count("Inside") == 2 * MANY, START_SECONDS)
        submitters = {job_id: name for name, job_id in life.jobs.items()}
        lines = life.lines()
        for line in lines:
            name, extra = line["correlation_id"], line.get("extra", {})
            own = {key: extra[key] for key in ("number", "inner", "own") if key in extra}
            assert own.items() <= tasks.get(name, {}).items()
            assert submitters.get(extra.get("job_id"), name) == name
        submitted = [line for line in lines if line["message"] == "Job submitted successfully"]
        assert sorted(line["correlation_id"] for line in submitted) == sorted(life.jobs)
        inside = [line["extra"] for line in lines if line["message"] == "Inside"]
        assert sorted((extra["own"], extra["part"]) for extra in inside) == [
            (n, part) for n in range(MANY) for part in (0, 1)
        ]
        assert all({"number", "inner", "own", "task", "task_id"} <= extra.keys() for extra in inside)

    def test_a_webhook_address_in_the_admin_stops_the_poller_and_clearing_it_starts_it(self, life: Life) -> None:
        def polling_messages() -> list[str]:
            return [message for message in life.messages() if message.endswith("job status polling")]

        for address, message in ((ADDRESS, "Stopping job status polling"), ("", "Starting job status polling")):
            count = len(polling_messages())
            life.set_webhook_address(address)
            wait_until(lambda count=count: len(polling_messages()) > count, 5)  # type: ignore[misc]
            assert polling_messages()[count:] == [message]
            rows = life.site.query("SELECT count(*) FROM django_q_schedule WHERE name = 'job status polling'")
            assert rows == [(int(not address),)]

    def test_who_asks_for_a_websocket_is_answered_as_if_he_had_not(self, life: Life) -> None:
        headers = {"Connection": "Upgrade", "Upgrade": "websocket", "X-Correlation-ID": "websocket"}
        headers |= {"Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==", "Sec-WebSocket-Version": "13"}
        answer = httpx.get(f"http://127.0.0.1:{life.site.port}/api/events", headers=headers)
        assert (answer.status_code, answer.headers["x-correlation-id"]) == (401, "websocket")
        assert "server" not in answer.headers, "what serves is nobody's business"
        assert "Exception in ASGI application\n" not in life.messages()

    @pytest.mark.sqlite
    def test_nobody_else_on_the_machine_reads_the_database(self, life: Life) -> None:
        files = list(life.site.folder.rglob("cloudtrain.sqlite3*"))
        assert files
        assert [path.name for path in files if path.stat().st_mode & 0o077] == []

    def test_the_recipes_find_what_they_say(self, life: Life) -> None:
        life.let_expire()
        log = life.settled_log()
        lines = [json.loads(line) for line in log.read_text().splitlines()]
        for recipe, belongs in DOCUMENTED.items():
            expected = [shown_by(recipe, line) for line in lines if belongs(line)]
            assert expected, recipe
            assert found(recipe, log) == expected
        assert all(run(recipe, log) for recipe in OURS)
        by_id = {line["message"] for line in lines if line["correlation_id"] == "abc123"}
        by_job = {line["message"] for line in lines if line.get("extra", {}).get("job_id") == "xyz789"}
        assert {"Job submitted successfully", "request_finished"} <= by_id
        assert {"Job submitted successfully", "Approval request expired"} <= by_job

    def test_a_web_process_that_dies_is_started_again(self, life: Life) -> None:
        site = life.site
        [web] = site.named("web")
        os.kill(web, signal.SIGKILL)
        # Nobody is refused meanwhile: the socket stays open, and the request waits for the new process.
        answer = httpx.get(f"http://127.0.0.1:{site.port}/api/cloud/health/live", timeout=START_SECONDS)
        assert answer.status_code == 200
        assert "Service ended and is started again" in site.messages()
        assert site.up is not None
        assert site.up.poll() is None

    def test_workers_end_with_the_process_that_forked_them_and_are_replaced(self, life: Life) -> None:
        site = life.site
        former = site.living_workers()
        [forker] = site.named("forker")
        os.kill(forker, signal.SIGKILL)
        wait_until(lambda: len(site.living_workers() - former) == 2, START_SECONDS)
        assert not former & site.pids()
        assert any(message.startswith("Background workers are replaced") for message in life.messages())

    def test_ctrl_c_leaves_nothing(self, life: Life) -> None:
        site = life.site
        assert site.up is not None
        site.up.send_signal(signal.SIGINT)
        site.wait_until_gone(10)
        assert site.up.wait() == 0
        assert {"Queue scheduler started", "Shutting down"} <= set(site.messages())  # every line is JSON
        assert (site.folder / "err").read_text() == ""

    def test_a_terminal_is_told_where_to_look_and_kill_9_leaves_nothing(self, empty_stack: Stack, port: int) -> None:
        ours, theirs = pty.openpty()
        up = subprocess.Popen(
            [*MANAGE, "up", "--port", str(port)],
            env=empty_stack.environment,
            stdout=theirs,
            stderr=theirs,
            start_new_session=True,
        )
        os.close(theirs)
        empty_stack.started.append(up)
        output = read_until(ours, "Ctrl-C stops everything")
        for part in (
            "/admin/",
            "/api/docs",
            f"http://127.0.0.1:{port}/first-visit/ct_",
            "first_link",
            "cloudtrain.log",
        ):
            assert part in output
        assert output.count(f"Dashboard   http://127.0.0.1:{port}/") == 1
        wait_until(lambda: "Started server process" in (empty_stack.folder / "data" / "cloudtrain.log").read_text())
        up.kill()
        empty_stack.wait_until_gone(15)
        os.close(ours)

    def test_a_log_is_told_where_the_site_is_in_one_line(self, life: Life) -> None:
        lines = [line for line in life.lines() if line["message"].startswith("The site is at")]
        assert [line["message"] for line in lines][-1] == f"The site is at http://127.0.0.1:{life.site.port}/"


def read_until(terminal: int, *texts: str) -> str:
    """What appeared on the terminal, up to the last of `texts`; pytest's own time limit ends a wait in vain."""
    output = ""
    while not all(text in output for text in texts):
        output += os.read(terminal, 1024).decode()
    return output
