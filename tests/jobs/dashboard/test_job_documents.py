"""The documents of a job's page: its config, its log and its dataset."""

from __future__ import annotations

import json
import zlib
from collections.abc import Callable
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.utils import timezone

from cloudtrain_site.models import LimitUse
from jobs import logs
from jobs.dashboard.job_config import PREVIEW_CHARACTERS
from jobs.models import DatasetUpload, Job, Membership, Organization
from jobs.statuses import JobStatus
from tests.jobs.dashboard.test_job_views import get, keep_log, page_of
from tests.limits import SetLimits
from tests.web import body_of, read_page

pytestmark = [pytest.mark.slow, pytest.mark.django_db]
MakeJob = Callable[..., Job]


class TestDocuments:
    def test_have_their_secrets_masked_on_the_page_and_in_the_file(self, alice: User, make_job: MakeJob) -> None:
        job = make_job(
            config={"hub_token": "hf_abcdefgh12345", "steps": "</pre>"}, dataloader_config=[{"key": "s3cr3t"}]
        )
        page = get(alice, page_of(job) + "/config")
        assert "hf_abcdefgh12345" not in page
        assert "s3cr3t" not in page
        assert "&lt;/pre&gt;" in page
        assert json.loads(get(alice, page_of(job) + "/config.json")) == {"hub_token": "***", "steps": "</pre>"}
        assert json.loads(get(alice, page_of(job) + "/dataloader.json")) == [{"key": "***"}]

    def test_of_any_size_keep_the_page_small(self, alice: User, make_job: MakeJob) -> None:
        job = make_job(config={"prompt": "x" * 3 * PREVIEW_CHARACTERS})
        page = get(alice, page_of(job) + "/config")
        assert len(page) < 2 * PREVIEW_CHARACTERS
        assert "The download has all of it" in page
        assert len(get(alice, page_of(job) + "/config.json")) > 3 * PREVIEW_CHARACTERS

    def test_are_coloured_and_long_settings_can_be_folded(self, alice: User, make_job: MakeJob) -> None:
        prompts = [f"a cat, {number}" for number in range(12)]
        page = get(alice, page_of(make_job(config={"rate": 1e-4, "on": True, "prompts": prompts})) + "/config")
        assert '<span class="json-key">&quot;rate&quot;</span>: <span class="json-number">0.0001</span>' in page
        assert '<span class="json-word">true</span>' in page
        folded = page.partition("<summary>")[2].partition("</details>")[0]
        assert "&quot;prompts&quot;" in folded and "13 lines" in folded
        assert "&quot;a cat, 11&quot;" in folded

    def test_have_what_differs_from_the_run_before(self, alice: User, charlie: User, make_job: MakeJob) -> None:
        first = make_job(config={"rate": 1, "steps": 5})
        make_job(config={"rate": 9}, config_name="another")
        assert "Changed since" not in get(alice, page_of(first) + "/config")
        second = make_job(config={"rate": 2, "steps": 5})
        page = read_page(alice, page_of(second) + "/config")
        assert f'<a href="{page_of(first)}"' in page.partition("Changed since")[2][:60]
        assert ">rate</code> 1 → 2 </li>" in page
        assert "<code>steps</code>" not in page
        third = make_job(config={"rate": 3, "steps": 5}, parent=first)
        page = read_page(alice, page_of(third) + "/config")
        assert "Changed from" in page and ">rate</code> 1 → 3" in page
        Job.objects.filter(pk=first.pk).update(organization=Membership.objects.get(user=charlie).organization)
        assert "Changed from" not in get(alice, page_of(third) + "/config"), "that is no longer hers to see"

    def test_are_downloaded_under_the_jobs_name(self, alice: User, make_job: MakeJob) -> None:
        client = Client()
        client.force_login(alice)
        answer = client.get(page_of(make_job(config_name='flux "é"')) + "/config.json")
        assert answer["Content-Disposition"] == "attachment; filename*=utf-8''flux%20%22%C3%A9%22.json"


class TestLog:
    @pytest.fixture
    def far_away(self, make_job: MakeJob, monkeypatch: pytest.MonkeyPatch) -> Job:
        monkeypatch.setattr(logs, "READ_LIMIT_BYTES", 10)
        return make_job(provider="replicate", external_id="abc", status=JobStatus.COMPLETED, config_name="flux")

    def test_is_downloaded_whole_as_it_was_written(self, alice: User, far_away: Job) -> None:
        keep_log(far_away, "<b>step 1\x1b[31m\r\n", "é" * 30, "\nthe end\n")
        assert get(alice, page_of(far_away) + "/log.txt") == "<b>step 1\x1b[31m\r\n" + "é" * 30 + "\nthe end\n"

    def test_is_packed_as_one_file(self, alice: User, far_away: Job) -> None:
        keep_log(far_away, "step 1\n", "step 2\n" * 9, "the end\n")
        client = Client(headers={"Accept-Encoding": "gzip"})
        client.force_login(alice)
        answer = client.get(page_of(far_away) + "/log.txt")
        unpacker = zlib.decompressobj(wbits=31)
        text = unpacker.decompress(body_of(answer))
        assert (text.decode(), unpacker.unused_data) == ("step 1\n" + "step 2\n" * 9 + "the end\n", b"")
        assert (answer["Content-Encoding"], answer["Vary"].count("Accept-Encoding")) == ("gzip", 1)

    def test_has_its_curves_from_all_of_it(self, alice: User, far_away: Job, client_of: Any) -> None:
        keep_log(far_away, *(f"step {step}/40 loss: 0.{step}\n" for step in range(10, 40)))
        series = client_of(alice).get(f"/api/cloud/jobs/{far_away.pk}/metrics").json()["series"]
        assert [series["loss"][0], series["loss"][-1], len(series["loss"])] == [[10, 0.1], [39, 0.39], 30]

    def test_has_its_last_lines_from_its_end(self, alice: User, far_away: Job, client_of: Any) -> None:
        keep_log(far_away, *(f"line {number}\n" for number in range(40)))
        answer = client_of(alice).get(f"/api/cloud/jobs/{far_away.pk}/logs?tail=2").json()
        assert answer["logs"] == "line 38\nline 39\n"
        assert answer["offset"] == far_away.log_size


def test_a_dataset_is_named_with_its_size_also_when_its_archive_is_gone(
    alice: User, acme: Organization, make_job: MakeJob
) -> None:
    upload = DatasetUpload.objects.create(
        organization=acme, uploaded_by=alice, name="<cats>.zip", kind="zip", size=2_500_000, sha256="a" * 64, files=12,
        unpacked_size=3_000_000, stored_on="here",
    )  # fmt: skip
    job = make_job(dataset=upload)
    page = read_page(alice, page_of(job) + "/config")
    assert "<bdi>&lt;cats&gt;.zip</bdi>" in page
    assert "2.4\xa0MB, 12 files" in page
    assert "The archive was removed" not in page
    DatasetUpload.objects.update(removed_at=timezone.now())
    assert "The archive was removed" in read_page(alice, page_of(job) + "/config")


def test_a_log_downloaded_too_often_is_a_429_with_a_page(alice: User, make_job: MakeJob, set_limits: SetLimits) -> None:
    set_limits(log_reads_per_minute=1)
    client = Client()
    client.force_login(alice)
    address = f"/jobs/{make_job().pk}/log.txt"
    first, second = client.get(address), client.get(address)
    body_of(first)
    assert (first.status_code, second.status_code, second["Retry-After"]) == (200, 429, "60")
    assert "You have reached the limit for whole logs" in second.content.decode()
    assert LimitUse.objects.exclude(refused_at=None).exists()
