"""Where a training brought its results by itself: linked when the address is a safe one, else named or left out."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from jobs.models import Job, LogPiece
from jobs.outputs.remote import RemoteCopy, remote_copies
from jobs.statuses import JobStatus

pytestmark = pytest.mark.django_db
MakeJob = Callable[..., Job]
HUB = "https://huggingface.co/acme/flux-cats"


@pytest.fixture
def ended(make_job: MakeJob) -> MakeJob:
    """A job at Replicate, whose log this site keeps."""

    def make(config: dict[str, Any] | None = None, log: str = "", **fields: Any) -> Job:
        job = make_job(
            **{
                "provider": "replicate",
                "external_id": "p1",
                "status": JobStatus.COMPLETED,
                "config": config or {},
                "log_size": len(log.encode()),
                **fields,
            }
        )
        LogPiece.objects.create(job=job, start=0, end=len(log.encode()), text=log)
        return job

    return make


@pytest.mark.parametrize(
    "config",
    [
        {"push_to_hub": True, "hub_model_id": "acme/flux-cats"},
        {"--push_to_hub": "true", "--hub_model_id": "acme/flux-cats"},
        {"huggingface_repo_id": "acme/flux-cats"},
        {"config": {"process": [{"save": {"push_to_hub": True, "hf_repo_id": "acme/flux-cats"}}]}},
    ],
)
def test_the_repository_that_the_config_names_is_linked(ended: MakeJob, config: dict[str, Any]) -> None:
    assert remote_copies(ended(config)) == [RemoteCopy(HUB, HUB)]


@pytest.mark.parametrize(
    "config",
    [
        {"hub_model_id": "acme/flux-cats"},
        {"push_to_hub": False, "hub_model_id": "acme/flux-cats"},
        {"push_to_hub": True, "hub_model_id": "../../login?next="},
        {"push_to_hub": True, "hub_model_id": "a/b/c"},
        {"push_to_hub": True, "hub_model_id": ["acme/flux-cats"]},
        {"publishing_config": "config/publishing.json"},
        {"publishing_config": {"provider": "s3", "bucket": "a b"}},
        {"publishing_config": [[], 5, None]},
        {"publishing_config": '"nothing'},
    ],
)
def test_what_is_no_upload_or_no_safe_name_is_left_out(ended: MakeJob, config: dict[str, Any]) -> None:
    assert remote_copies(ended(config)) == []


def test_a_bucket_is_named(ended: MakeJob) -> None:
    target = {"provider": "s3", "bucket": "models", "base_path": "flux runs/", "secret_key": "***"}
    assert remote_copies(ended({"publishing_config": [target]})) == [RemoteCopy("s3://models/flux%20runs")]
    assert remote_copies(ended({"publishing_config": '{"bucket": "models"}'}, external_id="p2")) == [
        RemoteCopy("s3://models")
    ]


def test_an_upload_that_the_log_tells_of_is_linked(ended: MakeJob) -> None:
    log = f"step 5\nModel pushed to {HUB}/tree/main.\nUploaded to s3://models/run-1/model.safetensors\nbye\n"
    assert remote_copies(ended({"push_to_hub": True, "hub_model_id": "acme/flux-cats"}, log)) == [
        RemoteCopy("s3://models/run-1/model.safetensors", is_told=True),
        RemoteCopy(f"{HUB}/tree/main", f"{HUB}/tree/main", is_told=True),
    ]


@pytest.mark.parametrize(
    "line",
    [
        f"Downloading {HUB}",
        "uploaded to https://huggingface.co.evil.example/acme/flux",
        "uploaded to https://someone:pass@huggingface.co/acme/flux",
        "uploaded to https://evil.example/?huggingface.co/acme",
        "uploaded to http://huggingface.co/acme/flux",
        "uploaded to javascript://huggingface.co/%0aalert(1)",
        "uploaded to https://huggingface.co:8443/acme/flux",
        "uploaded to https://notamazonaws.com/x",
        "uploaded to s3://../etc",
    ],
)
def test_no_other_address_becomes_a_link(ended: MakeJob, line: str) -> None:
    assert [copy for copy in remote_copies(ended(log=line)) if copy.address] == []


def test_a_signature_in_an_address_is_not_shown(ended: MakeJob) -> None:
    line = "uploaded to https://models.s3.eu-west-1.amazonaws.com/run/model.safetensors?X-Amz-Signature=abcdef"
    (copy,) = remote_copies(ended(log=line))
    assert copy.address == "https://models.s3.eu-west-1.amazonaws.com/run/model.safetensors"


def test_the_log_of_a_running_training_is_not_read(ended: MakeJob) -> None:
    job = ended(log=f"pushed to {HUB}", status=JobStatus.RUNNING)
    assert remote_copies(job) == []
