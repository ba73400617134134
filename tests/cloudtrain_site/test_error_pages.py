"""The pages that say what went wrong."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client

from cloudtrain_site.errors import server_error
from jobs.models import Job
from tests.web import with_single_blanks

pytestmark = [pytest.mark.slow, pytest.mark.django_db]
MakeJob = Callable[..., Job]


def test_an_unknown_address_has_our_page(client: Client) -> None:
    answer = client.get("/nowhere")
    assert answer.status_code == 404
    assert b"Page not found" in answer.content


def test_an_error_page_asks_the_database_nothing(alice: User, django_assert_num_queries: Any, rf: Any) -> None:
    with django_assert_num_queries(0):
        answer = server_error(rf.get("/"))
    assert b"Something went wrong on our side" in answer.content


def test_a_form_that_is_too_old_says_so(alice: User) -> None:
    answer = Client(enforce_csrf_checks=True).post("/login", {"login": "alice", "password": "unused-password"})
    assert answer.status_code == 403
    assert b"This form is too old" in answer.content


def test_a_form_from_an_address_that_the_site_was_not_told_names_the_setting(alice: User) -> None:
    client = Client(enforce_csrf_checks=True, headers={"origin": "https://train.example.org"})
    client.get("/login")
    answer = client.post("/login", {"csrfmiddlewaretoken": client.cookies["csrftoken"].value})
    assert answer.status_code == 403
    assert "does not know https://train.example.org" in with_single_blanks(answer.content.decode())
    assert b"CSRF_TRUSTED_ORIGINS" in answer.content


def test_the_address_that_a_form_came_from_stays_text(alice: User) -> None:
    client = Client(enforce_csrf_checks=True, headers={"origin": "https://<b>"})
    client.get("/login")
    answer = client.post("/login", {"csrfmiddlewaretoken": client.cookies["csrftoken"].value})
    assert (answer.status_code, b"https://&lt;b&gt;" in answer.content) == (403, True)
    assert b"https://<b>" not in answer.content


@pytest.mark.parametrize("path", ["/login", "/api/cloud/health/live"])
def test_a_host_name_that_the_site_was_not_told_names_the_setting(client: Client, path: str) -> None:
    answer = client.get(path, headers={"host": "train.example.org"})
    assert answer.status_code == 400
    assert b"ALLOWED_HOSTS" in answer.content
