"""`GET /api/events` over real HTTP: who gets what, and nothing twice, and nothing lost."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import httpx
import pytest
from django.contrib.auth.models import User
from django.core.signals import request_finished
from django.db import connection
from django.test import Client
from knox.models import get_token_model

from cloudtrain_site.events import relay
from cloudtrain_site.events.publish import rights_changed
from cloudtrain_site.events.relay import open_streams
from cloudtrain_site.events.store import current_number
from jobs.channels import organization_channel
from jobs.models import Organization
from tests.cloudtrain_site.event_factory import store_event
from tests.web import EventStream, Message, open_stream, session_cookies, wait_until

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[3]


def key_of(user: User) -> str:
    return str(get_token_model().objects.create(user=user)[1])


def open_database_connections() -> int:
    """How many this process has, beside the test's own; on PostgreSQL everybody's."""
    if connection.vendor == "postgresql":
        with connection.cursor() as cursor:
            cursor.execute("SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()")
            return int(cursor.fetchone()[0])
    # SQLite keeps the files of closed connections open for as long as another thread's lock is on them.
    connection.close()
    name = str(connection.settings_dict["NAME"])
    return sum(1 for link in Path("/proc/self/fd").iterdir() if os.path.realpath(link) == name)


class TestRefusals:
    def test_nobody_gets_401(self, web_server: str) -> None:
        answer = httpx.get(f"{web_server}/api/events")

        assert answer.status_code == 401
        assert answer.json()["code"] == "not_authenticated"
        assert set(answer.json()) == {"detail", "code", "correlation_id"}

    @pytest.mark.parametrize("headers", [{"Authorization": "Bearer wrong"}, {"X-API-Key": "wrong"}])
    def test_a_bad_key_gets_401(self, web_server: str, headers: dict[str, str]) -> None:
        answer = httpx.get(f"{web_server}/api/events", headers=headers)

        assert (answer.status_code, answer.json()["code"]) == (401, "authentication_failed")
        assert answer.headers["WWW-Authenticate"] == "Bearer"

    def test_a_bad_key_is_not_saved_by_a_session(self, web_server: str, alice: User) -> None:
        answer = httpx.get(f"{web_server}/api/events", headers={"X-API-Key": "wrong"}, cookies=session_cookies(alice))

        assert answer.status_code == 401

    def test_a_deactivated_user_gets_401(self, web_server: str, alice: User) -> None:
        cookies = session_cookies(alice)
        User.objects.filter(pk=alice.pk).update(is_active=False)

        assert httpx.get(f"{web_server}/api/events", cookies=cookies).status_code == 401

    def test_a_user_without_channels_gets_403(self, web_server: str, alice: User, settings: Any) -> None:
        settings.AUTHENTICATION_BACKENDS = ["django.contrib.auth.backends.AllowAllUsersModelBackend"]
        cookies = session_cookies(alice)
        User.objects.filter(pk=alice.pk).update(is_active=False)

        answer = httpx.get(f"{web_server}/api/events", cookies=cookies)

        assert (answer.status_code, answer.json()["code"]) == (403, "permission_denied")

    def test_a_server_that_would_hold_a_thread_for_it_gets_501(self, alice: User, client: Client) -> None:
        client.force_login(alice)
        answer = client.get("/api/events")

        assert (answer.status_code, answer.json()["code"]) == (501, "not_implemented")

    @pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "HEAD"])
    def test_anything_but_get_gets_405(self, web_server: str, method: str) -> None:
        answer = httpx.request(method, f"{web_server}/api/events")

        assert answer.status_code == 405
        assert answer.headers["Allow"] == "GET"


class TestFormat:
    def test_headers_keep_proxies_from_buffering(self, web_server: str, alice: User) -> None:
        with open_stream(web_server, alice) as stream:
            assert stream.response.headers["Content-Type"] == "text/event-stream"
            assert stream.response.headers["X-Accel-Buffering"] == "no"
            assert stream.response.headers["Cache-Control"] == "no-cache"

    def test_an_event_is_an_unnamed_message_with_its_number(self, web_server: str, alice: User) -> None:
        with open_stream(web_server, alice) as stream:
            number = store_event("queue_changed", queue_depth=3, running=1)

            assert stream.next() == Message(
                "message",
                str(number),
                {"id": number, "type": "queue_changed", "queue_depth": 3, "running": 1},
            )

    def test_a_browser_is_told_to_reconnect_after_two_seconds(self, web_server: str, alice: User) -> None:
        with httpx.stream("GET", f"{web_server}/api/events", cookies=session_cookies(alice)) as response:
            assert next(response.iter_lines()) == "retry: 2000"


class TestReaders:
    @pytest.mark.parametrize("header", ["Authorization", "X-API-Key"])
    def test_a_key_opens_a_stream(self, web_server: str, alice: User, header: str) -> None:
        prefix = "Bearer " if header == "Authorization" else ""
        headers = {header: prefix + key_of(alice)}
        with httpx.stream("GET", f"{web_server}/api/events", headers=headers) as response:
            stream = EventStream(response)
            stream.next("stream-open")
            store_event("news")

            assert stream.next().data["type"] == "news"

    def test_members_get_their_organizations_events_and_no_others(
        self, web_server: str, acme: Organization, alice: User, charlie: User
    ) -> None:
        with open_stream(web_server, alice) as alices, open_stream(web_server, charlie) as charlies:
            store_event("acmes", organization_channel(acme.pk))
            store_event("everyones")

            assert [alices.next().data["type"] for _ in range(2)] == ["acmes", "everyones"]
            assert charlies.next().data["type"] == "everyones"

    def test_a_superuser_gets_everything_but_the_internal(
        self, web_server: str, acme: Organization, root: User, alice: User
    ) -> None:
        with open_stream(web_server, root) as stream:
            store_event("acmes", organization_channel(acme.pk))
            rights_changed(alice.pk)
            store_event("nobodys", organization_channel(None))

            assert [stream.next().data["type"] for _ in range(2)] == ["acmes", "nobodys"]

    def test_resuming_does_not_show_what_is_not_yours(
        self, web_server: str, acme: Organization, charlie: User, root: User
    ) -> None:
        start = current_number()
        store_event("acmes", organization_channel(acme.pk))
        rights_changed(root.pk)
        store_event("everyones")

        with open_stream(web_server, charlie, last_id=start) as charlies:
            assert charlies.next().data["type"] == "everyones"
        with open_stream(web_server, root, last_id=start) as roots:
            assert [roots.next().data["type"] for _ in range(2)] == ["acmes", "everyones"]


@pytest.mark.slow
def test_an_event_of_another_process_arrives(web_server: str, alice: User) -> None:
    settings = connection.settings_dict
    login = "{USER}:{PASSWORD}@{HOST}:{PORT}".format(**settings)
    scheme = f"postgres://{login}/" if connection.vendor == "postgresql" else "sqlite:///"
    program = (
        "import django; django.setup()\n"
        "from cloudtrain_site.events.publish import EVERYONE, Event, publish\n"
        "publish(Event('from_afar', EVERYONE))\n"
    )
    environment = {
        **os.environ,
        "DATABASE_URL": f"{scheme}{settings['NAME']}",
        "DJANGO_SETTINGS_MODULE": "cloudtrain_site.settings",
    }
    with open_stream(web_server, alice) as stream:
        subprocess.run([sys.executable, "-c", program], cwd=ROOT, env=environment, check=True)

        assert stream.next().data["type"] == "from_afar"


class TestCost:
    def test_open_streams_hold_no_thread_and_no_connection(
        self, web_server: str, alice: User, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(relay, "KEEP_CONNECTION_SECONDS", 0.2)
        threads, connections = threading.active_count(), open_database_connections()
        with ExitStack() as stack:
            for _ in range(10):
                stack.enter_context(open_stream(web_server, alice))

            assert open_streams() == 10
            # The relay's thread, which keeps a connection, the one in which all streams read the table, and the one
            # that tells their number, which keep none; and a connection that hears PostgreSQL's notices.
            wait_until(lambda: threading.active_count() <= threads + 3)
            wait_until(lambda: open_database_connections() <= connections + 2)

    def test_a_client_that_leaves_leaves_nothing_behind(self, web_server: str, alice: User) -> None:
        with open_stream(web_server, alice):
            pass  # the thread in which all streams read the table stays for the next ones
        wait_until(lambda: open_streams() == 0)
        threads, connections = threading.active_count(), open_database_connections()
        for _ in range(5):
            with open_stream(web_server, alice):
                pass

        wait_until(lambda: open_streams() == 0)
        wait_until(lambda: threading.active_count() <= threads)
        wait_until(lambda: open_database_connections() <= connections)

    def test_django_is_done_with_the_request_while_the_stream_is_open(self, web_server: str, alice: User) -> None:
        done = threading.Event()

        def note(**kwargs: Any) -> None:
            done.set()

        request_finished.connect(note)
        try:
            with open_stream(web_server, alice):
                assert done.wait(10)
                assert open_streams() == 1
        finally:
            request_finished.disconnect(note)
