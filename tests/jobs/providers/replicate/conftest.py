"""What the tests of Replicate's client share."""

from __future__ import annotations

import pytest

from examples.fake_replicate import FakeReplicate
from jobs.providers.replicate.access import Access
from jobs.providers.replicate.provider import ReplicateProvider, SubmissionSettings


@pytest.fixture
def provider(fake: FakeReplicate) -> ReplicateProvider:
    return ReplicateProvider(Access(fake.url, fake.token), SubmissionSettings())
