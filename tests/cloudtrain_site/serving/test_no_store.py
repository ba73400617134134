"""What the API answers is kept by no cache."""

from __future__ import annotations

import pytest
from django.contrib.auth.models import User
from django.test import Client

pytestmark = pytest.mark.django_db
ADDRESSES = ["cloud/jobs", "cloud/health", "account/keys", "cloud/metrics/prometheus", "docs", "schema", "nowhere"]


@pytest.mark.parametrize("method", ["get", "options", "post"])
@pytest.mark.parametrize("address", ADDRESSES)
def test_no_answer_of_the_api_may_be_kept(root: User, address: str, method: str) -> None:
    client = Client()
    assert getattr(client, method)(f"/api/{address}")["Cache-Control"] == "no-store"
    client.force_login(root)
    answer = getattr(client, method)(f"/api/{address}")
    assert answer["Cache-Control"] == "no-store"
    assert answer.status_code < 500


def test_a_page_says_it_itself(client: Client) -> None:
    assert "Cache-Control" not in client.get("/nowhere")
    assert "no-store" in client.get("/login")["Cache-Control"]
