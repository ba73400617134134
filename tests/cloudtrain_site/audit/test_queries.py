"""Finding records, page by page, and exporting them."""

from __future__ import annotations

import csv
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.utils import timezone

from cloudtrain_site.audit.export import export
from cloudtrain_site.audit.models import AuditRecord
from cloudtrain_site.audit.queries import AuditFilter, actions_in, of_person, page_of
from cloudtrain_site.audit.recording import OPERATOR, Subject, record
from cloudtrain_site.serving.csv_streams import safe_cell
from jobs.models import Organization
from tests.web import body_of

pytestmark = pytest.mark.django_db

RULE = Subject("rule", "7", "expensive")


def test_pages_have_each_record_once_though_some_are_added_meanwhile() -> None:
    made = [record("rule_changed", RULE, by=OPERATOR).pk for _ in range(5)]
    first = page_of(AuditRecord.objects.all(), limit=2)
    record("rule_changed", RULE, by=OPERATOR)
    second = page_of(AuditRecord.objects.all(), limit=2, cursor=first.next_cursor)
    third = page_of(AuditRecord.objects.all(), limit=2, cursor=second.next_cursor)
    assert [row.pk for page in (first, second, third) for row in page.records] == made[::-1]
    assert third.next_cursor is None


def test_a_page_that_is_just_full_is_the_last() -> None:
    for _ in range(2):
        record("rule_changed", RULE, by=OPERATOR)
    assert page_of(AuditRecord.objects.all(), limit=2).next_cursor is None


@pytest.mark.parametrize(
    ("chosen", "actions"),
    [
        ({}, ["rule_changed", "member_added", "limit_changed"]),
        ({"actor": "alice"}, ["member_added"]),
        ({"action": "limit_changed"}, ["limit_changed"]),
        ({"subject_kind": "user"}, ["member_added"]),
        ({"subject_kind": "rule", "subject_id": "7"}, ["rule_changed", "limit_changed"]),
        ({"subject_id": "8"}, []),
        ({"source": "api"}, []),
        ({"source": "command"}, ["rule_changed", "member_added", "limit_changed"]),
        ({"since": timezone.now() + timedelta(days=1)}, []),
        ({"until": timezone.now() - timedelta(days=1)}, []),
    ],
)
def test_filters(alice: User, bob: User, chosen: dict[str, Any], actions: list[str]) -> None:
    record("limit_changed", RULE, by=OPERATOR)
    record("member_added", bob, by=alice)
    record("rule_changed", RULE, by=OPERATOR)
    assert [row.action for row in AuditFilter(**chosen).apply()] == actions


def test_since_is_included_and_until_is_not() -> None:
    at = record("rule_changed", RULE, by=OPERATOR).at
    assert AuditFilter(since=at).apply().count() == 1
    assert AuditFilter(until=at).apply().count() == 0


def test_an_organization_sees_its_own(acme: Organization, alice: User) -> None:
    own = record("rule_changed", RULE, by=alice, organization=acme)
    record("rule_changed", RULE, by=alice, organization=Organization.objects.create(name="other"))
    record("rule_changed", RULE, by=alice)
    assert [row.pk for row in AuditFilter(organization_id=acme.pk).apply()] == [own.pk]


def test_a_person_is_actor_or_subject(alice: User, bob: User) -> None:
    record("member_added", bob, by=alice)
    record("member_added", bob, by=OPERATOR)
    record("rule_changed", Subject("rule", str(alice.pk), "not her"), by=OPERATOR)
    assert of_person(alice.pk).count() == 1
    assert of_person(bob.pk).count() == 2


def test_actions_are_listed_once() -> None:
    for action in ("b", "a", "b"):
        record(action, RULE, by=OPERATOR)
    assert actions_in(AuditRecord.objects.all()) == ["a", "b"]


def test_the_export_is_a_table_without_formulas(alice: User, acme: Organization) -> None:
    named = Subject("rule", "7", '=HYPERLINK("http://evil.example")')
    stored = record("rule_changed", named, by=alice, organization=acme, before=None, after={"cost": "=1+1"})
    response = export(AuditRecord.objects.all())
    header, row = csv.reader(body_of(response).decode().splitlines())
    cells = dict(zip(header, row, strict=True))
    assert cells["subject"] == "'" + named.label
    assert cells["after"] == '{"cost": "=1+1"}'
    assert (cells["before"], cells["organization"], cells["actor"]) == ("", "acme", "alice")
    assert cells["at"].endswith("Z") and cells["correlation_id"] == stored.correlation_id
    assert response["Content-Disposition"] == 'attachment; filename="audit.csv"'


@pytest.mark.parametrize("sign", ["=", "+", "-", "@", "\t", "\r", "\n", "\uff1d"])
def test_no_text_begins_as_a_formula(sign: str) -> None:
    assert safe_cell(f"{sign}1+1") == f"'{sign}1+1"


def test_numbers_and_plain_texts_stay() -> None:
    assert [safe_cell(value) for value in (-1, 2.5, None, "a=b", "")] == [-1, 2.5, None, "a=b", ""]
