"""Every address of the site, with the ids of alice's things filled in, for those who walk along all of them."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from django.apps import apps
from django.contrib.auth.models import User
from django.contrib.contenttypes.models import ContentType
from django.core.files.uploadedfile import SimpleUploadedFile
from django.http import HttpResponseBase, QueryDict
from django.test import Client
from django.urls import URLPattern, URLResolver, get_resolver
from django.utils.regex_helper import normalize
from rest_framework.test import APIClient

from approvals.models import ApprovalRequest, ApprovalRule
from cloudtrain_site.audit.recording import OPERATOR
from cloudtrain_site.notices.channels import Owner, add_channel
from cloudtrain_site.notices.models import Channel
from jobs.models import Invitation, Job, Organization, ProviderConfig, SavedView, Tag, TrainingConfig
from jobs.organizations.invitations import invite
from jobs.organizations.saved_lists import save_view
from jobs.organizations.service_accounts import make_service_account
from jobs.organizations.tags import add_tag
from jobs.roles import Role
from queueing.models import Budget, QueueState
from tests.dataset_archives import make_zip
from tests.web import body_of

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
    save_view("alices-view", QueryDict("search=alices-search"), by=alice, organization=acme)
    acme.refresh_from_db()
    invite(acme, Role.VIEWER, by=OPERATOR, email="alices-friend@example.org")
    make_service_account(acme, "alices-program", Role.RESEARCHER, by=OPERATOR)
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


def patterns(resolver: URLResolver, prefix: str = "/") -> Iterator[tuple[str, list[str]]]:
    """Every address, with `%(name)s` where something is filled in, and the names of that."""
    for item in resolver.url_patterns:
        [(path, names), *_] = normalize(item.pattern.regex.pattern)
        if isinstance(item, URLPattern):
            yield prefix + path, names
        else:
            yield from patterns(item, prefix + path)


#: What stands for a part of an address only where the address begins so.
SPECIAL = {
    "/jobs/%(job_id)s/parts/": {"name": "history"},
    "/jobs/chosen/": {"name": "cancel"},
    "/api/configs/": {"name": "alices-config"},
}


def routes(held: ApprovalRequest) -> list[tuple[str, str]]:
    """Every address as `urls.py` has it, and filled in with the ids of alice's things."""
    assert held.requested_by is not None
    values = {
        "job_id": held.job_id,
        "request_id": held.pk,
        "pk": held.pk,
        "rule_id": held.requirements.get().rule_id,
        "upload_id": held.job.dataset_id,
        "name": "local",
        "organization": held.organization,
        "organization_id": held.organization_id,
        "rest": "anything",
        "account": "alices-program",
        "user": held.requested_by,
        "config_id": TrainingConfig.objects.get().pk,
        "user_id": held.requested_by_id,
        "invitation_id": Invitation.objects.get().pk,
        "token": "ct_of-nobody",
        "budget_id": Budget.objects.get().pk,
        "channel_id": Channel.objects.get().pk,
        "tag_id": Tag.objects.get().pk,
        "view_id": SavedView.objects.get().pk,
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
    for route, names in patterns(get_resolver()):
        missing = set(names) - values.keys() - {"object_id"}
        assert not missing, f"Say in this test what stands for {missing} in {route}."
        special = next((parts for begin, parts in SPECIAL.items() if route.startswith(begin)), {})
        filled = {**values, **special}
        found.append((route, route % {name: filled.get(name) or first_of_its_kind(route, held) for name in names}))
    return found


def addresses(held: ApprovalRequest) -> list[str]:
    """Every address, filled in with the ids of alice's things."""
    return [address for _, address in routes(held)]


def first_of_its_kind(path: str, held: ApprovalRequest) -> object:
    """The id of the oldest row that an admin page is about: alice's, since all of hers is older than the others'."""
    parts = path.split("/")
    if parts[1] != "admin" or parts[2] == "r":
        return held.job_id
    row = apps.get_model(parts[2], parts[3])._default_manager.order_by("pk").first()
    return 1 if row is None else row.pk


def is_well(response: Any) -> bool:
    """Whether it is no error of ours: a provider that can't be reached is none, nor what is done another way here."""
    return response.status_code < 500 or response.json()["code"] in ("provider_unavailable", "not_here")


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
