"""The page of what a training wrote."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.urls import reverse

from jobs.dashboard import results_views
from jobs.models import Job
from jobs.outputs import gallery, thumbnails
from jobs.statuses import JobStatus
from tests.jobs.pictures import png

pytestmark = pytest.mark.slow

PICTURES = {f"validation_images/step_{step}_cat_64x64.png": png() for step in (5, 10)}
FILES = {**PICTURES, "checkpoint-10/state.json": b"{}", "result.json": b"{}"}


@pytest.fixture(autouse=True)
def requested(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, ...]]:
    """The tasks that were asked for."""
    requested: list[tuple[Any, ...]] = []
    monkeypatch.setattr(thumbnails, "async_task", lambda *arguments: requested.append(arguments))
    return requested


def browser_of(user: User) -> Client:
    browser = Client()
    browser.force_login(user)
    return browser


@pytest.fixture
def page() -> Callable[..., str]:
    def page(user: User, job: Job, query: str = "", status: int = 200) -> str:
        response = browser_of(user).get(f"/jobs/{job.pk}/results{query}")
        assert response.status_code == status
        return str(response.content.decode())

    return page


def test_pictures_and_files_are_shown(page: Any, alice: User, trained: Any) -> None:
    job = trained(FILES)
    text = page(alice, job)
    assert [int(step) for step in re.findall(r">Step (\d+)<", text)] == [10, 5]
    assert f"/api/cloud/jobs/{job.pk}/outputs/validation_images/step_10_cat_64x64.png?thumbnail=320" in text
    assert f"/api/cloud/jobs/{job.pk}/outputs.zip" in text
    assert "4 files" in text
    assert text.index(">result.json<") < text.index("<bdi>checkpoint-10<") < text.index("<bdi>validation_images</bdi>")


def test_small_copies_are_asked_for_once(page: Any, alice: User, trained: Any, requested: list[Any]) -> None:
    job = trained(FILES)
    page(alice, job)
    page(alice, job)
    shown = sorted(PICTURES, key=len, reverse=True)
    assert requested == [(thumbnails.TASK, job.pk, shown, 320), (thumbnails.TASK, job.pk, shown[:1], 640)]


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        ({}, "The job wrote no files."),
        ({"status": JobStatus.RUNNING}, "The job hasn’t written any files yet."),
    ],
)
def test_a_page_without_files_says_so(page: Any, alice: User, trained: Any, fields: Any, sentence: str) -> None:
    text = page(alice, trained({}, **fields))
    assert sentence in text
    assert "Download all" not in text


def test_a_job_that_never_began_has_a_page(page: Any, alice: User, make_job: Callable[..., Job]) -> None:
    assert "The training has not begun." in page(alice, make_job())


def test_the_files_of_another_machine_are_said_to_be_there(
    page: Any, alice: User, make_job: Callable[..., Job]
) -> None:
    job = make_job(provider="local", status=JobStatus.COMPLETED, metadata={"host": "trainer-7"})
    job.external_id = job.pk
    job.save()
    assert "The files are on the machine trainer-7, which trained." in page(alice, job)


def test_another_run_of_the_same_name_stands_beside(page: Any, alice: User, trained: Any) -> None:
    job, other, stranger = trained(FILES), trained(FILES), trained(FILES, config_name="another")
    assert f'value="{other.pk}"' in page(alice, job)
    assert stranger.pk not in page(alice, job)
    text = page(alice, job, f"?beside={other.pk}")
    assert f"/api/cloud/jobs/{other.pk}/outputs/validation_images/step_10_cat_64x64.png" in text
    assert f"/api/cloud/jobs/{stranger.pk}/" not in page(alice, job, f"?beside={stranger.pk}")


def test_the_runs_of_its_tree_stand_beside_under_whatever_name(
    page: Any, alice: User, charlie: User, trained: Any
) -> None:
    first = trained(FILES, config_name="flux")
    second = trained(FILES, config_name="flux-2", parent=first, root=first)
    third = trained(FILES, config_name="lower-rate", parent=second, root=first)
    for job, others in ((first, (second, third)), (second, (first, third)), (third, (first, second))):
        text = page(alice, job)
        assert all(f'value="{other.pk}"' in text for other in others)
        assert f'value="{job.pk}"' not in text
    page(charlie, second, status=404)


def test_many_pictures_are_cut_until_all_are_asked_for(
    page: Any,
    alice: User,
    trained: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(gallery, "STEPS_SHOWN", 1)
    job = trained(FILES)
    assert "Show all 2 pictures" in page(alice, job)
    whole = page(alice, job, "?steps=all")
    assert "Show all" not in whole
    assert whole.count("thumbnail=320") == 2


def test_a_large_folder_is_cut(page: Any, alice: User, trained: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(results_views, "FILES_SHOWN", 1)
    assert "1 more file: the zip has all of them." in page(alice, trained(FILES))


def test_a_hostile_name_is_only_text(page: Any, alice: User, trained: Any) -> None:
    text = page(alice, trained({"<img src=x onerror=alert(1)>.txt": b"x", "</script><b>.png": b"x"}))
    assert "<img src=x" not in text
    assert "</script><b>" not in text


def test_any_name_has_the_address_that_leads_to_it(make_job: Callable[..., Job]) -> None:
    job = make_job()
    for name in ("a b/c.png", "50%/?#&=+.png", "😀'\"<\n>.png", "x" * 4000, "~@:!$()*,;.png"):
        assert results_views.file_address(job, name) == reverse("job-output", args=[job.pk, name])


def test_no_name_turns_its_ending_round(page: Any, alice: User, trained: Any) -> None:
    text = page(alice, trained({"\u202egpj.exe": b"x", "two\nlines/\u2066x.txt": b"x"}))
    assert "<bdi>_gpj.exe</bdi>" in text
    assert "<bdi>two_lines</bdi>" in text
    assert "<bdi>_x.txt</bdi>" in text


def test_the_part_is_fetched_anew(alice: User, charlie: User, trained: Any) -> None:
    job = trained(FILES)
    assert "Step 10" in browser_of(alice).get(f"/jobs/{job.pk}/results/now").content.decode()
    assert browser_of(charlie).get(f"/jobs/{job.pk}/results/now").status_code == 404
    assert Client().get(f"/jobs/{job.pk}/results/now").status_code == 401


def test_strangers_find_no_page(page: Any, charlie: User, trained: Any) -> None:
    page(charlie, trained(FILES), status=404)


def test_the_job_page_leads_there(alice: User, trained: Any, make_job: Any) -> None:
    for job in (trained(FILES), make_job()):
        assert f'href="/jobs/{job.pk}/results"' in browser_of(alice).get(f"/jobs/{job.pk}").content.decode()
