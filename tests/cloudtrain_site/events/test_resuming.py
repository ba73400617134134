"""A stream that ends, and one that goes on where another ended: nothing twice, and nothing lost."""

from __future__ import annotations

import socket
import threading
from contextlib import ExitStack, suppress
from datetime import timedelta

import httpx
import pytest
from django.contrib.auth.models import User
from django.db import connection, connections
from django.utils import timezone
from django_eventstream.models import Event

from cloudtrain_site.events import stream as event_stream
from cloudtrain_site.events.publish import rights_changed
from cloudtrain_site.events.readers import QUEUE_CHARACTERS, open_readers
from cloudtrain_site.events.relay import _relays, open_streams
from cloudtrain_site.events.store import current_number, trim
from jobs.channels import organization_channel
from jobs.models import Membership, Organization
from tests.cloudtrain_site.event_factory import ids, store_event, store_many
from tests.wait import wait_until
from tests.web import open_stream, running_server, session_cookies

pytestmark = pytest.mark.slow

#: How many events `get_events` of the library reads at once.
LIBRARYS_BATCH = 100


class TestResuming:
    def test_brings_what_was_missed_once(self, web_server: str, alice: User) -> None:
        with open_stream(web_server, alice) as stream:
            store_event("seen")
            seen = stream.next().id
        missed = store_many(3)

        with open_stream(web_server, alice, last_id=seen) as stream:
            live = store_event("live")
            assert ids([stream.next() for _ in range(4)]) == [*missed, str(live)]

    def test_brings_more_than_one_batch(self, web_server: str, alice: User) -> None:
        start = current_number()
        missed = store_many(2 * LIBRARYS_BATCH + 1)

        with open_stream(web_server, alice, last_id=start) as stream:
            assert ids([stream.next() for _ in missed]) == missed

    def test_is_exact_even_before_the_first_event(self, web_server: str, alice: User) -> None:
        store_event("long-ago")
        with open_stream(web_server, alice) as stream:
            opened_at = stream.last_id
        missed = store_event("missed")

        with open_stream(web_server, alice, last_id=opened_at) as stream:
            assert stream.next().id == str(missed)

    def test_from_a_number_in_the_address(self, web_server: str, alice: User) -> None:
        start = current_number()
        missed = store_event("missed")

        for name in ("last_event_id", "lastEventId"):
            with open_stream(web_server, alice, query=f"?{name}={start}") as stream:
                assert stream.next().id == str(missed)

    def test_the_header_is_newer_than_the_address(self, web_server: str, alice: User) -> None:
        start = current_number()
        seen, missed = store_event("seen"), store_event("missed")

        with open_stream(web_server, alice, last_id=seen, query=f"?last_event_id={start}") as stream:
            assert stream.next().id == str(missed)

    @pytest.mark.slow
    def test_while_others_write_loses_and_doubles_nothing(self, web_server: str, alice: User) -> None:
        written: list[str] = []
        with open_stream(web_server, alice) as stream:
            last_id = stream.last_id
        writer = threading.Thread(target=write_in_pieces, args=(written,))
        writer.start()
        got: list[str | None] = []
        while len(got) < 300:
            with open_stream(web_server, alice, last_id=last_id) as stream:
                got += ids([stream.next() for _ in range(20)])
                last_id = stream.last_id
        writer.join()

        assert got == written


def write_in_pieces(written: list[str]) -> None:
    """Store 300 events, a few in a transaction."""
    for _ in range(100):
        written += store_many(3)
    connection.close()


class TestReset:
    @pytest.mark.parametrize(
        "last_id", ["error", "-1", "1.5", "1_0", "99999", "9" * 30, "user-1:3,admin:4", "0x10", "%D9%A3", "a" * 5000]
    )
    def test_on_a_number_that_we_never_gave_out(self, web_server: str, alice: User, last_id: str) -> None:
        store_event("before")
        with open_stream(web_server, alice, query=f"?last_event_id={last_id}") as stream:
            assert stream.next("stream-reset").id == str(current_number())
            live = store_event("live")
            assert stream.next().id == str(live)

    def test_on_a_number_that_is_trimmed(self, web_server: str, alice: User) -> None:
        store_many(5)
        Event.objects.update(created=timezone.now() - timedelta(days=2))
        newest = store_event("newest")
        trim(timezone.now())

        with open_stream(web_server, alice, last_id=2) as stream:
            assert stream.next("stream-reset").id == str(newest)

    def test_not_on_the_last_trimmed_number(self, web_server: str, alice: User) -> None:
        trimmed = store_event("old")
        Event.objects.update(created=timezone.now() - timedelta(days=2))
        newest = store_event("newest")
        trim(timezone.now())

        with open_stream(web_server, alice, last_id=trimmed) as stream:
            assert stream.next().id == str(newest)


class TestEnding:
    def test_after_its_time(self, web_server: str, alice: User, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(event_stream, "LIFETIME_SECONDS", (0.1, 0.2))
        with open_stream(web_server, alice) as stream:
            assert stream.rest() == []

    def test_when_rights_change(self, web_server: str, alice: User, bob: User) -> None:
        with open_stream(web_server, alice) as alices, open_stream(web_server, bob) as bobs:
            rights_changed(alice.pk)
            store_event("after")

            assert alices.rest() == []
            assert bobs.next().data["type"] == "after"

    def test_a_removed_member_sees_no_more(self, web_server: str, acme: Organization, alice: User) -> None:
        with open_stream(web_server, alice) as stream:
            Membership.objects.filter(user=alice).delete()
            rights_changed(alice.pk)
            stream.rest()
        store_event("acmes", organization_channel(acme.pk))
        store_event("everyones")

        with open_stream(web_server, alice, last_id=stream.last_id) as stream:
            assert stream.next().data["type"] == "everyones"

    def test_when_events_cannot_be_read_to_resume(self, web_server: str, alice: User) -> None:
        store_event("missed")
        table = Event._meta.db_table
        with connection.cursor() as cursor:
            cursor.execute(f"ALTER TABLE {table} RENAME TO hidden_events")
            try:
                with open_stream(web_server, alice, last_id="0") as stream:
                    assert stream.rest() == []
            finally:
                cursor.execute(f"ALTER TABLE hidden_events RENAME TO {table}")

    @pytest.mark.slow
    def test_when_the_server_stops(self, transactional_db: None, alice: User, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(connections.settings["default"], "CONN_MAX_AGE", 0)
        with ExitStack() as stack:
            with running_server() as address:
                stream = stack.enter_context(open_stream(address, alice))
                number = store_event("seen")
                assert stream.next().id == str(number)
            with suppress(httpx.RemoteProtocolError):  # cut: the response has no proper end
                assert stream.rest() == []
            assert open_streams() == 0


class TestSlowClient:
    @pytest.mark.slow
    def test_gets_everything_from_the_table_and_takes_little_memory(self, web_server: str, alice: User) -> None:
        with open_stalled(web_server, alice) as stalled:
            written = [number for _ in range(8) for number in store_many(100, text="x" * 50_000)]
            [relay] = _relays.values()
            wait_until(lambda: str(relay.position) == written[-1])
            [reader] = open_readers.values()
            [waiting] = reader.listener.channel_items.values()
            assert sum(len(event.data) for event in waiting) <= QUEUE_CHARACTERS

            raw = read_until(stalled, f'"id": {written[-1]},'.encode())
        got = [line[4:] for line in raw.decode().splitlines() if line.startswith("id: ")][1:]
        assert got == written


def open_stalled(url: str, user: User) -> socket.socket:
    """A stream over a bare socket that takes little, from a client that doesn't read."""
    host, port = url.removeprefix("http://").split(":")
    line = socket.socket()
    line.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    line.settimeout(10)
    line.connect((host, int(port)))
    cookies = "; ".join(f"{name}={value}" for name, value in session_cookies(user).items())
    line.sendall(f"GET /api/events HTTP/1.1\r\nHost: localhost\r\nCookie: {cookies}\r\n\r\n".encode())
    wait_until(lambda: open_streams() == 1)
    return line


def read_until(line: socket.socket, end: bytes) -> bytes:
    """Everything up to a piece that has `end` in it."""
    raw = bytearray()
    piece = b""
    while end not in raw[-len(piece) - len(end) :]:
        piece = line.recv(65536)
        assert piece, "the server closed the connection"
        raw += piece
    return bytes(raw)
