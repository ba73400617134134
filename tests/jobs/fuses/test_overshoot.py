"""How far a job exceeds its fuse: by what it costs until its provider has stopped it, whenever that is asked."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from decimal import Decimal
from itertools import count

import pytest
from django.utils import timezone
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from jobs.fuses.burns import CHECK_SECONDS, Burn, current_burns, last_limit
from jobs.models import Job, ProviderConfig

pytestmark = pytest.mark.django_db
LIMIT = Decimal(30)
PRICE = Decimal("0.011")


@pytest.fixture
def job(make_job: Callable[..., Job]) -> Job:
    ProviderConfig.objects.update_or_create(name="local", defaults={"cost_per_second": {"cpu": str(PRICE)}})
    started = {"started_at": timezone.now() - timedelta(hours=3), "external_id": "x"}
    return make_job(status="running", max_cost_usd=LIMIT, fuse_action="ask", **started)


def look(job: Job, seconds: float, polled: float) -> Burn:
    """What a look sees so many seconds after the start, if the provider was last heard of at `polled`."""
    assert job.started_at is not None
    at = {"last_synced_at": job.started_at + timedelta(seconds=polled)}
    cost = (PRICE * Decimal(polled)).quantize(Decimal("0.0001"))
    Job.objects.filter(pk=job.pk).update(cost_usd=cost, **at)
    [burn] = current_burns(job.started_at + timedelta(seconds=seconds))
    return burn


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    first_look=st.floats(0, CHECK_SECONDS),
    poll_seconds=st.sampled_from([1.0, 30.0, 300.0, 86_400.0]),
    grace=st.sampled_from([0, 10, 100]),
)
def test_it_is_stopped_before_its_limit_however_seldom_its_provider_answers(
    job: Job, first_look: float, poll_seconds: float, grace: int
) -> None:
    Job.objects.filter(pk=job.pk).update(fuse_grace_percent=grace)
    job.refresh_from_db()
    limit = last_limit(job)
    assert limit == LIMIT * (100 + grace) / 100
    full = float(limit / PRICE)
    for number in count(max(0, int(full / CHECK_SECONDS) - 4)):
        seconds = first_look + number * CHECK_SECONDS
        burn = look(job, seconds, polled=seconds // poll_seconds * poll_seconds)
        if burn.at_next_look >= limit:
            # From here on the provider is asked to stop it: what it costs until then is all that is added.
            assert burn.cost <= limit
            assert limit - burn.cost <= PRICE * Decimal(CHECK_SECONDS) + Decimal("0.001")
            return
        assert seconds < full
