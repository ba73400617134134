"""Somebody who may see nothing of alice's tries every address there is, with the ids of her things."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from django.apps import apps
from django.contrib import admin
from django.contrib.auth.models import User
from django.contrib.contenttypes.models import ContentType
from django.core.files.uploadedfile import SimpleUploadedFile
from django.http import HttpResponseBase
from django.test import Client
from django.urls import URLPattern, URLResolver, get_resolver
from django.utils.regex_helper import normalize
from rest_framework.test import APIClient

from approvals.models import ApprovalRequest, ApprovalRule
from cloudtrain_site.audit.recording import OPERATOR
from cloudtrain_site.models import ApiKey
from cloudtrain_site.notices.channels import Owner, add_channel
from cloudtrain_site.notices.models import Channel
from jobs.models import Job, Membership, Organization, ProviderConfig, Tag, TrainingConfig
from jobs.organizations.tags import add_tag
from jobs.roles import Role
from queueing.models import Budget, QueueState
from tests.dataset_archives import make_zip
from tests.web import body_of

pytestmark = [pytest.mark.slow, pytest.mark.django_db]

#: What all of alice's things are called; too long to come about in a random token.
HERS = "alices-"
#: Whatever says no, and says nothing else.
REFUSALS = (401, 403, 404, 405)
#: Meant for everybody; what they answer is tested where they are.
OPEN = (
    *("/login", "/logout", "/admin/login/", "/admin/logout/", "/password", "/password/sent", "/password/set"),
    "/login/passkey",
    *("/api/cloud/health/live", "/api/cloud/health/ready", "/api/webhooks/replicate"),
)
#: Its answer has no end; tests/cloudtrain_site/events/test_stream.py says who may read what.
STREAM = "/api/events"

ClientOf = Callable[[User | None], APIClient]


@pytest.fixture
def held(client_of: ClientOf, alice: User, acme: Organization) -> ApprovalRequest:
    """Everything of alice's: a stored config, and a job that a rule of her team holds."""
    QueueState.objects.create()  # or else whoever looks first makes it
    User.objects.filter(pk=alice.pk).update(username="alices-name", email="alices-mail@example.org")
    Organization.objects.filter(pk=acme.pk).update(name="alices-team")
    ApprovalRule.objects.create(name="alices-rule", first_job=True, organization=acme)
    browser = client_of(alice)
    body = {"config": {"max_train_steps": 1, "prompt": "alices-prompt"}}
    assert browser.put("/api/configs/alices-config", body).status_code == 201
    owner = Owner(organization=acme, by=alice)
    add_channel(owner, "webhook", name="alices-hook", addresses=["https://alices-host.example.org"])
    Budget.objects.create(scope="organization", organization=acme, amount=500)
    archive = SimpleUploadedFile("alices-pictures.zip", make_zip())
    uploaded = browser.post("/api/cloud/uploads", {"file": archive}, format="multipart").json()["upload"]
    add_tag(acme, "alices-tag", by=OPERATOR)
    fields = {
        **body,
        "tags": ["alices-tag"],
        "dataset": uploaded["id"],
        "config_name": "alices-training",
        "tracker_run_name": "alices-run",
    }
    answer = browser.post("/api/cloud/jobs/submit", fields, headers={"X-Correlation-ID": "alices-request"})
    assert answer.json()["requires_approval"], answer.json()
    return ApprovalRequest.objects.get()


@pytest.fixture
def loner(db: None) -> User:
    """A user of no organization."""
    return User.objects.create_user("dave")


def patterns(resolver: URLResolver, prefix: str = "/") -> Iterator[tuple[str, list[str]]]:
    """Every address, with `%(name)s` where something is filled in, and the names of that."""
    for item in resolver.url_patterns:
        [(path, names), *_] = normalize(item.pattern.regex.pattern)
        if isinstance(item, URLPattern):
            yield prefix + path, names
        else:
            yield from patterns(item, prefix + path)


def addresses(held: ApprovalRequest) -> list[str]:
    """Every address, filled in with the ids of alice's things."""
    assert held.requested_by is not None
    values = {
        "job_id": held.job_id,
        "request_id": held.pk,
        "pk": held.pk,
        "rule_id": held.requirements.get().rule_id,
        "upload_id": held.job.dataset_id,
        "name": "local",
        "organization": held.organization,
        "account": "alices-program",
        "user": held.requested_by,
        "config_id": TrainingConfig.objects.get().pk,
        "user_id": held.requested_by_id,
        "invitation_id": 1,
        "token": "ct_of-nobody",
        "budget_id": Budget.objects.get().pk,
        "channel_id": Channel.objects.get().pk,
        "tag_id": Tag.objects.get().pk,
        "tag": "alices-tag",
        "provider": "replicate",
        "part": "head",
        "path": "model.safetensors",
        "key_id": "of-nobody",
        "key": "of-nobody",
        "uidb36": "1",
        "id": held.requested_by_id,
        "content_type_id": ContentType.objects.get_for_model(Job).pk,
        "app_label": "jobs",
        "url": "nowhere",
    }
    found = []
    for path, names in patterns(get_resolver()):
        missing = set(names) - values.keys() - {"object_id"}
        assert not missing, f"Say in this test what stands for {missing} in {path}."
        found.append(path % {name: values.get(name) or first_of_its_kind(path, held) for name in names})
    return [*found, "/api/configs/alices-config"]


def first_of_its_kind(path: str, held: ApprovalRequest) -> object:
    """The id of the oldest row that an admin page is about: alice's, since all of hers is older than the others'."""
    parts = path.split("/")
    if parts[1] != "admin" or parts[2] == "r":
        return held.job_id
    row = apps.get_model(parts[2], parts[3])._default_manager.order_by("pk").first()
    return 1 if row is None else row.pk


def text_of(response: HttpResponseBase) -> str:
    """All that the response says."""
    headers = " ".join(f"{name}: {value}" for name, value in response.headers.items())
    return f"{headers} {body_of(response).decode()} {response.cookies.output()}"


def shows_hers(response: Any) -> bool:
    """Whether the response names a thing of hers, but in the address to which the login leads back."""
    asked_for = f"next={response.request['PATH_INFO']}"
    return HERS in text_of(response).lower().replace(asked_for, "")


def walk(person: Client, paths: list[str]) -> Iterator[tuple[str, Any]]:
    """Get each, and post to each what an empty form or an empty body would be."""
    for path in paths:
        kind = "application/json" if path.startswith("/api/") else "application/x-www-form-urlencoded"
        yield f"GET {path}", person.get(path)
        yield f"POST {path}", person.post(path, "{}" if "json" in kind else "", content_type=kind)


def everything() -> list[dict[str, Any]]:
    """Every row of the rooms, to be compared; but for how a provider is doing, which asking it may show."""
    models = [model for room in ("jobs", "queueing", "approvals") for model in apps.get_app_config(room).get_models()]
    kept = [model for model in models if model is not ProviderConfig]
    return [row for model in kept for row in model._default_manager.order_by("pk").values()]


def goes_to_login(response: Any) -> bool:
    return response.status_code == 302 and re.match(r"/(admin/)?login\b", response["Location"]) is not None


def test_nobody_gets_in_anywhere(held: ApprovalRequest) -> None:
    before = everything()
    paths = [path for path in addresses(held) if path not in OPEN]
    for request_line, response in walk(Client(), paths):
        assert response.status_code in REFUSALS or goes_to_login(response), (request_line, response.status_code)
        assert not shows_hers(response), request_line
    assert everything() == before


def test_her_lead_does_learn_of_it_that_way(held: ApprovalRequest, bob: User) -> None:
    browser = Client()
    browser.force_login(bob)
    showing = [path for path in addresses(held) if path not in (*OPEN, STREAM) and shows_hers(browser.get(path))]
    assert len(showing) >= 15  # the walk finds something where there is something to be found


@pytest.mark.parametrize("who", ["charlie", "loner"])
def test_a_stranger_learns_nothing_and_changes_nothing(
    request: pytest.FixtureRequest, held: ApprovalRequest, who: str
) -> None:
    stranger = request.getfixturevalue(who)
    browser = Client()
    browser.force_login(stranger)
    before = everything()
    for request_line, response in walk(browser, [path for path in addresses(held) if path not in (*OPEN, STREAM)]):
        # A provider that can't be reached is nobody's secret.
        assert response.status_code < 500 or response.json()["code"] == "provider_unavailable", request_line
        assert not shows_hers(response), request_line
        if (
            held.job_id in request_line
            or str(held.job.dataset_id) in request_line
            or request_line.endswith("alices-config")
        ):
            assert response.status_code in REFUSALS or response.status_code == 302, (request_line, response.status_code)
    assert everything() == before


def with_key(owner: User, **fields: Any) -> Client:
    return Client(headers={"X-API-Key": ApiKey.objects.create(user=owner, **fields)[1]})


#: They compute an answer and change nothing, so that a key may ask for it that may read.
ANSWERING = ("/api/approvals/rules/preview", "/api/configs/local/validate", "/api/configs/alices-config/validate")


@pytest.mark.parametrize("who", ["bob", "root"])
def test_a_key_that_may_read_changes_nothing(request: pytest.FixtureRequest, held: ApprovalRequest, who: str) -> None:
    owner: User = request.getfixturevalue(who)
    reader = with_key(owner, may_submit=False, may_decide=False, may_administer=False)
    before = everything()
    for path in [path for path in addresses(held) if path not in (*OPEN, STREAM)]:
        for method in ("POST", "PUT", "PATCH", "DELETE"):
            response = reader.generic(method, path, "{}", content_type="application/json")
            # A page knows no key and sends to the login.
            is_refused = response.status_code in REFUSALS or goes_to_login(response)
            assert is_refused or path in ANSWERING, (method, path, response.status_code)
    assert everything() == before
    assert reader.get(f"/api/cloud/jobs/{held.job_id}").status_code == 200


@pytest.mark.parametrize("who", ["bob", "root"])
def test_a_key_for_another_organization_learns_and_changes_nothing(
    request: pytest.FixtureRequest, held: ApprovalRequest, who: str
) -> None:
    owner: User = request.getfixturevalue(who)
    elsewhere = Organization.objects.create(name="elsewhere")
    Membership.objects.create(user=owner, organization=elsewhere, role=Role.ADMIN)
    holder = with_key(owner, organization=elsewhere)
    before = everything()
    for request_line, response in walk(holder, [path for path in addresses(held) if path not in (*OPEN, STREAM)]):
        assert response.status_code < 500 or response.json()["code"] == "provider_unavailable", request_line
        assert not shows_hers(response), request_line
        if held.job_id in request_line or request_line.endswith("alices-config"):
            assert response.status_code in REFUSALS or goes_to_login(response), (request_line, response.status_code)
    for search in SEARCHES:
        path = search.format(job=held.job_id, organization=held.organization_id)
        assert not shows_hers(holder.get(path)), search
    assert everything() == before


SEARCHES = (
    "/?search=lices",
    "/jobs/rows?id={job}",
    "/jobs/{job}/parts/history",
    "/api/cloud/jobs?search=lices&limit=500",
    "/api/cloud/jobs?status=pending&organization=lices-team",
    "/api/approvals?status=pending&limit=500",
    "/api/queue?status=blocked",
    "/admin/jobs/job/?q=lices",
    "/admin/jobs/job/?q={job}",
    "/admin/jobs/job/?organization__id__exact={organization}",
    "/admin/jobs/job/?submitted_by__username__startswith=lice",
    "/admin/approvals/approvalrequest/?organization__id__exact={organization}",
    "/admin/queueing/queueentry/?q={job}&o=-1",
    "/admin/autocomplete/?term=lice&app_label=jobs&model_name=membership&field_name=user",
)


@pytest.mark.parametrize("search", SEARCHES)
def test_a_stranger_who_searches_finds_nothing(held: ApprovalRequest, charlie: User, search: str) -> None:
    browser = Client()
    browser.force_login(charlie)
    path = search.format(job=held.job_id, organization=held.organization_id)
    response = browser.get(path, follow=True)
    assert response.status_code < 500
    assert not shows_hers(response)


def scoped_admin_actions() -> list[tuple[str, str]]:
    """Every action of every page that a lead may see, by the page's address."""
    return [
        (f"/admin/{model._meta.app_label}/{model._meta.model_name}/", name)
        for model, page in admin.site._registry.items()
        for name in page.actions or ()
        if isinstance(name, str)
    ]


def test_a_strangers_admin_actions_reach_nothing(held: ApprovalRequest, charlie: User) -> None:
    browser = Client()
    browser.force_login(charlie)
    before = everything()
    actions = scoped_admin_actions()
    assert len(actions) >= 4
    for page, action in actions:
        chosen = first_of_its_kind(page, held)
        body = {"action": action, "_selected_action": [chosen], "decision": "approve", "reason": "for fun"}
        for response in (browser.post(page, body), browser.get(page)):
            assert response.status_code < 500
            assert not shows_hers(response), (page, action)
    decide = f"/admin/approvals/approvalrequest/{held.pk}/decide"
    assert not shows_hers(browser.post(decide, {"decision": "approve", "reason": "for fun"}, follow=True))
    assert everything() == before


@pytest.mark.parametrize("verb", ["approve", "reject"])
def test_a_strangers_bulk_decision_reaches_nothing(
    held: ApprovalRequest, charlie: User, client_of: ClientOf, verb: str
) -> None:
    before = everything()
    response = client_of(charlie).post(f"/api/approvals/bulk-{verb}", {"ids": [held.pk], "reason": "for fun"})
    assert not shows_hers(response)
    assert everything() == before
