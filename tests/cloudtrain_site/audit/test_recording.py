"""What goes on record, and from where."""

from __future__ import annotations

import pytest
from django.contrib.auth.models import AnonymousUser, User
from django.db import transaction
from django.http import HttpRequest, HttpResponse
from django.test import RequestFactory
from django_q.signals import post_execute_in_worker, pre_execute

from cloudtrain_site.audit.models import AuditRecord, AuditSource
from cloudtrain_site.audit.origin import coming_from, current_origin
from cloudtrain_site.audit.recording import OPERATOR, Subject, differences, record
from cloudtrain_site.correlation import CorrelationMiddleware
from cloudtrain_site.correlation_ids import correlation
from jobs.models import Organization

pytestmark = pytest.mark.django_db

RULE = Subject("rule", "7", "expensive")


def test_a_record_has_who_what_and_where(alice: User, acme: Organization) -> None:
    with correlation("of-the-request"):
        record("rule_changed", RULE, by=alice, organization=acme, before={"cost": 5}, after={"cost": 9})
    stored = AuditRecord.objects.get()
    assert (stored.actor, stored.actor_user_id, stored.action) == ("alice", alice.pk, "rule_changed")
    assert (stored.subject_kind, stored.subject_id, stored.subject) == ("rule", "7", "expensive")
    assert (stored.organization_id, stored.organization) == (acme.pk, "acme")
    assert (stored.before, stored.after) == ({"cost": 5}, {"cost": 9})
    assert (stored.source, stored.address, stored.correlation_id) == ("command", "", "of-the-request")


def test_a_row_is_a_subject_by_its_kind_key_and_name(alice: User) -> None:
    stored = record("user_deactivated", alice, by=OPERATOR)
    assert (stored.subject_kind, stored.subject_id, stored.subject) == ("user", str(alice.pk), "alice")
    assert (stored.actor, stored.actor_user_id, stored.organization_id, stored.before) == ("operator", None, None, None)


def test_nobody_is_no_actor() -> None:
    with pytest.raises(ValueError, match="anonymous"):
        record("rule_changed", RULE, by=AnonymousUser())
    assert not AuditRecord.objects.exists()


def test_secrets_are_masked() -> None:
    stored = record(
        "provider_changed", RULE, by=OPERATOR, before={"api_token": "abc"}, after={"nested": {"password": "x"}, "n": 1}
    )
    stored.refresh_from_db()
    assert (stored.before, stored.after) == ({"api_token": "***"}, {"nested": {"password": "***"}, "n": 1})


def test_a_change_that_is_rolled_back_leaves_no_record() -> None:
    with pytest.raises(RuntimeError), transaction.atomic():
        record("rule_changed", RULE, by=OPERATOR)
        raise RuntimeError
    assert not AuditRecord.objects.exists()


def test_a_long_name_is_cut_to_what_the_column_holds() -> None:
    stored = record("rule_changed", Subject("k" * 41, "i" * 101, "l" * 201), by=OPERATOR)
    assert (len(stored.subject_kind), len(stored.subject_id), len(stored.subject)) == (40, 100, 200)


@pytest.mark.parametrize(
    ("path", "source"), [("/api/organizations", "api"), ("/admin/auth/user/", "admin"), ("/settings", "page")]
)
def test_a_request_is_where_its_changes_come_from(path: str, source: str) -> None:
    def view(request: HttpRequest) -> HttpResponse:
        record("rule_changed", RULE, by=OPERATOR)
        return HttpResponse()

    CorrelationMiddleware(view)(RequestFactory().get(path, REMOTE_ADDR="2001:db8::7"))
    stored = AuditRecord.objects.get()
    assert (stored.source, stored.address) == (source, "2001:db8::7")
    assert current_origin().source == "command"


def test_a_block_may_have_another_source(rf: RequestFactory) -> None:
    def view(request: HttpRequest) -> HttpResponse:
        with coming_from(AuditSource.SSO):
            record("member_added", RULE, by=OPERATOR)
        record("member_added", RULE, by=OPERATOR)
        return HttpResponse()

    CorrelationMiddleware(view)(rf.get("/login", REMOTE_ADDR="192.0.2.1"))
    sources = AuditRecord.objects.order_by("id").values_list("source", "address")
    assert list(sources) == [("sso", "192.0.2.1"), ("page", "192.0.2.1")]


def test_background_work_is_a_source_of_its_own() -> None:
    with coming_from(AuditSource.COMMAND):
        task = {"id": "1", "func": "f", "success": True}
        pre_execute.send("tests", func="f", task=task)
        try:
            assert record("invitation_ended", RULE, by=OPERATOR).source == "loop"
        finally:
            post_execute_in_worker.send("tests", func="f", task=task)


def test_differences_are_the_fields_that_changed() -> None:
    assert differences({"a": 1, "b": 2}, {"a": 1, "b": 3, "c": 4}) == ({"b": 2, "c": None}, {"b": 3, "c": 4})
    assert differences({"a": 1}, {"a": 1}) == ({}, {})
