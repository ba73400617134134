"""The people of the tests, and what every room's tests share."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from django.contrib.auth.models import User
from hypothesis import HealthCheck, settings
from rest_framework.test import APIClient

from cloudtrain_site.audit.models import AuditSource
from cloudtrain_site.audit.origin import coming_from
from cloudtrain_site.database import failures, write_probe
from jobs import providers
from jobs.models import Job, Membership, Organization
from jobs.roles import Role
from tests import factories
from tests.accounts import accounts  # noqa: F401
from tests.configuration import write_config  # noqa: F401
from tests.database import django_db_setup  # noqa: F401
from tests.every_address import held  # noqa: F401
from tests.limits import set_limits  # noqa: F401
from tests.providers import ClusterProvider, ScriptedProvider
from tests.web import web_server  # noqa: F401

# Beside others on two cores an example may take any time. `make test` tries more of them than `make quick`.
settings.register_profile("quick", max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.register_profile("thorough", settings.get_profile("quick"), max_examples=100)
settings.load_profile("quick")


@pytest.fixture(autouse=True)
def _outside_of_requests() -> Iterator[None]:
    """Begin and end each test as a command would: the test client's requests leave their origin behind.

    What the process remembers of a database that could not be written to is of an earlier test.
    """
    failures._met_at.clear()
    write_probe.forget_last_probe()
    with coming_from(AuditSource.COMMAND):
        yield


@pytest.fixture
def acme(db: None) -> Organization:
    """The organization that everybody but charlie is in."""
    return Organization.objects.create(name="acme")


@pytest.fixture
def alice(acme: Organization) -> User:
    """A researcher: she submits."""
    return factories.make_user("alice", acme, Role.RESEARCHER)


@pytest.fixture
def bob(acme: Organization) -> User:
    """A lead: he decides."""
    return factories.make_user("bob", acme, Role.LEAD)


@pytest.fixture
def charlie(db: None) -> User:
    """An admin of another organization: he must see nothing."""
    return factories.make_user("charlie", Organization.objects.create(name="other"), Role.ADMIN)


@pytest.fixture
def root(db: None) -> User:
    """A superuser."""
    return User.objects.create_superuser("root", "root@example.org", "unused-password")


@pytest.fixture
def make_job(alice: User) -> Callable[..., Job]:
    """Make a job of alice's: defaults, and what the test says."""

    def make(**fields: Any) -> Job:
        organization = Membership.objects.get(user=alice).organization
        return factories.make_job(**{"organization": organization, "submitted_by": alice, **fields})

    return make


@pytest.fixture
def client_of() -> Callable[[User | None], APIClient]:
    """An API client that is logged in as somebody; None: as nobody."""

    def client(user: User | None) -> APIClient:
        made = APIClient()
        if user is not None:
            made.force_authenticate(user)
        return made

    return client


@pytest.fixture
def committed(django_capture_on_commit_callbacks: Any) -> Iterator[None]:
    """Run what waits for a commit, at the end of the test's `with`-less body, as the real commit would."""
    with django_capture_on_commit_callbacks(execute=True):
        yield


@pytest.fixture
def add_provider(monkeypatch: pytest.MonkeyPatch) -> Callable[[ScriptedProvider], None]:
    """Add a provider to the real ones, under its own name."""

    def add(provider: ScriptedProvider) -> None:
        monkeypatch.setattr(providers, "_PROVIDERS", {**providers._PROVIDERS, provider.name: lambda: provider})

    return add


@pytest.fixture
def lab(add_provider: Callable[[ScriptedProvider], None]) -> ClusterProvider:
    """A cluster called "lab"."""
    provider = ClusterProvider()
    add_provider(provider)
    return provider
