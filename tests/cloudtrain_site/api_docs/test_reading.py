"""The page of the API: every operation, jobs first, with examples that run."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Callable
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client

from cloudtrain_site.api_docs.reading import Operation, sections

pytestmark = [pytest.mark.slow, pytest.mark.django_db]


def operations() -> list[Operation]:
    return [operation for section in sections() for operation in section.operations]


@pytest.mark.parametrize(("method", "status"), [("get", 200), ("head", 200), ("options", 405), ("post", 405)])
def test_every_method_has_an_answer(client: Client, root: User, method: str, status: int) -> None:
    client.force_login(root)
    assert getattr(client, method)("/api/docs").status_code == status


def test_is_for_who_is_signed_in(client: Client) -> None:
    assert client.get("/api/docs")["Location"].startswith("/login")


def test_begins_with_jobs_and_says_what_each_operation_does(client: Client, alice: User) -> None:
    client.force_login(alice)
    page = client.get("/api/docs").content.decode()
    assert re.findall(r"<h2 id=\"([^\"]+)", page)[:3] == ["begin", "jobs", "queue"]
    assert [operation.path for operation in operations() if not operation.summary] == []
    assert len({operation.anchor for operation in operations()}) == len(operations())


def test_each_example_is_a_command_with_its_method_and_address() -> None:
    for operation in operations():
        words = shlex.split(operation.example)
        address = next(word for word in words if word.startswith("$CLOUDTRAIN_URL"))
        assert (words[0], "-X" in words) == ("curl", operation.method != "GET")
        assert not re.search(r"[{}]", address), address


def test_the_first_example_runs_as_it_stands(alice: User, client_of: Callable[..., Any]) -> None:
    submit = next(operation for operation in operations() if operation.path == "/api/cloud/jobs/submit")
    words = shlex.split(submit.example)
    body = json.loads(words[words.index("-d") + 1])
    assert client_of(alice).post("/api/cloud/jobs/submit", body).status_code == 201
