"""What the tests of the approvals share."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from django.contrib.auth.models import User

from approvals.intake import Outcome, SubmissionRequest, submit
from approvals.models import ApprovalRequest, ApprovalRule
from cloudtrain_site.states import Source
from jobs import providers
from jobs.configs.submission import Submission
from jobs.models import Membership
from tests.providers import ScriptedProvider

CONFIG = {"max_train_steps": 10, "learning_rate": 1e-4}


@pytest.fixture
def first_job_rule(db: None) -> ApprovalRule:
    """Holds everybody's jobs until one has been handed to a provider."""
    return ApprovalRule.objects.create(name="first_job", first_job=True)


@pytest.fixture
def submission_request(alice: User) -> Callable[..., SubmissionRequest]:
    """A submission of alice's: defaults, and what the test says."""

    def make(*, user: User = alice, key: str = "", **fields: Any) -> SubmissionRequest:
        submission = Submission(
            **{"provider": "local", "config": CONFIG, "config_name": "flux", "hardware_profile": "cpu", **fields}
        )
        organization = Membership.objects.get(user=user).organization
        return SubmissionRequest(user, organization, submission, Source.API, idempotency_key=key)

    return make


@pytest.fixture
def held(submission_request: Callable[..., SubmissionRequest], first_job_rule: ApprovalRule) -> Outcome:
    """A job of alice's that waits for an approval."""
    return submit(submission_request())


@pytest.fixture
def request_(held: Outcome) -> ApprovalRequest:
    """The request about it."""
    return ApprovalRequest.objects.select_related("job").get()


@pytest.fixture
def provider(monkeypatch: pytest.MonkeyPatch) -> ScriptedProvider:
    """What stands in for every provider that there is."""
    scripted = ScriptedProvider()
    monkeypatch.setattr(providers, "_PROVIDERS", {name: lambda: scripted for name in providers._PROVIDERS})
    return scripted
