"""What a provider says of times and seconds: what can't be true, and what the next estimate makes of it."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.utils import timezone
from rest_framework.test import APIClient

from jobs.models import Job, ProviderConfig
from jobs.statuses import JobStatus
from tests.jobs.webhooks.deliveries import Deliver, body_of
from tests.web import with_single_blanks

pytestmark = pytest.mark.slow

ClientOf = Callable[[User], APIClient]
MakeJob = Callable[..., Job]
BAR = "Epoch 1/1, Steps: 100%|####| 100/100 [10:00<00:00,  4.0it/s, lr=0.0001, step_loss=0.5]\n"


def test_an_end_before_the_start_makes_nothing_negative(
    deliver: Deliver, at_replicate: MakeJob, replicate_config: ProviderConfig, client_of: ClientOf, alice: User
) -> None:
    now = timezone.now()
    job = at_replicate(status=JobStatus.QUEUED, queued_at=now - timedelta(hours=1))
    moments = {"started_at": now - timedelta(minutes=10), "completed_at": now - timedelta(minutes=20)}
    times = {name: moment.isoformat() for name, moment in moments.items()}
    deliver(body_of(job, "succeeded", logs=BAR, **times, metrics={"predict_time": 600.0}))
    shown = client_of(alice).get(f"/api/cloud/jobs/{job.pk}").json()["job"]
    assert shown["duration_seconds"] == 0
    assert shown["cost_usd"] == pytest.approx(6, abs=0.0001)


LATEST = "9999-12-31T23:59:59Z"


@pytest.mark.parametrize(
    ("untrue", "figure", "cost", "seconds"),
    [
        ({"metrics": {"predict_time": 1e300}}, "billed_seconds", None, 600),
        ({"metrics": {"predict_time": -5}}, "billed_seconds", None, 600),
        ({"completed_at": LATEST}, "completed_at", None, None),
        ({"completed_at": LATEST, "metrics": {"predict_time": 300}}, "completed_at", 3, None),
        ({"completed_at": "0001-01-01T00:00:00+23:59"}, "completed_at", None, None),
        ({"started_at": LATEST}, "started_at", None, None),
    ],
)
def test_a_figure_that_can_not_be_true_is_not_known_and_logged(
    deliver: Deliver,
    at_replicate: MakeJob,
    replicate_config: ProviderConfig,
    client_of: ClientOf,
    alice: User,
    caplog: pytest.LogCaptureFixture,
    untrue: dict[str, Any],
    figure: str,
    cost: float | None,
    seconds: float | None,
) -> None:
    end = timezone.now() - timedelta(minutes=1)
    job = at_replicate(status=JobStatus.QUEUED, queued_at=end - timedelta(hours=1))
    times = {"started_at": (end - timedelta(minutes=10)).isoformat(), "completed_at": end.isoformat()}
    with caplog.at_level("WARNING", "simpletuner.cloud.providers"):
        assert deliver(body_of(job, "succeeded", **{**times, **untrue})) == 200
    assert [record.figure for record in caplog.records if hasattr(record, "figure")] == [figure]
    shown = client_of(alice).get(f"/api/cloud/jobs/{job.pk}").json()["job"]
    assert shown["status"] == "completed"
    assert (shown["cost_usd"], shown["duration_seconds"]) == (cost and pytest.approx(cost, abs=0.0001), seconds)
    assert (shown["cost_doubt"] is None) == (cost is not None)
    assert list(shown["metadata"]["refused"]) == [figure]


def test_the_page_says_that_a_cost_and_a_duration_are_not_known(
    deliver: Deliver, at_replicate: MakeJob, replicate_config: ProviderConfig, client: Client, alice: User
) -> None:
    job = at_replicate(status=JobStatus.RUNNING, started_at=timezone.now(), queued_at=timezone.now())
    deliver(body_of(job, "succeeded", completed_at=LATEST))
    client.force_login(alice)
    page = client.get(f"/jobs/{job.pk}").content.decode()
    assert page.count("Not known") == 2
    assert "Its end as reported by its provider can&#x27;t be true: 9999-12-31" in page
    assert "Not known" in client.get("/").content.decode()
    assert "1 job of unknown cost is" in with_single_blanks(client.get("/spend").content.decode())
    deliver(body_of(job, "succeeded", metrics={"predict_time": 60}), delivery="msg_2")
    assert "$0.60" in client.get(f"/jobs/{job.pk}").content.decode()


def test_what_is_known_of_a_cost_stays_when_its_end_cant_be_true(
    deliver: Deliver, at_replicate: MakeJob, replicate_config: ProviderConfig, client: Client, alice: User
) -> None:
    job = at_replicate(status=JobStatus.RUNNING, started_at=timezone.now(), cost_usd=Decimal(5))
    deliver(body_of(job, "succeeded", completed_at=LATEST))
    client.force_login(alice)
    assert "Not known, at least $5.00" in client.get(f"/jobs/{job.pk}").content.decode()
    assert client.get("/api/cloud/jobs").json()["jobs"][0]["cost_usd"] is None
    figures = client.get("/api/cloud/metrics").json()
    assert (figures["total_cost_usd"], figures["jobs_of_unknown_cost"]) == (5, 1)


RESUMED = (
    "  - Steps completed: 25000\nEpoch 5/5, Steps:  83%|########3 | 25000/30000 [00:00<?, ?it/s]\n"
    "Epoch 5/5, Steps: 100%|##########| 30000/30000 [50:00<00:00,  1.67it/s, lr=1e-5, step_loss=0.1]\n"
)
CONFIG = {"model_family": "flux", "model_type": "lora", "max_train_steps": 30_000}


def dry_run(client: APIClient) -> dict[str, Any]:
    """Return what a dry run says of 30,000 fresh steps."""
    body = {"config": CONFIG, "hardware_profile": "h100", "dry_run": True}
    answer: dict[str, Any] = client.post("/api/cloud/jobs/submit?provider=replicate", body, format="json").json()
    return answer


@pytest.mark.parametrize(
    ("minutes", "log", "seconds", "source"),
    [
        (50, RESUMED, 18_000, "from 5 runs of flux LoRA on h100"),
        # The clocks differ: it tells nothing.
        (-10, RESUMED, 30_000, "by the operator's figure"),
    ],
)
def test_the_next_estimate_goes_by_the_steps_that_a_run_made_itself(
    deliver: Deliver,
    at_replicate: MakeJob,
    replicate_config: ProviderConfig,
    client_of: ClientOf,
    alice: User,
    minutes: int,
    log: str,
    seconds: int,
    source: str,
) -> None:
    end = timezone.now() - timedelta(minutes=1)
    times = {"started_at": (end - timedelta(minutes=minutes)).isoformat(), "completed_at": end.isoformat()}
    for number in range(5):
        job = at_replicate(config={**CONFIG, "--resume-from-checkpoint": "latest"}, queued_at=end - timedelta(hours=2))
        deliver(body_of(job, "succeeded", logs=log, **times), delivery=f"msg_{number}")
    foreseen = dry_run(client_of(alice))
    assert foreseen["estimated_seconds_range"] == {"low": pytest.approx(seconds), "high": pytest.approx(seconds)}
    assert foreseen["estimated_seconds"] == pytest.approx(seconds)
    assert foreseen["estimated_cost_usd"] == pytest.approx(seconds / 100, abs=0.0001)
    assert (foreseen["estimate_source"], foreseen["estimate_doubt"]) == (source, None)
