"""What a browser may load and run on our pages."""

from __future__ import annotations

import re

import pytest
from django.contrib.auth.models import User
from django.http.response import HttpResponseBase
from django.test import Client

pytestmark = pytest.mark.django_db

STRICT = {
    "default-src": "'self'",
    "img-src": "'self' data:",
    "object-src": "'none'",
    "base-uri": "'none'",
    "form-action": "'self'",
    "frame-ancestors": "'none'",
}
STYLESHEET = "/static/cloudtrain/shell/frame.css"


def policy_of(answer: HttpResponseBase) -> dict[str, str]:
    """Its directives; their order means nothing."""
    parts = answer["Content-Security-Policy"].split("; ")
    return {name: sources for name, _, sources in (part.partition(" ") for part in parts)}


@pytest.mark.parametrize(
    "address",
    [
        "/",
        "/login",
        "/jobs/rows",
        "/nowhere",
        "/api/events",
        "/api/nowhere",
        "/api/schema",
        "/admin/login/",
        STYLESHEET,
    ],
)
def test_every_answer_forbids_what_is_not_ours(client: Client, address: str) -> None:
    assert policy_of(client.get(address)) == STRICT


def test_a_refused_request_has_the_policy(client: Client) -> None:
    answer = client.delete("/login")
    assert (answer.status_code, policy_of(answer)) == (405, STRICT)


def test_a_file_that_was_not_modified_has_the_policy(client: Client) -> None:
    seen = client.get(STYLESHEET)["Last-Modified"]
    answer = client.get(STYLESHEET, headers={"If-Modified-Since": seen})
    assert (answer.status_code, policy_of(answer)) == (304, STRICT)


def test_the_page_of_the_api_has_the_policy(alice: User, client: Client) -> None:
    client.force_login(alice)
    answer = client.get("/api/docs")
    assert policy_of(answer) == STRICT
    assert not re.search(rb"<script(?![^>]*\bsrc=)", answer.content)
