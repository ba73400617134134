"""The words for the changes on record."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

from cloudtrain_site.audit.models import AuditRecord
from cloudtrain_site.audit.words import ACTIONS, action_in_words, changes

ROOMS = ("cloudtrain_site", "jobs", "queueing", "approvals")


def _codes() -> Iterator[str]:
    """Yield the codes that stand in calls which record something."""
    for room in ROOMS:
        for path in Path(room).rglob("*.py"):
            for call in (node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Call)):
                name = getattr(call.func, "id", getattr(call.func, "attr", ""))
                if name == "add_argument":
                    continue
                given = [one.value for one in call.keywords if one.arg == "action"]
                given += call.args[:1] if name in ("record", "audit") else []
                for one in given:
                    choices = [one.body, one.orelse] if isinstance(one, ast.IfExp) else [one]
                    yield from (str(choice.value) for choice in choices if isinstance(choice, ast.Constant))


def test_each_change_has_its_words() -> None:
    codes = set(_codes())
    assert {"config_made", "member_left", "role_changed", "notice channel added"} <= codes
    assert sorted(codes - ACTIONS.keys()) == []


def test_a_code_without_words_is_readable() -> None:
    assert action_in_words("their_action") == "Their action"


def test_fields_are_named_and_amounts_are_in_dollars() -> None:
    record = AuditRecord(before={"cost_exceeds": None}, after={"cost_exceeds": "50.0000", "first_job": True})
    assert list(changes(record)) == [
        ("cost above", "none", "$50.00"),
        ("until a job has been submitted to a provider", "", "yes"),
    ]


def test_a_name_is_told_once_and_a_rename_with_both_names() -> None:
    shared = AuditRecord(subject="nightly", after={"name": "nightly"})
    assert list(changes(shared)) == []
    renamed = AuditRecord(subject="nightly", before={"name": "daily"}, after={"name": "nightly"})
    assert list(changes(renamed)) == [("name", "daily", "nightly")]
