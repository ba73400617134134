"""Who may scrape the figures without a key."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from rest_framework.test import APIClient

from jobs.models import Job

pytestmark = pytest.mark.django_db
ADDRESS = "/api/cloud/metrics/prometheus"


@pytest.fixture
def job(make_job: Callable[..., Job]) -> Job:
    return make_job()


@pytest.mark.parametrize("client", ["10.1.2.3", "::ffff:10.1.2.3"])
def test_a_scraper_in_the_network_is_told_all_figures(settings: Any, job: Job, client: str) -> None:
    settings.METRICS_NETWORKS = ["192.0.2.1/32", "10.1.0.0/16"]
    answer = APIClient().get(ADDRESS, REMOTE_ADDR=client)
    assert (answer.status_code, 'cloudtrain_jobs{provider="local"' in answer.content.decode()) == (200, True)
    # That address, and no other one.
    assert APIClient().get("/api/cloud/metrics", REMOTE_ADDR=client).status_code == 401
    assert APIClient().get(ADDRESS, REMOTE_ADDR=client, HTTP_X_API_KEY="ct_wrong").status_code == 401


@pytest.mark.parametrize(
    "request_headers",
    [
        {"REMOTE_ADDR": "10.2.0.1"},
        {"REMOTE_ADDR": ""},
        {"REMOTE_ADDR": "10.1.2.3", "HTTP_X_FORWARDED_FOR": "10.1.2.3"},
        {"REMOTE_ADDR": "10.1.2.3", "HTTP_FORWARDED": "for=10.1.2.3"},
    ],
)
def test_others_and_what_came_through_a_proxy_need_a_key(settings: Any, request_headers: dict[str, Any]) -> None:
    settings.METRICS_NETWORKS = ["10.1.0.0/16"]
    assert APIClient().get(ADDRESS, **request_headers).status_code == 401


def test_without_the_setting_everybody_needs_a_key() -> None:
    assert APIClient().get(ADDRESS, REMOTE_ADDR="127.0.0.1").status_code == 401
