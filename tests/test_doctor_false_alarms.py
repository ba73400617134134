"""Healthy sites of every kind, about which the doctor has nothing to say."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from django.apps import apps
from django.contrib.auth.models import User
from django.core.management import call_command
from django.db import models
from django.utils import timezone

from approvals.models import ApprovalRule
from cloudtrain_site import encryption
from cloudtrain_site.doctor.findings import Status
from cloudtrain_site.doctor.runs import examine
from cloudtrain_site.extensions import sealed_columns
from cloudtrain_site.models import SiteProcess
from cloudtrain_site.monitoring.process_heartbeats import MACHINE
from jobs.doctor import shared_folders
from jobs.models import ClusterLook, Membership, Organization, ProviderConfig
from jobs.providers import get_provider
from jobs.providers.clusters.view import view_data
from jobs.roles import Role
from jobs.statuses import JobStatus
from queueing.doctor import money_in_flight
from tests.configuration import WriteConfig
from tests.doctor import found, healthy, process
from tests.factories import make_job
from tests.jobs.conftest import fake
from tests.providers import ClusterProvider, ScriptedProvider
from tests.spending import run, spend

__all__ = ["fake", "healthy"]
pytestmark = pytest.mark.usefixtures("healthy")


def test_all_is_well_on_a_fresh_site_and_the_command_ends_with_0(capsys: pytest.CaptureFixture[str]) -> None:
    call_command("doctor")
    lines = capsys.readouterr().out.splitlines()
    assert {line.split()[0] for line in lines} == {"ok", "skipped"}


def test_one_behind_tls_that_this_machine_can_not_reach(settings: Any) -> None:
    settings.CSRF_TRUSTED_ORIGINS, settings.ALLOWED_HOSTS = ["https://train.example.org"], ["train.example.org"]
    settings.SESSION_COOKIE_SECURE = settings.CSRF_COOKIE_SECURE = settings.SECURE_SSL_REDIRECT = True
    settings.SECURE_HSTS_SECONDS = 3600
    assert found() == {}
    settings.CSRF_TRUSTED_ORIGINS, settings.ALLOWED_HOSTS = ["https://*.example.org"], [".example.org"]
    assert found() == {}


def test_one_whose_only_person_is_a_superuser(root: User, alice: User, bob: User) -> None:
    Membership.objects.all().delete()
    Membership.objects.create(user=root, organization=Organization.objects.get(), role=Role.ADMIN)
    assert found() == {}


def test_one_whose_only_lead_can_not_approve_their_own_jobs_alone(bob: User) -> None:
    ApprovalRule.objects.update(exempt_roles=[])
    assert found() == {}


def test_one_with_jobs_of_all_kinds(settings: Any, add_provider: Any) -> None:
    now = timezone.now()
    add_provider(ScriptedProvider())
    ProviderConfig.objects.create(name="scripted", cost_per_second={"cpu": 1, "gpu": 2}, prices_as_of=now.date())
    key, settings.SECRET_KEY = settings.SECRET_KEY, "the key of before, with all that it takes to be one"
    sealed = encryption.seal([(("config", "hub_token"), "hf_of_before")])
    settings.SECRET_KEY, settings.SECRET_KEY_FALLBACKS = key, [settings.SECRET_KEY]
    for _ in range(12):
        # The operator's figure is a guess, and no fault.
        spend(now.date(), "9", estimated_cost_usd=Decimal(1), estimate_source="operator's figure", sealed=sealed)
    run("2", "1", provider="scripted", external_id="x-1", last_synced_at=now)
    make_job(
        status=JobStatus.RUNNING,
        provider="scripted",
        external_id="x-2",
        last_synced_at=now - timedelta(minutes=20),
        cancel_requested_at=now - timedelta(minutes=9),
    )
    # Of this machine nothing is heard while it trains, and of one that is switched off nobody asks.
    make_job(status=JobStatus.RUNNING, external_id="x-3", queued_at=now - timedelta(hours=3))
    assert found() == {}
    ProviderConfig.objects.filter(pk="scripted").update(enabled=False)
    make_job(status=JobStatus.RUNNING, provider="scripted", external_id="x-4", queued_at=now - timedelta(hours=3))
    assert {one.status for one in money_in_flight()} == {Status.OK}


def test_one_whose_cluster_was_added_a_moment_ago(add_provider: Any) -> None:
    add_provider(ClusterProvider())
    assert "clusters" not in found()
    assert "not checked" in examine("clusters").findings[0].message


def test_one_with_a_cluster_that_was_looked_at(add_provider: Any) -> None:
    cluster = ClusterProvider()
    add_provider(cluster)
    prices = {"cpu": 0.001, "gpu": 0.002}
    ProviderConfig.objects.create(name="lab", cost_per_second=prices, prices_as_of=timezone.now().date())
    data = view_data(cluster.view)  # type: ignore[arg-type]
    ClusterLook.objects.create(provider="lab", data=data, seen_at=timezone.now())
    assert found() == {}


def test_a_container_that_took_the_place_of_another_on_the_same_file() -> None:
    ended = timezone.now() - timedelta(minutes=10)
    process("background", "before", started_at=ended - timedelta(hours=1))
    SiteProcess.objects.filter(machine="before").update(seen_at=ended)
    SiteProcess.objects.filter(machine=MACHINE).update(started_at=ended + timedelta(seconds=5))
    assert examine("sqlite-machines").status in (Status.OK, Status.SKIPPED)


def test_the_variables_of_simpletuner_and_of_the_file_are_no_mistakes(
    monkeypatch: pytest.MonkeyPatch, write_config: WriteConfig, tmp_path: Path
) -> None:
    for name in ("SIMPLETUNER_STATE_DIR", "SIMPLETUNER_CONFIG_DIR", "SIMPLETUNER_API_KEY", "CLOUDTRAIN_SSO_SECRET"):
        monkeypatch.setenv(name, "x")
    write_config(f"option_lists:\n  simpletuner: {tmp_path}/none  # ${{CLOUDTRAIN_SSO_SECRET}}\n")
    sentences = " ".join(finding.message for finding in examine("configuration").findings)
    assert "nothing reads it" not in sentences


@pytest.mark.slow
def test_one_with_a_stand_in_for_replicate_that_delivers_here(
    web_server: str, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    request.getfixturevalue("fake")  # now: the healthy site has no token
    ProviderConfig.objects.filter(pk="replicate").update(
        webhook_url=f"{web_server}/", cost_per_second=dict.fromkeys(get_provider("replicate").hardware(), 0.001)
    )
    assert found() == {}
    assert "belongs to this site. No delivery has arrived yet." in examine("webhooks").findings[0].message
    assert [one.message for one in examine("provider-clocks").findings] == ["replicate agrees."]
    monkeypatch.setenv("REPLICATE_API_TOKEN", "r8_revoked")
    assert "providers" in found()


def test_a_shared_folder_is_marked_by_each_machine(tmp_path: Path, write_config: WriteConfig) -> None:
    folder = tmp_path / "shared"
    folder.mkdir()
    (tmp_path / "token").write_text("x" * 40)
    write_config(
        f"""providers:
  slurm-lab:
    kind: slurm
    address: http://127.0.0.1:9
    user: trainer
    token_file: {tmp_path}/token
    shared_folder: {folder}
    command: ["true", "{{config}}"]
    hardware:
      small: {{cpus: 1, cost_per_second: 0.001}}
"""
    )
    assert {one.status for one in shared_folders.are_shared()} == {Status.OK}
    shared_folders.leave_marks()
    process("background", "two")
    (missing, _) = shared_folders.are_shared()
    assert missing.message == f"{folder} here is not the same folder as on two."
    (folder / shared_folders.MARKS / "two").touch()
    assert {one.status for one in shared_folders.are_shared()} == {Status.OK}
    folder.rename(tmp_path / "unmounted")
    shared_folders.leave_marks()
    assert [one.status for one in shared_folders.are_shared()] == [Status.BAD]


def test_every_sealed_column_is_looked_at() -> None:
    columns = {
        f"{model._meta.label}.{field.name}"
        for model in apps.get_models()
        for field in model._meta.fields
        if isinstance(field, models.TextField) and field.name.startswith("sealed")
    }
    assert set(sealed_columns) == columns
