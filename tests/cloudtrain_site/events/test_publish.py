"""An event is stored with its change, or not at all; and the numbers are one unbroken row."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection, transaction
from django.utils import timezone
from django_eventstream.models import Event as EventRow
from django_eventstream.models import EventCounter

from cloudtrain_site.database.unit_of_work import unit_of_work
from cloudtrain_site.events.publish import (
    ALL_CHANNELS,
    EVERYONE,
    RIGHTS_CHANGED,
    USER_CHANNEL,
    Event,
    publish,
    rights_changed,
)
from cloudtrain_site.events.store import StoredEvent, current_number, first_kept, read_after, rights_changed_after, trim


def stored() -> list[tuple[int, str]]:
    """The number and the type of every kept event, in order."""
    return [(event.number, json.loads(event.data)["type"]) for event in read_after(0, 1000)]


def publish_all(*types: str) -> None:
    """One event of each type, for everyone."""
    for name in types:
        publish(Event(name, EVERYONE))


def in_thread(work: Callable[[], Any]) -> threading.Thread:
    """Start `work` in a thread that closes its database connection at the end."""

    def run() -> None:
        try:
            work()
        finally:
            connection.close()

    thread = threading.Thread(target=run)
    thread.start()
    return thread


def age(hours: float, **which: Any) -> None:
    """Make events look as if they had been written some hours ago."""
    EventRow.objects.filter(**which).update(created=timezone.now() - timedelta(hours=hours))


@pytest.mark.django_db
class TestPublish:
    def test_stores_channel_number_and_what_it_says(self) -> None:
        publish(Event("job_progress", "organization-7", {"job_id": "j1", "progress": 0.5}))

        assert read_after(0, 10) == [
            StoredEvent(1, "organization-7", '{"type": "job_progress", "job_id": "j1", "progress": 0.5}')
        ]

    def test_numbers_run_through_all_channels(self) -> None:
        for channel in ("organization-1", "organization-2", "organization-1"):
            publish(Event("queue_changed", channel))

        assert [(event.number, event.channel) for event in read_after(0, 10)] == [
            (1, "organization-1"),
            (2, "organization-2"),
            (3, "organization-1"),
        ]
        assert current_number() == 3

    def test_rights_changed_names_the_user(self) -> None:
        rights_changed(42)

        assert [event.changed_rights_of for event in read_after(0, 10)] == [42]

    def test_other_news_change_no_rights(self) -> None:
        publish(Event("greeting", "user-42", {"user_id": 42}))
        publish(Event("rights_changed", EVERYONE, {"user_id": 42}))

        assert [event.changed_rights_of for event in read_after(0, 10)] == [None, None]


@pytest.mark.django_db
class TestUnitOfWork:
    def test_stores_at_its_end_in_the_order_of_publishing(self) -> None:
        with unit_of_work():
            publish_all("first", "second")
            assert stored() == []

        assert stored() == [(1, "first"), (2, "second")]

    def test_nested_ones_join_the_outermost(self) -> None:
        with unit_of_work():
            with unit_of_work():
                publish_all("inner")
            assert stored() == []
            publish_all("outer")

        assert stored() == [(1, "inner"), (2, "outer")]

    def test_rollback_leaves_neither_row_nor_gap(self) -> None:
        publish_all("before")
        with pytest.raises(ZeroDivisionError), unit_of_work():
            publish_all("never")
            1 / 0  # noqa: B018

        publish_all("after")

        assert stored() == [(1, "before"), (2, "after")]

    def test_rollback_around_it_leaves_neither_row_nor_gap(self) -> None:
        with pytest.raises(ZeroDivisionError), transaction.atomic():
            publish_all("never")
            1 / 0  # noqa: B018

        publish_all("after")

        assert stored() == [(1, "after")]

    def test_rollback_of_an_inner_one_drops_only_its_news(self) -> None:
        with unit_of_work():
            publish_all("before")
            with pytest.raises(ZeroDivisionError), unit_of_work():
                publish_all("never")
                1 / 0  # noqa: B018
            publish_all("after")

        assert stored() == [(1, "before"), (2, "after")]

    def test_what_failed_is_not_told_by_the_next(self) -> None:
        with pytest.raises(ZeroDivisionError), unit_of_work():
            publish_all("never")
            1 / 0  # noqa: B018

        with unit_of_work():
            pass

        assert stored() == []


@pytest.mark.django_db(transaction=True)
class TestTwoWriters:
    def test_share_one_unbroken_row_of_numbers(self) -> None:
        threads = [in_thread(lambda: publish_all(*["news"] * 25)) for _ in range(2)]
        for thread in threads:
            thread.join()

        assert [number for number, _ in stored()] == list(range(1, 51))

    def test_numbers_become_visible_in_their_order(self) -> None:
        has_number, may_commit = threading.Event(), threading.Event()

        def slow() -> None:
            with transaction.atomic():
                publish_all("slow")
                has_number.set()
                may_commit.wait(10)

        first = in_thread(slow)
        has_number.wait(10)
        second = in_thread(lambda: publish_all("quick"))
        # The second one can't have a visible number while the first one's is not visible.
        assert stored() == []
        may_commit.set()
        first.join()
        second.join()

        assert stored() == [(1, "slow"), (2, "quick")]


@pytest.mark.django_db
class TestReading:
    def test_goes_on_after_a_number_and_stops_at_the_limit(self) -> None:
        publish_all("a", "b", "c", "d")

        assert [event.number for event in read_after(1, 2)] == [2, 3]

    def test_reads_the_named_channels_only(self) -> None:
        publish(Event("mine", "organization-1"))
        publish(Event("theirs", "organization-2"))

        assert [event.channel for event in read_after(0, 10, {"organization-1", EVERYONE})] == ["organization-1"]

    def test_a_reader_of_all_channels_gets_no_users_own(self) -> None:
        publish(Event("mine", "organization-1"))
        publish(Event(RIGHTS_CHANGED, f"{USER_CHANNEL}7", {"user_id": 7}))
        publish(Event("news", EVERYONE))

        assert [event.number for event in read_after(0, 10, {ALL_CHANNELS})] == [1, 3]
        assert [event.number for event in read_after(0, 10)] == [1, 2, 3]

    def test_the_librarys_placeholders_are_no_events(self) -> None:
        EventRow.objects.bulk_create([EventRow(channel=EVERYONE, type="message", data="{}", eid=0)])
        publish_all("a")
        EventRow.objects.filter(eid=0).update(created=timezone.now() - timedelta(days=9))

        assert [event.number for event in read_after(-1, 10)] == [1]
        assert first_kept() == 1
        assert trim(timezone.now()) == 0

    def test_rights_changed_since_a_number(self) -> None:
        publish(Event(RIGHTS_CHANGED, f"{USER_CHANNEL}7", {"user_id": 7}))
        publish(Event("notice", f"{USER_CHANNEL}8", {"user_id": 8}))

        changed = [rights_changed_after(number, user) for number, user in ((0, 7), (1, 7), (0, 8), (0, 9))]
        assert changed == [True, False, False, False]

    def test_another_counter_is_none_of_ours(self) -> None:
        EventCounter.objects.create(name="another", value=99)
        publish_all("a")

        assert current_number() == 1

    def test_before_the_first_event(self) -> None:
        assert (current_number(), first_kept()) == (0, 1)


@pytest.mark.django_db
class TestTrim:
    def test_deletes_what_is_older_than_a_day(self) -> None:
        publish_all("a", "b", "c")
        age(25, eid__lte=2)

        assert trim(timezone.now()) == 2
        assert stored() == [(3, "c")]
        assert first_kept() == 3

    @pytest.mark.parametrize(("hours", "gone"), [(23.9, 0), (24.1, 2)])
    def test_keeps_what_is_younger_than_a_day(self, hours: float, gone: int) -> None:
        publish_all("a", "b", "c")
        age(hours, eid__lte=2)

        assert trim(timezone.now()) == gone

    def test_keeps_the_newest_however_old(self) -> None:
        publish_all("a", "b")
        age(1000)

        assert trim(timezone.now()) == 1
        assert (first_kept(), current_number()) == (2, 2)

    def test_leaves_no_hole_after_a_clock_went_wrong(self) -> None:
        publish_all("a", "b", "c")
        age(25, eid=2)

        assert trim(timezone.now()) == 0
        assert first_kept() == 1

    def test_goes_on_over_many_batches(self) -> None:
        with unit_of_work():
            publish_all(*["old"] * 2500)
        age(25)
        publish_all("new")

        assert trim(timezone.now()) == 2500
        assert stored() == [(2501, "new")]

    def test_of_nothing(self) -> None:
        assert trim(timezone.now()) == 0


@pytest.mark.django_db
def test_what_a_plain_transaction_rolled_back_is_not_told_by_the_unit_around_it() -> None:
    with unit_of_work():
        publish_all("before")
        with pytest.raises(RuntimeError), transaction.atomic():
            publish_all("undone")
            raise RuntimeError
        publish_all("after")
    assert [name for _, name in stored()] == ["before", "after"]
