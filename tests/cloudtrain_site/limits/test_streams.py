"""How many event streams one person may have: in this process, and with those that other processes tell of."""

from __future__ import annotations

import gc
import subprocess
import sys
from contextlib import ExitStack
from datetime import timedelta
from subprocess import PIPE

import httpx
import pytest
from django.contrib.auth.models import User
from django.utils import timezone

from cloudtrain_site.events.readers import StreamReader
from cloudtrain_site.events.relay import open_streams
from cloudtrain_site.limits import streams
from cloudtrain_site.limits.errors import LimitReachedError
from cloudtrain_site.models import LimitUse, StreamCount
from cloudtrain_site.serving.board import Board
from tests.limits import SetLimits
from tests.web import open_stream, session_cookies, wait_until

SENTENCE = "You have 2 event streams open, the maximum per user. Close a browser or a program that follows events."


def reader_of(user_id: int) -> StreamReader:
    return StreamReader(user_id, frozenset(), joined_at=0, read_to=0)


@pytest.mark.slow
class TestOverHttp:
    def test_one_stream_too_many_is_a_429_that_says_what_to_do(
        self, web_server: str, alice: User, bob: User, set_limits: SetLimits
    ) -> None:
        set_limits(streams=2)
        with open_stream(web_server, alice), open_stream(web_server, alice):
            answer = httpx.get(f"{web_server}/api/events", cookies=session_cookies(alice))
            assert (answer.status_code, answer.headers["Retry-After"]) == (429, "60")
            assert (answer.json()["detail"], answer.json()["code"]) == (SENTENCE, "limit_reached")
            assert set(answer.json()) == {"detail", "code", "correlation_id"}
            assert LimitUse.objects.get().user == alice
            with open_stream(web_server, bob):
                pass

    def test_a_stream_that_ends_makes_room_for_another(
        self, web_server: str, alice: User, set_limits: SetLimits
    ) -> None:
        set_limits(streams=1)
        for _ in range(3):
            with open_stream(web_server, alice):
                pass
            wait_until(lambda: open_streams() == 0)

    def test_the_number_is_told_and_taken_back(self, web_server: str, alice: User, bob: User) -> None:
        with ExitStack() as opened:
            for user in (alice, alice, bob):
                opened.enter_context(open_stream(web_server, user))
            wait_until(lambda: streams.open_by_user() == {alice.pk: 2, bob.pk: 1})
        wait_until(lambda: not StreamCount.objects.exists())


@pytest.mark.django_db
class TestOtherProcesses:
    def test_their_streams_count(self, alice: User, bob: User, set_limits: SetLimits) -> None:
        streams.publish_counts("another-1", {str(alice.pk): 1, str(bob.pk): 7})
        streams.publish_counts("a-third-1", {str(alice.pk): 2})
        assert streams.open_elsewhere()[alice.pk] == 3
        assert streams.open_by_user() == {alice.pk: 3, bob.pk: 7}
        set_limits(streams=4)
        first, second = reader_of(alice.pk), reader_of(alice.pk)
        streams.hold_place(first, streams.open_elsewhere()[alice.pk])
        with pytest.raises(LimitReachedError):
            streams.hold_place(second, streams.open_elsewhere()[alice.pk])

    def test_this_process_does_not_count_its_own_twice(self, alice: User) -> None:
        streams.publish_counts(streams.new_name(), {str(alice.pk): 1})
        assert streams.open_elsewhere()[alice.pk] == 0
        assert streams.open_by_user() == {alice.pk: 1}

    def test_those_of_a_process_that_died_do_not_count_and_are_forgotten(self, alice: User) -> None:
        streams.publish_counts("dead-1", {str(alice.pk): 5})
        StreamCount.objects.update(told_at=timezone.now() - streams.SILENCE - timedelta(seconds=1))
        assert streams.open_elsewhere()[alice.pk] == 0
        streams.publish_counts("another-1", {})
        assert StreamCount.objects.get().process == "another-1"

    def test_the_last_word_of_a_process_counts(self, alice: User) -> None:
        for number in (3, 1):
            streams.publish_counts("another-1", {str(alice.pk): number})
        assert streams.open_elsewhere()[alice.pk] == 1
        streams.remove_counts("another-1")
        assert streams.open_elsewhere()[alice.pk] == 0


#: Locks the person's first place, as another web process of this machine would, until its input ends.
OTHER_PROCESS = "import fcntl, sys; fcntl.lockf(int(sys.argv[1]), fcntl.LOCK_EX, 1, int(sys.argv[2])); print(); input()"


class TestOtherProcessesOfThisMachine:
    def test_their_places_are_theirs_until_they_end(
        self, set_limits: SetLimits, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        board = Board.create(1)
        monkeypatch.setattr(streams, "_shared_file", None)
        monkeypatch.setattr(streams, "_group", "")
        streams.share_places(board.descriptor, board.group)
        set_limits(streams=2)
        user = 10**9
        command = [sys.executable, "-c", OTHER_PROCESS, str(board.descriptor), str(user * streams.PLACES_OF_ONE)]
        with subprocess.Popen(command, pass_fds=[board.descriptor], stdin=PIPE, stdout=PIPE) as other:
            assert other.stdout is not None
            other.stdout.readline()
            first, second = reader_of(user), reader_of(user)
            streams.hold_place(first, 0)
            with pytest.raises(LimitReachedError):
                streams.hold_place(second, 0)
            streams.give_up_place(first)
            streams.hold_place(second, 0)
            other.kill()
        streams.hold_place(first, 0)
        del first, second
        gc.collect()
        assert streams.new_name().startswith(board.group)


class TestPlaces:
    def test_a_stream_that_was_promised_and_never_sent_gives_its_place_back(self, set_limits: SetLimits) -> None:
        set_limits(streams=1)
        promised = reader_of(10**9)
        streams.hold_place(promised, 0)
        with pytest.raises(LimitReachedError):
            streams.hold_place(reader_of(10**9), 0)
        del promised
        gc.collect()
        streams.hold_place(reader_of(10**9), 0)

    def test_a_place_is_given_back_once(self, set_limits: SetLimits) -> None:
        set_limits(streams=2)
        first, second = reader_of(10**9), reader_of(10**9)
        streams.hold_place(first, 0)
        streams.hold_place(second, 0)
        streams.give_up_place(first)
        streams.give_up_place(first)
        assert streams.open_here()[str(10**9)] == 1
        streams.give_up_place(second)
        assert str(10**9) not in streams.open_here()
