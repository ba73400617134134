"""The command line of SimpleTuner, as its requests look on the wire: a key in a header, JSON, often no body.

tests/test_simpletuner_commands.py has each of its commands.
"""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from typing import Any

import pytest
from django.contrib.auth.models import User

from cloudtrain_site.models import ApiKey
from examples.fake_replicate import FakeReplicate
from jobs.configs import store as configs
from jobs.models import Organization, ProviderConfig
from queueing.models import QueueState

pytestmark = pytest.mark.slow


class CommandLine:
    """What its `cloud_api_request` does."""

    def __init__(self, site: str, user: User) -> None:
        self.site = site
        self.key = str(ApiKey.objects.create(user=user, name="cli")[1])

    def __call__(self, method: str, endpoint: str, data: dict[str, Any] | None = None) -> dict[str, Any]:
        headers = {"Content-Type": "application/json", "Accept": "application/json", "X-API-Key": self.key}
        body = None if data is None else json.dumps(data).encode()
        request = urllib.request.Request(self.site + endpoint, data=body, headers=headers, method=method)
        try:
            with urllib.request.urlopen(request, timeout=30) as response:
                return dict(json.loads(response.read()))
        except urllib.error.HTTPError as error:
            return {"error": json.loads(error.read())["detail"]}


def test_the_queue_and_a_dry_run_of_this_machine(web_server: str, alice: User, acme: Organization) -> None:
    configs.store_config(alice, acme, "flux", {"max_train_steps": 10}, [])
    ask = CommandLine(web_server, alice)
    QueueState.objects.update_or_create(pk=1, defaults={"max_running": 3, "max_running_per_user": 1})
    assert ask("GET", "/api/configs/flux")["config"] == {"max_train_steps": 10}
    assert ask("POST", "/api/configs/flux/validate") == {
        "valid": True,
        "errors": [],
        "warnings": [],
        "config_warnings": [],
    }
    empty = ask("GET", "/api/queue/stats")
    assert (empty["queue_depth"], empty["running"], empty["max_concurrent"]) == (0, 0, 3)

    made = ask("POST", "/api/queue/submit", {"config_name": "flux"})
    assert (made["success"], made["status"]) == (True, "pending")
    (shown,) = ask("GET", "/api/cloud/jobs?limit=20")["jobs"]
    assert (shown["job_id"], shown["job_type"]) == (made["job_id"], "local")
    full = ask("GET", "/api/queue/stats")
    assert (full["queue_depth"], full["by_status"]["pending"], full["by_status"]["completed"]) == (1, 1, 0)
    limits = (full["user_max_concurrent"], full["team_max_concurrent"], full["enable_fair_share"])
    assert limits == (1, 10, QueueState.objects.get().fair_share)

    short = made["job_id"][:12]
    assert ask("GET", f"/api/cloud/jobs/{short}")["job"]["job_id"] == made["job_id"]
    assert ask("POST", f"/api/cloud/jobs/{short}/cancel")["success"] is True
    assert ask("GET", "/api/queue/stats")["queue_depth"] == 0


def test_what_cannot_be_submitted_is_said_before(web_server: str, alice: User, acme: Organization) -> None:
    two = {"max_train_steps": 10, "--max_train_steps": 20}
    configs.store_config(alice, acme, "two", two, [])
    configs.store_config(alice, acme, "endless", {"num_train_epochs": 3}, [])
    ask = CommandLine(web_server, alice)
    checked = ask("POST", "/api/configs/two/validate")
    assert checked["valid"] is False
    assert "max_train_steps" in checked["errors"][0]
    assert checked["errors"][0] in ask("POST", "/api/queue/submit", {"config_name": "two"})["error"]
    assert "Time and cost can't be estimated" in ask("POST", "/api/configs/endless/validate")["warnings"][0]
    assert "no stored config called “none”" in ask("POST", "/api/queue/submit", {"config_name": "none"})["error"]
    assert "error" in ask("POST", "/api/configs/none/validate")
    assert "Unknown field" in ask("POST", "/api/queue/submit", {"config_name": "two", "gpus": 2})["error"]


def test_a_dry_run_at_a_provider(web_server: str, alice: User, fake: FakeReplicate) -> None:
    ProviderConfig.objects.update_or_create(name="replicate", defaults={"cost_per_second": {"h100": 0.0015}})
    ask = CommandLine(web_server, alice)
    validation = ask("GET", "/api/cloud/replicate/validate")
    assert (validation["valid"], validation["error"]) == (True, None)
    prices = ask("GET", "/api/cloud/providers/replicate/config")["config"]["hardware_info"]
    assert prices == {"h100": {"name": "h100", "cost_per_second": 0.0015}}
    assert "error" in ask("GET", "/api/cloud/nowhere/validate")
    assert "error" in ask("GET", "/api/cloud/providers/nowhere/config")
