"""Each command of SimpleTuner's command line gets what it reads, or a sentence that names our way."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client

from approvals.models import ApprovalRule
from cloudtrain_site.models import ApiKey
from jobs.configs.store import store_config
from jobs.models import Organization, ProviderConfig
from jobs.roles import Role
from tests.factories import make_user
from tests.simpletuner_requests import REQUESTS, Sent

pytestmark = pytest.mark.django_db
GUIDE = Path(__file__).parent.parent / "docs" / "simpletuner.md"
MISSING = object()


def found_in(answer: Any, path: str) -> Any:
    """Return what is at the dotted path; MISSING when there is nothing."""
    for step in path.split("."):
        try:
            answer = answer[int(step)] if isinstance(answer, list) else answer[step]
        except (LookupError, TypeError, ValueError):
            return MISSING
    return answer


def filled(value: Any, ids: dict[str, Any]) -> Any:
    """Return the value with the ids in it; one that is an id alone keeps its type."""
    if isinstance(value, dict):
        return {key: filled(one, ids) for key, one in value.items()}
    if not isinstance(value, str):
        return value
    alone = re.fullmatch(r"\{(\w+)\}", value)
    return ids[alone[1]] if alone else re.sub(r"\{(\w+)\}", lambda match: str(ids[match[1]]), value)


def is_as_read(found: Any, expected: Any, path: str) -> bool:
    if isinstance(expected, type):
        return isinstance(found, (int, float) if expected is float else expected)
    return expected in found if path == "detail" else found == expected


@pytest.mark.parametrize("group", REQUESTS)
def test_each_command_reads_what_it_expects(
    alice: User, bob: User, charlie: User, root: User, acme: Organization, group: str
) -> None:
    ProviderConfig.objects.update_or_create(
        name="replicate", defaults={"default_hardware": "h100", "cost_per_second": {"h100": 0.01}}
    )
    ApprovalRule.objects.create(name="first", first_job=True, organization=acme)
    store_config(alice, acme, "flux", {"max_train_steps": 10}, [])
    people = {"alice": alice, "bob": bob, "charlie": charlie, "root": root, "adam": make_user("adam", acme, Role.ADMIN)}
    keys = {name: ApiKey.objects.create(user=user, name="cli")[1] for name, user in people.items()}
    other = Organization.objects.get(name="other")
    ids: dict[str, Any] = {"alice": alice.pk, "acme": acme.pk, "other": other.pk}
    for sent in REQUESTS[group]:
        keys_gone = not ApiKey.objects.filter(user=people[sent.who]).exists()
        if keys_gone:  # a deactivated user's keys are gone for good
            keys[sent.who] = ApiKey.objects.create(user=people[sent.who], name="cli")[1]
        status, answer = ask(sent, keys[sent.who], ids)
        where = f"{sent.command}: {sent.method} {sent.path} -> {status} {json.dumps(answer)[:600]}"
        assert status == sent.status, where
        for path, expected in filled(sent.reads, ids).items():
            found = found_in(answer, path)
            assert found is not MISSING, f"{path} of {where}"
            assert is_as_read(found, expected, path), f"{path} is {found!r} of {where}"
        ids |= {name: found_in(answer, path) for name, path in sent.keep.items()}


def ask(sent: Sent, key: str, ids: dict[str, Any]) -> tuple[int, Any]:
    data = "" if sent.body is None else json.dumps(filled(sent.body, ids))
    response = Client(headers={"X-API-Key": key}).generic(
        sent.method, filled(sent.path, ids), data, content_type="application/json"
    )
    return response.status_code, json.loads(response.content)


def test_the_guide_has_each_command() -> None:
    guide = GUIDE.read_text()
    commands = {sent.command.partition(" --")[0] for group in REQUESTS.values() for sent in group}
    assert len(commands) > 90
    assert [command for command in sorted(commands) if f"`{command}" not in guide] == []
