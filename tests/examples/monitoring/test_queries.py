"""The examples for Prometheus and Grafana: syntax, the figures and labels that they name, and when the alerts fire."""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Callable, Iterator
from datetime import timedelta
from decimal import Decimal
from pathlib import Path

import pytest
import yaml
from django.contrib.auth.models import User
from django.utils import timezone
from prometheus_client.parser import text_string_to_metric_families
from rest_framework.test import APIClient

from cloudtrain_site.models import Loop
from jobs.models import Job, Organization
from jobs.roles import Role
from jobs.statuses import JobStatus
from queueing import claims
from queueing.models import Budget
from queueing.statuses import EntryStatus
from tests.factories import make_job
from tests.servers import find_binary, missing
from tests.spending import run

EXAMPLES = Path(__file__).resolve().parents[3] / "examples" / "monitoring"
RULES = EXAMPLES / "cloudtrain.rules.yml"
#: Series of a made-up hour, and what fires in it.
HOUR = Path(__file__).parent / "cloudtrain.rules_test.yml"

SELECTOR = re.compile(r"\b(cloudtrain_\w+)(?:\{([^}]*)\})?")
MATCHER = re.compile(r'(\w+)\s*(?:=~|!~|!=|=)\s*"([^"]*)"')
GROUPING = re.compile(r"\b(?:by|on|without|ignoring)\s*\(([^)]*)\)")
STATUSES = {"cloudtrain_jobs": set(JobStatus.values), "cloudtrain_queue_entries": set(EntryStatus.values)}


def queries_of_board() -> Iterator[tuple[str, str]]:
    """Yield each query, and its legend."""
    for panel in json.loads((EXAMPLES / "grafana-board.json").read_text())["panels"]:
        for target in panel["targets"]:
            yield target["expr"], target["legendFormat"]


def queries_of_alerts() -> Iterator[tuple[str, str]]:
    for group in yaml.safe_load(RULES.read_text())["groups"]:
        for rule in group["rules"]:
            legend = re.sub(r"\{\{ \$labels\.(\w+) \}\}", r"{{\1}}", rule["annotations"]["summary"])
            yield rule["expr"], legend


def mistakes(query: str, legend: str, exposed: dict[str, set[str]]) -> list[str]:
    """What `query` and its `legend` name that is not `exposed`: figures by name, with their labels."""
    found, labels = [], {"job", "instance"}
    for name, matchers in SELECTOR.findall(query):
        if name not in exposed:
            found.append(f"no figure {name}")
        labels |= exposed.get(name, set())
        for label, values in MATCHER.findall(matchers):
            if label not in exposed.get(name, set()):
                found.append(f"{name} has no label {label}")
            elif label == "status":
                found += [f"{name} has no status {one}" for one in set(values.split("|")) - STATUSES[name]]
    named = {label.strip() for group in GROUPING.findall(query) for label in group.split(",")}
    return found + [f"no label {one}" for one in (named | set(re.findall(r"\{\{(\w+)\}\}", legend))) - labels]


def test_a_wrong_name_would_be_found() -> None:
    exposed = {"cloudtrain_jobs": {"provider", "status"}}
    query = 'sum by (owner) (cloudtrain_jobs{status="runing", user="x"}) / cloudtrain_job'
    assert sorted(mistakes(query, "{{provider}} {{person}}", exposed)) == [
        *("cloudtrain_jobs has no label user", "cloudtrain_jobs has no status runing"),
        *("no figure cloudtrain_job", "no label owner", "no label person"),
    ]


@pytest.mark.django_db
def test_all_figures_and_labels_that_the_board_and_the_alerts_name_are_there(
    acme: Organization, alice: User, client_of: Callable[[User], APIClient]
) -> None:
    job = run("30", "12", organization=acme, submitted_by=alice)
    Job.objects.filter(pk=job.pk).update(started_at=timezone.now() - timedelta(hours=1))
    Budget.objects.create(scope="organization", organization=acme, amount=Decimal(500))
    waiting = make_job(organization=acme, submitted_by=alice)
    claims.enqueue(waiting, role=Role.RESEARCHER, held=False, actor=claims.DISPATCHER, source="api")
    Loop.objects.create(name="queue processing", interval_seconds=5, last_started_at=timezone.now())
    figures = client_of(alice).get("/api/cloud/metrics/prometheus").content.decode()
    samples = [sample for family in text_string_to_metric_families(figures) for sample in family.samples]
    exposed = {sample.name: set(sample.labels) for sample in samples}
    board, alerts = list(queries_of_board()), list(queries_of_alerts())
    assert len(board) > 10 and len(alerts) > 5
    assert [wrong for query, legend in [*board, *alerts] for wrong in mistakes(query, legend, exposed)] == []
    # The board shows all that there is.
    assert set(exposed) - {name for query, _ in board for name, _ in SELECTOR.findall(query)} == set()
    assert (
        'cloudtrain_budget_committed_usd{organization="acme",period="month",scope="organization",user=""} 30.0'
        in figures
    )
    assert 'cloudtrain_spent_usd{organization="acme",provider="local"} 12.0' in figures
    assert 'cloudtrain_held_usd{organization="acme",provider="local"} 18.0' in figures
    rate = re.search(r'cloudtrain_burn_usd_per_hour{organization="acme",provider="local"} ([0-9.]+)', figures)
    assert rate and 11.9 < float(rate[1]) <= 12


def test_prometheus_itself_understands_them_and_the_alerts_fire_when_they_should(tmp_path: Path) -> None:
    promtool = find_binary("promtool")
    if not promtool:
        missing("promtool")
    for file in (RULES, HOUR, EXAMPLES / "prometheus.yml"):
        (tmp_path / file.name).write_text(file.read_text())
    (tmp_path / "cloudtrain.key").write_text("a key")
    for command in (["check", "config", "prometheus.yml"], ["test", "rules", HOUR.name]):
        done = subprocess.run([str(promtool), *command], cwd=tmp_path, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr
