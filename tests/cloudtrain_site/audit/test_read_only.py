"""Nobody edits or deletes an audit record."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import pytest
from django.contrib.auth.models import User
from django.db import DatabaseError, connection, models, transaction
from django.test import Client
from django.utils import timezone

from cloudtrain_site.audit import retention
from cloudtrain_site.audit.models import AuditError, AuditGate, AuditRecord
from cloudtrain_site.audit.recording import OPERATOR, Subject, record

pytestmark = pytest.mark.django_db

RULE = Subject("rule", "7", "expensive")


@pytest.fixture
def stored(db: None) -> AuditRecord:
    return record("rule_changed", RULE, by=OPERATOR, after={"cost": 9})


@pytest.mark.parametrize(
    "edit",
    [
        lambda row: row.save(),
        lambda row: row.delete(),
        lambda row: AuditRecord.objects.update(actor="nobody"),
        lambda row: AuditRecord.objects.all().delete(),
        lambda row: AuditRecord.objects.bulk_update([row], ["actor"]),
    ],
)
def test_no_method_edits_a_record(stored: AuditRecord, edit: Callable[[AuditRecord], object]) -> None:
    with pytest.raises(AuditError):
        edit(stored)
    assert AuditRecord.objects.get().actor == "operator"


@pytest.mark.parametrize(
    "edit",
    [
        lambda: models.QuerySet(AuditRecord).update(actor="nobody"),
        lambda: models.QuerySet(AuditRecord).delete(),
        lambda: models.QuerySet(AuditRecord)._raw_delete("default"),
        lambda: connection.cursor().execute("UPDATE cloudtrain_site_auditrecord SET address = 'elsewhere'"),
        lambda: connection.cursor().execute("DELETE FROM cloudtrain_site_auditrecord"),
    ],
)
def test_no_statement_edits_a_record(stored: AuditRecord, edit: Callable[[], object]) -> None:
    with pytest.raises(DatabaseError, match="never edited"), transaction.atomic():
        edit()
    stored.refresh_from_db()
    assert (stored.actor, stored.address) == ("operator", "")


@pytest.mark.skipif("connection.vendor != 'postgresql'")
def test_no_truncate_empties_the_record(stored: AuditRecord) -> None:
    with pytest.raises(DatabaseError, match="never edited"), transaction.atomic():
        connection.cursor().execute("TRUNCATE cloudtrain_site_auditrecord")
    assert AuditRecord.objects.count() == 1


@pytest.mark.parametrize("page", ["add/", "{pk}/change/", "{pk}/delete/"])
def test_the_admin_offers_no_change(stored: AuditRecord, root: User, page: str) -> None:
    browser = Client()
    browser.force_login(root)
    path = f"/admin/cloudtrain_site/auditrecord/{page.format(pk=stored.pk)}"
    assert browser.post(path, {"actor": "nobody", "post": "yes"}).status_code == 403
    assert browser.get("/admin/cloudtrain_site/auditrecord/").status_code == 200
    assert AuditRecord.objects.get().actor == "operator"


def test_records_go_by_age_alone() -> None:
    now = timezone.now()
    ages = [timedelta(days=age) for age in (400, 366, 365, 30, 0)]
    AuditRecord.objects.bulk_create(
        AuditRecord(at=now - age, action="a", actor="b", source="page", correlation_id="c") for age in ages
    )
    assert retention.delete_older_than(now - timedelta(days=365)) == 2
    assert [now - row.at for row in AuditRecord.objects.order_by("at")] == ages[2:]
    assert retention.delete_older_than(now - timedelta(days=365)) == 0
    assert not AuditGate.objects.exists()


def test_the_table_is_closed_again_after_it(stored: AuditRecord) -> None:
    retention.delete_older_than(timezone.now() - timedelta(days=1))
    with pytest.raises(DatabaseError), transaction.atomic():
        models.QuerySet(AuditRecord).delete()
    assert AuditRecord.objects.count() == 1


def test_a_removed_person_is_a_pseudonym(alice: User, bob: User) -> None:
    record("member_added", bob, by=alice)
    record("user_changed", alice, by=bob, before={"email": "alice@example.org"}, after={"email": ""})
    record("rule_changed", RULE, by=bob, after={"cost": 9})
    assert retention.rename_person(alice.pk, "person-1") == 2
    added, changed, other = AuditRecord.objects.order_by("id")
    assert (added.actor, added.subject, added.address) == ("person-1", "bob", "")
    assert (changed.actor, changed.subject, changed.before, changed.after) == ("bob", "person-1", None, None)
    assert (other.actor, other.after) == ("bob", {"cost": 9})
