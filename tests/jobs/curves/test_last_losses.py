"""The last loss of a job is that of its kept curves, whoever keeps them."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from django.utils import timezone

from jobs.models import Job, KeptCurves

pytestmark = pytest.mark.django_db
MakeJob = Callable[..., Job]


def losses() -> list[float | None]:
    return list(Job.objects.order_by("pk").values_list("last_loss", flat=True))


def test_follows_the_kept_curves_of_its_job_alone(make_job: MakeJob) -> None:
    job, _ = make_job(), make_job()
    kept = KeptCurves.objects.create(job=job, requested_at=timezone.now())
    assert losses() == [None, None]
    rows = KeptCurves.objects.filter(pk=kept.pk)
    for loss in (0.5, 0.25, None, 0.125):
        rows.update(last_loss=loss)
        assert losses() == [loss, None]
    rows.delete()
    assert losses() == [None, None]
    KeptCurves.objects.create(job=job, requested_at=timezone.now(), last_loss=0.75)
    assert losses() == [0.75, None]


def test_a_row_without_a_new_loss_leaves_the_job_alone(make_job: MakeJob) -> None:
    job = make_job()
    kept = KeptCurves.objects.create(job=job, requested_at=timezone.now(), last_loss=0.5)
    Job.objects.update(last_loss=0.1)
    KeptCurves.objects.filter(pk=kept.pk).update(read_at=timezone.now(), last_loss=0.5)
    assert losses() == [0.1]
