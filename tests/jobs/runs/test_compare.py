"""Two to five jobs side by side, over the API and on their page."""

from __future__ import annotations

from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django_q.models import OrmQ
from rest_framework.test import APIClient

from jobs import tasks
from jobs.configs.secrets import sealed_columns
from jobs.curves import kept
from jobs.dashboard.compare_views import facts_of
from jobs.models import Job, KeptCurves
from jobs.outputs import thumbnails
from jobs.runs.compare import NO_CURVES, ComparedJob, Comparison, compare
from jobs.statuses import JobStatus
from tests.jobs.pictures import output_of, png

pytestmark = pytest.mark.django_db
Trained = Callable[..., Job]
ClientOf = Callable[[User | None], APIClient]
BAR = "Epoch 1/1, Steps:  42%|####2     | {step}/{total} [00:{step:02d}<00:14,  1.0it/s, lr={rate}, step_loss={loss}]\n"


@pytest.fixture(autouse=True)
def _no_thumbnails(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(thumbnails, "async_task", lambda *arguments: None)


def write_log(job: Job, data: Path, losses: list[float], rate: str = "1e-4") -> None:
    lines = [
        BAR.format(step=number, total=len(losses), rate=rate, loss=loss) for number, loss in enumerate(losses, start=1)
    ]
    (output_of(job, data).parent / "train.log").write_text("".join(lines))


@pytest.fixture
def two(trained: Trained, tmp_path: Path) -> list[Job]:
    """Two runs with other rates and other secrets."""
    jobs = []
    for number, rate in enumerate((1e-4, 5e-5), start=1):
        config = {"learning_rate": rate, "max_train_steps": 3, "hub_token": f"hf_notarealtoken{number}"}
        columns = sealed_columns(config=config, dataloader_config=[{"id": "cats"}], webhook_url="")
        files = {f"validation_images/step_{step}_cat_64x64.png": png() for step in (1, 3)}
        job = trained(files, config_name=f"run-{number}", step=3, total_steps=3, cost_usd=Decimal(number), **columns)
        write_log(job, tmp_path, [0.5, 0.1 * number, 0.3], str(rate))
        jobs.append(job)
    return jobs


def query(jobs: list[Job] | list[str]) -> str:
    return urlencode({"id": [job if isinstance(job, str) else job.pk for job in jobs]}, doseq=True)


def compared(client: APIClient, jobs: list[Job] | list[str], status: int = 200) -> dict[str, Any]:
    answer = client.get(f"/api/cloud/jobs/compare?{query(jobs)}")
    assert answer.status_code == status, answer.content
    body: dict[str, Any] = answer.json()
    return body


def page(user: User, jobs: list[Job] | list[str], more: str = "", status: int = 200) -> str:
    browser = Client()
    browser.force_login(user)
    answer = browser.get(f"/jobs/compare?{query(jobs)}{more}")
    assert answer.status_code == status
    return answer.content.decode()


def test_it_has_curves_costs_losses_and_what_differs(client_of: ClientOf, alice: User, two: list[Job]) -> None:
    body = compared(client_of(alice), two)
    first, second = body["jobs"]
    assert [first["job_id"], second["job_id"]] == [job.pk for job in two]
    assert first["series"]["loss"] == [[1, 0.5], [2, 0.1], [3, 0.3]]
    assert first["seconds"] == [[1, 1.0], [2, 2.0], [3, 3.0]]
    assert (first["last_loss"], first["lowest_loss"], second["lowest_loss"]) == (0.3, 0.1, 0.2)
    assert (first["cost_usd"], second["cost_usd"], first["step"]) == (1.0, 2.0, 3)
    assert not first["is_being_read"]
    # PostgreSQL has an order of keys of its own.
    assert sorted(body["differences"], key=lambda one: one["path"]) == [
        {"path": "hub_token", "values": ["***", "***"]},
        {"path": "learning_rate", "values": [1e-4, 5e-5]},
    ]
    assert body["differences_total"] == 2


def test_steps_are_read_off_the_curves_of_a_job_that_told_of_none(alice: User, two: list[Job]) -> None:
    two[0].step = two[0].total_steps = None
    assert dict(facts_of(compare(two), alice))["Steps"] == ["3", "3"]
    two[1].step = None
    without = Comparison([ComparedJob(job, NO_CURVES, False, {}) for job in two], [], 0)
    assert "Steps" not in dict(facts_of(without, alice))


def test_the_order_is_that_of_the_ids_and_ids_may_be_cut(client_of: ClientOf, alice: User, two: list[Job]) -> None:
    body = compared(client_of(alice), [two[1].pk, two[0].pk])
    assert [job["job_id"] for job in body["jobs"]] == [two[1].pk, two[0].pk]


@pytest.mark.parametrize(
    ("choose", "sentence"),
    [
        (lambda two: [], "Choose 2 to 5 jobs: no job is chosen."),
        (lambda two: two[:1], "Choose 2 to 5 jobs: one job is chosen."),
        (lambda two: two * 3, "Choose 2 to 5 jobs: 6 jobs are chosen."),
        (lambda two: [two[0], two[0]], "A job is chosen twice: choose each once."),
        (lambda two: [two[0].pk, two[0].pk.upper()], "A job is chosen twice: choose each once."),
    ],
)
def test_another_number_is_refused_in_a_sentence(
    client_of: ClientOf, alice: User, two: list[Job], choose: Callable[[list[Job]], list[Job]], sentence: str
) -> None:
    chosen = choose(two)
    assert compared(client_of(alice), chosen, 400)["errors"] == {"id": [sentence]}
    assert sentence in page(alice, chosen, status=400)


def test_an_unknown_parameter_is_refused(client_of: ClientOf, alice: User, two: list[Job]) -> None:
    assert client_of(alice).get(f"/api/cloud/jobs/compare?{query(two)}&ids=x").status_code == 400


def test_a_strangers_job_among_them_is_not_there(
    client_of: ClientOf, alice: User, charlie: User, two: list[Job], make_job: Callable[..., Job]
) -> None:
    theirs = make_job(organization=None, submitted_by=charlie)
    compared(client_of(alice), [*two, theirs], 404)
    compared(client_of(charlie), two, 404)
    page(alice, [*two, theirs], status=404)
    assert "run-1" not in page(charlie, two, status=404)
    compared(client_of(alice), [two[0].pk, "0" * 26], 404)


def test_the_page_has_it_all(alice: User, two: list[Job]) -> None:
    text = page(alice, two)
    for expected in ("run-1", "run-2", "$1.00", "$2.00", "1e-4", "5e-5", "Lowest loss", "0.1", "0.2"):
        assert expected in text
    assert "notareal" not in text
    assert text.count("thumbnail=640") == 2
    assert f"/api/cloud/jobs/{two[0].pk}/outputs/validation_images/step_3_cat_64x64.png" in text


def test_its_parts_are_fetched_anew(alice: User, charlie: User, two: list[Job]) -> None:
    browser, stranger = Client(), Client()
    browser.force_login(alice)
    stranger.force_login(charlie)
    parts = "/jobs/compare/parts"
    for name, text in (("result", "Lowest loss"), ("pictures", 'id="pictures-title"')):
        answer = browser.get(f"{parts}/{name}?{query(two)}").content.decode()
        assert text in answer
        assert "<html" not in answer
        assert stranger.get(f"{parts}/{name}?{query(two)}").status_code == 404
        assert browser.get(f"{parts}/{name}?{query(two[:1])}").status_code == 404
    assert browser.get(f"{parts}/other?{query(two)}").status_code == 404
    assert Client().get(f"{parts}/result?{query(two)}").status_code == 401


def test_equal_names_are_told_apart(alice: User, two: list[Job]) -> None:
    Job.objects.update(config_name="same", number=None)
    text = page(alice, two)
    for job in two:
        assert f"same …{job.pk[-4:]}" in text
    for number, job in enumerate(two, start=1):
        Job.objects.filter(pk=job.pk).update(number=number)
    assert all(f'title="same #{number}"' in page(alice, two) for number in (1, 2))


def test_jobs_without_anything_are_compared_all_the_same(alice: User, make_job: Callable[..., Job]) -> None:
    text = page(alice, [make_job(), make_job()])
    assert "All settings are the same." in text
    assert "These jobs have no pictures." in text


def test_a_long_log_is_read_by_a_worker(
    client_of: ClientOf, alice: User, two: list[Job], monkeypatch: pytest.MonkeyPatch, committed: None
) -> None:
    monkeypatch.setattr(kept, "SHORT_LOG_BYTES", 10)
    body = compared(client_of(alice), two)
    assert [job["is_being_read"] for job in body["jobs"]] == [True, True]
    compared(client_of(alice), two)
    assert OrmQ.objects.count() == 2  # each once
    assert "Reading long logs" in page(alice, two)
    for job in two:
        assert tasks.keep_curves(job.pk)
    body = compared(client_of(alice), two)
    assert [job["is_being_read"] for job in body["jobs"]] == [False, False]
    assert body["jobs"][1]["lowest_loss"] == 0.2
    assert KeptCurves.objects.filter(is_final=True).count() == 2
    assert OrmQ.objects.count() == 2


def test_a_training_that_goes_on_is_read_again(
    client_of: ClientOf, alice: User, two: list[Job], monkeypatch: pytest.MonkeyPatch, tmp_path: Path, committed: None
) -> None:
    monkeypatch.setattr(kept, "SHORT_LOG_BYTES", 10)
    job = two[0]
    Job.objects.filter(pk=job.pk).update(status=JobStatus.RUNNING, completed_at=None)
    job.refresh_from_db()
    assert kept.kept_curves_of(job) is None
    assert tasks.keep_curves(job.pk)
    first = kept.kept_curves_of(job)
    assert first is not None
    write_log(job, tmp_path, [0.5, 0.1, 0.3, 0.2])
    monkeypatch.setattr(kept, "FRESH", kept.FRESH * 0)
    older = kept.kept_curves_of(job)  # and asks for a newer one
    assert older == first
    assert tasks.keep_curves(job.pk)
    newer = kept.kept_curves_of(job)
    assert newer is not None
    assert tuple(newer.series["loss"][-1]) == (4, 0.2)


def test_curves_go_with_their_job(client_of: ClientOf, alice: User, two: list[Job], committed: None) -> None:
    kept.request_reading(two[0])
    assert tasks.keep_curves(two[0].pk)
    assert client_of(alice).delete(f"/api/cloud/jobs/{two[0].pk}").status_code == 200
    tasks.clear_away(two[0].pk)
    assert not KeptCurves.objects.exists()
    assert not tasks.keep_curves(two[0].pk)


def test_the_upkeep_has_those_kept_that_ended_lately(two: list[Job]) -> None:
    assert kept.request_forgotten() == 2
    assert kept.request_forgotten() == 0


def test_few_points_keep_the_extremes(trained: Trained, tmp_path: Path) -> None:
    job = trained()
    losses = [0.5 + number % 7 / 100 for number in range(3000)]
    losses[1234], losses[2345] = 9.0, 0.001
    write_log(job, tmp_path, losses)
    curves = kept.kept_curves_of(job) if (job.pk and kept.request_reading(job) and kept.keep_curves(job)) else None
    assert curves is not None
    values = [value for _, value in curves.series["loss"]]
    assert len(values) <= kept.POINTS + 2
    assert (max(values), min(values)) == (9.0, 0.001)
