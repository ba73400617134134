"""The page of the API's documentation."""

from __future__ import annotations

import pytest
from django.contrib.auth.models import User
from django.test import Client

pytestmark = pytest.mark.django_db


@pytest.mark.parametrize("accept", ["*/*", "text/html", "application/json", "image/png"])
@pytest.mark.parametrize(("method", "status"), [("get", 200), ("head", 200), ("options", 405), ("post", 405)])
def test_every_method_and_type_has_an_answer(client: Client, root: User, method: str, status: int, accept: str) -> None:
    client.force_login(root)
    answer = getattr(client, method)("/api/docs", headers={"Accept": accept})
    assert answer.status_code == (status if accept in ("*/*", "text/html") else 406)
