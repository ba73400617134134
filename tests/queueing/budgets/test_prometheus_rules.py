"""The example alerts for Prometheus: their syntax, the figures that they name, and when they fire."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable
from datetime import timedelta
from decimal import Decimal
from pathlib import Path

import pytest
import yaml
from django.contrib.auth.models import User
from django.utils import timezone
from rest_framework.test import APIClient

from jobs.models import Job, Organization
from queueing.models import Budget
from tests.servers import find_binary, missing
from tests.spending import run

RULES = Path(__file__).resolve().parents[3] / "docs" / "cloudtrain.rules.yml"
#: Series of a made-up hour, and what fires in it.
HOUR = Path(__file__).parent / "cloudtrain.rules_test.yml"


@pytest.mark.django_db
def test_every_figure_that_an_alert_names_is_there(
    acme: Organization, alice: User, client_of: Callable[[User], APIClient]
) -> None:
    job = run("30", "12", organization=acme, submitted_by=alice)
    Job.objects.filter(pk=job.pk).update(started_at=timezone.now() - timedelta(hours=1))
    Budget.objects.create(scope="organization", organization=acme, amount=Decimal(500))
    figures = client_of(alice).get("/api/cloud/metrics/prometheus").content.decode()
    groups = yaml.safe_load(RULES.read_text())["groups"]
    rules = [rule for group in groups for rule in group["rules"]]
    named = {name for rule in rules for name in re.findall(r"cloudtrain_\w+", rule["expr"])}
    assert named and not {name for name in named if f"\n{name}{{" not in figures}
    assert (
        'cloudtrain_budget_committed_usd{organization="acme",period="month",scope="organization",user=""} 30.0'
        in figures
    )
    assert 'cloudtrain_spent_usd{organization="acme",provider="local"} 12.0' in figures
    assert 'cloudtrain_held_usd{organization="acme",provider="local"} 18.0' in figures
    rate = re.search(r'cloudtrain_burn_usd_per_hour{organization="acme",provider="local"} ([0-9.]+)', figures)
    assert rate and 11.9 < float(rate[1]) <= 12


def test_prometheus_itself_understands_them_and_they_fire_when_they_should(tmp_path: Path) -> None:
    promtool = find_binary("promtool")
    if not promtool:
        missing("promtool")
    for file in (RULES, HOUR):
        (tmp_path / file.name).write_text(file.read_text())
    for command in (["check", "rules", RULES.name], ["test", "rules", HOUR.name]):
        done = subprocess.run([str(promtool), *command], cwd=tmp_path, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
