"""What numbers in a config become between a client and the database."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from django.contrib.auth.models import User
from django.test import Client
from rest_framework.test import APIClient

from jobs.models import Job, TrainingConfig

pytestmark = [pytest.mark.slow, pytest.mark.django_db]
ClientOf = Callable[[User], APIClient]


@pytest.mark.parametrize(
    ("written", "kept"),
    [
        ("12345678901234567890", "12345678901234567890"),
        ("9" * 400, "9" * 400),
        ("-0", "0"),
        ("1.0", "1.0"),
        # A decimal is what a double holds of it, and written as short as it can be.
        ("1e-4", "0.0001"),
        ("0.1000", "0.1"),
        ("0.1000000000000000055511151231257827", "0.1"),
        ("3.0e-7", "3e-07"),
        ("1.7976931348623157", "1.7976931348623157"),
    ],
)
def test_a_number_is_kept_and_given_back(client_of: ClientOf, alice: User, written: str, kept: str) -> None:
    body = f'{{"config": {{"number": {written}}}}}'
    client = client_of(alice)
    assert client.put("/api/configs/exact", body, content_type="application/json").status_code in (200, 201)
    assert f'"number":{kept}}}' in client.get("/api/configs/exact").content.decode()
    made = client.post("/api/cloud/jobs/submit", body, content_type="application/json")
    assert made.status_code == 201, made.content
    pages = Client()
    pages.force_login(alice)
    assert f'"number": {kept}\n' in pages.get(f"/jobs/{made.json()['job_id']}/config.json").content.decode()


@pytest.mark.parametrize("written", ["NaN", "Infinity", "-Infinity", "1e400", "[-1e999]", "9" * 5000])
def test_a_number_that_nothing_keeps_is_refused(client_of: ClientOf, alice: User, written: str) -> None:
    body = f'{{"config": {{"number": {written}}}}}'
    client = client_of(alice)
    list_body = f'{{"config": {{"max_train_steps": 1}}, "dataloader_config": [{written}]}}'
    for refused in (body, list_body):
        for answer in (
            client.put("/api/configs/exact", refused, content_type="application/json"),
            client.post("/api/cloud/jobs/submit", refused, content_type="application/json"),
        ):
            assert answer.status_code == 400, answer.content
            if "e" in written:
                assert "too large, such as 1e400" in answer.json()["detail"]
    assert not TrainingConfig.objects.exists()
    assert not Job.objects.exists()
