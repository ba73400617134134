"""The API against its own schema: whatever comes in, the answer is one that the schema tells of, and never a 5xx."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, cast

import pytest
import schemathesis
from django.contrib.auth.models import User
from django.core.signals import request_finished, request_started
from django.core.wsgi import get_wsgi_application
from django.db import close_old_connections
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis.errors import Unsatisfiable
from schemathesis import GenerationMode
from schemathesis.checks import content_type_conformance, response_schema_conformance, status_code_conformance

from approvals.intake import SubmissionRequest, submit
from approvals.models import ApprovalRequest, ApprovalRule
from cloudtrain_site.accounts.key_authentication import KEY_HEADER
from cloudtrain_site.compatibility.elsewhere import SIMPLETUNER
from cloudtrain_site.correlation_ids import HEADER
from cloudtrain_site.models import ApiKey
from cloudtrain_site.states import Source
from jobs.configs.store import store_config
from jobs.configs.submission import Submission
from jobs.models import DatasetUpload, Job, Organization
from jobs.roles import Role
from jobs.statuses import JobStatus
from tests.factories import make_user

pytestmark = [
    pytest.mark.slow,
    pytest.mark.long,
    pytest.mark.django_db,
    # These requests come without a server; a real one reads such a response as it is sent.
    pytest.mark.filterwarnings("ignore:StreamingHttpResponse must consume asynchronous iterators"),
]

#: The same requests every time: a build must not turn red by luck.
SETTINGS = settings(
    derandomize=True,
    database=None,
    deadline=None,
    phases=[Phase.generate],
    suppress_health_check=list(HealthCheck),
)
#: Of an answer: its status code, its media type and its fields.
IS_DOCUMENTED = [status_code_conformance, content_type_conformance, response_schema_conformance]
OPEN = ("/api/cloud/health/live", "/api/cloud/health/ready")
UPLOAD = ("post", "/api/cloud/uploads")
WELL_FORMED, MALFORMED = GenerationMode.POSITIVE, GenerationMode.NEGATIVE


@pytest.fixture
def one_connection() -> Iterator[None]:
    """The end of a request leaves the test's transaction alone, as with Django's own test client."""
    for signal in (request_started, request_finished):
        signal.disconnect(close_old_connections)
    yield
    for signal in (request_started, request_finished):
        signal.connect(close_old_connections)


@dataclass
class Caller:
    """Somebody who tries out the API as its schema tells them."""

    key: str
    #: Shows no key, and so is refused whatever the request: one of each kind is enough.
    is_anonymous: bool = False

    def operations(self) -> list[Any]:
        """Every operation of the schema but SimpleTuner's, whose requests test_simpletuner_commands.py sends."""
        schema = schemathesis.openapi.from_wsgi("/api/schema", get_wsgi_application(), headers={KEY_HEADER: self.key})
        found = [result.ok() for result in cast(Any, schema).get_all_operations()]
        return [operation for operation in found if SIMPLETUNER not in operation.tags]

    def attempt(self, operation: Any, mode: GenerationMode, **found_at: str) -> bool:
        """Send generated requests that the schema allows, or such that it doesn't; `found_at` stands in their path.

        False: the operation takes nothing that could be wrong.
        """

        @settings(SETTINGS, max_examples=1 if self.is_anonymous else 5)
        @given(case=operation.as_strategy(mode, path_parameters=found_at or None))
        def send(case: Any) -> None:
            response = case.call(headers={} if self.is_anonymous else {KEY_HEADER: self.key})
            assert_kept(response)
            assert (response.status_code == 401) == (self.is_anonymous and operation.path not in OPEN)
            case.validate_response(response, checks=IS_DOCUMENTED)

        try:
            send()
        except Unsatisfiable:
            return False
        return True


@pytest.fixture
def bobs(bob: User, one_connection: None) -> Caller:
    """Bob, a lead: whatever there is to be done, he may do."""
    return Caller(ApiKey.objects.create(user=bob, name="contract")[1])


@pytest.fixture
def nobodys(bobs: Caller) -> Caller:
    """Somebody who has read the schema, and shows no key."""
    return Caller(bobs.key, is_anonymous=True)


@pytest.fixture
def onlookers(acme: Organization, one_connection: None) -> Caller:
    """A viewer: there is much that may be looked at, and nothing that may be done."""
    viewer = make_user("vera", acme, Role.VIEWER)
    return Caller(ApiKey.objects.create(user=viewer, name="contract")[1])


def assert_kept(response: Any) -> None:
    """A correlation id, errors in the contract's shape, and of the 5xx only the one that blames a provider."""
    [correlation_id] = response.headers[HEADER.lower()]
    if response.status_code < 400:
        return
    body = response.json()
    assert response.status_code < 500 or body["code"] in ("provider_unavailable", "not_here"), body
    assert body.keys() - {"errors"} == {"detail", "code", "correlation_id"}, body
    assert body["correlation_id"] == correlation_id
    texts = [body["detail"], body["code"], *(text for texts in body.get("errors", {}).values() for text in texts)]
    assert all(text and isinstance(text, str) for text in texts), body


def parameters_of(operation: Any) -> set[str]:
    """What stands in the operation's path."""
    return {parameter.name for parameter in operation.path_parameters}


# Under ASGI files are streamed; this client reads them whole.
@pytest.mark.filterwarnings("ignore:StreamingHttpResponse must consume asynchronous iterators")
@pytest.mark.parametrize(("mode", "at_least"), [(WELL_FORMED, 30), (MALFORMED, 20)])
def test_made_up_requests(bobs: Caller, mode: GenerationMode, at_least: int) -> None:
    assert sum(bobs.attempt(operation, mode) for operation in bobs.operations()) >= at_least


@pytest.mark.parametrize("status", [JobStatus.RUNNING, JobStatus.FAILED])
def test_requests_about_a_job(bobs: Caller, make_job: Callable[..., Job], status: str) -> None:
    job = make_job(status=status, external_id="made-up")
    found = [operation for operation in bobs.operations() if parameters_of(operation) == {"job_id"}]
    assert all(bobs.attempt(operation, WELL_FORMED, job_id=job.pk) for operation in found)


@pytest.mark.parametrize("mode", [WELL_FORMED, MALFORMED])
@pytest.mark.parametrize("who", ["bobs", "onlookers"])
def test_requests_about_what_is_held_and_stored(
    request: pytest.FixtureRequest, who: str, mode: GenerationMode, held: ApprovalRequest, acme: Organization
) -> None:
    caller: Caller = request.getfixturevalue(who)
    assert held.requested_by is not None
    store_config(held.requested_by, acme, "local", {"max_train_steps": 1}, [])
    # A provider has the same name as the config.
    found_at = {"job_id": held.job_id, "request_id": str(held.pk), "name": "local", "upload_id": _upload_of(held)}
    for operation in caller.operations():
        names = parameters_of(operation)
        if names and names <= found_at.keys():
            caller.attempt(operation, mode, **{name: found_at[name] for name in names})


def test_requests_without_a_key(nobodys: Caller) -> None:
    assert all(nobodys.attempt(operation, WELL_FORMED) for operation in nobodys.operations())


def test_an_upload_is_a_form_with_a_file(bobs: Caller) -> None:
    (found,) = [operation for operation in bobs.operations() if (operation.method, operation.path) == UPLOAD]
    (body,) = found.body
    assert body.media_type == "multipart/form-data"
    assert body.definition["schema"]["properties"]["file"] == {"type": "string", "format": "binary"}


def _upload_of(held: ApprovalRequest) -> str:
    """A dataset of whoever asked."""
    columns = {"kind": "zip", "size": 9, "sha256": "0" * 64, "files": 1, "unpacked_size": 9, "stored_on": "here"}
    owner = {"organization": held.job.organization, "uploaded_by": held.requested_by}
    return str(DatasetUpload.objects.create(name="toys.zip", **owner, **columns).pk)


@pytest.fixture
def held(alice: User, acme: Organization) -> ApprovalRequest:
    """A request about a job of alice's."""
    ApprovalRule.objects.create(name="first_job", first_job=True)
    submission = Submission("local", {"max_train_steps": 1}, "held", "cpu")
    approval = submit(SubmissionRequest(alice, acme, submission, Source.API)).approval
    assert approval is not None
    return approval
