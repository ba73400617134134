"""Each change of a rule is on record: who, before and after."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from django.contrib.auth.models import User
from django.test import Client
from rest_framework.test import APIClient

from approvals.models import ApprovalRule
from cloudtrain_site.audit.models import AuditRecord
from jobs.models import Membership, Organization
from jobs.roles import Role

pytestmark = pytest.mark.django_db
RULES = "/api/approvals/rules"


def test_over_the_api(client_of: Callable[[User | None], APIClient], bob: User, acme: Organization) -> None:
    Membership.objects.filter(user=bob).update(role=Role.ADMIN)
    body = {"type": "dear", "condition": {"cost_exceeds": 10}, "organization": "acme"}
    made = client_of(bob).post(RULES, body).json()
    rule_id = made["rule"]["id"]
    client_of(bob).patch(f"{RULES}/{rule_id}", {"condition": {"cost_exceeds": 20}})
    client_of(bob).patch(f"{RULES}/{rule_id}", {"condition": {"cost_exceeds": -1}})
    client_of(bob).delete(f"{RULES}/{rule_id}")
    rows = list(AuditRecord.objects.order_by("id"))
    assert [row.action for row in rows] == ["rule_made", "rule_changed", "rule_removed"]
    assert {(row.actor, row.subject, row.subject_id, row.organization) for row in rows} == {
        ("bob", "dear", str(rule_id), "acme")
    }
    assert rows[0].before is None and rows[0].after is not None and rows[0].after["organization"] == "acme"
    assert (rows[1].before, rows[1].after) == ({"cost_exceeds": "10.0000"}, {"cost_exceeds": "20.0000"})
    assert rows[2].before is not None and rows[2].before["name"] == "dear" and rows[2].after is None


def test_in_the_admin(client: Client, root: User) -> None:
    client.force_login(root)
    rules = [ApprovalRule.objects.create(name=name, first_job=True) for name in ("a", "b", "c")]
    client.post(f"/admin/approvals/approvalrule/{rules[0].pk}/delete/", {"post": "yes"})
    chosen = {"_selected_action": [rules[1].pk, rules[2].pk], "action": "delete_selected", "post": "yes"}
    client.post("/admin/approvals/approvalrule/", chosen)
    assert not ApprovalRule.objects.exists()
    assert sorted(AuditRecord.objects.values_list("action", "subject", "actor", "organization_id")) == [
        ("rule_removed", name, "root", None) for name in ("a", "b", "c")
    ]


def test_a_refused_change_leaves_no_record(client_of: Callable[[User | None], APIClient], bob: User) -> None:
    rule = ApprovalRule.objects.create(name="a", first_job=True)
    assert client_of(bob).patch(f"{RULES}/{rule.pk}", {"enabled": False}).status_code == 403
    assert client_of(bob).delete(f"{RULES}/{rule.pk}").status_code == 403
    assert not AuditRecord.objects.exists()
