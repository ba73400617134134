"""The first visit, in three steps: the first account, its organization, and a first job from an example."""

from __future__ import annotations

import json
from typing import Any

from allauth.account.utils import perform_login
from django import forms
from django.contrib.auth.decorators import login_required
from django.core.exceptions import PermissionDenied, ValidationError
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.cache import never_cache
from django.views.decorators.debug import sensitive_post_parameters
from django.views.decorators.http import require_http_methods
from rest_framework.exceptions import APIException

from approvals.intake import submit
from approvals.submissions import read_submission
from cloudtrain_site.accounts.first_link import is_first_link
from cloudtrain_site.api import checked, current_user
from cloudtrain_site.conf.places import COMMAND
from cloudtrain_site.enterprise import config_in_force
from cloudtrain_site.errors import sentences_of
from cloudtrain_site.limits import brakes
from cloudtrain_site.states import Source
from jobs.api.submission_serializers import SubmitBody
from jobs.configs.examples import EXAMPLES
from jobs.dashboard.invitation_views import NewAccountForm
from jobs.models import Organization
from jobs.organizations.first_account import make_first_account, make_first_organization
from jobs.permissions import is_superuser, organizations_of
from jobs.roles import SUBMITTERS

EXAMPLE = json.loads(EXAMPLES[0].text)
STEPS = ("Your account", "Your organization", "A first job")


class OrganizationForm(forms.Form):
    """The name of the first organization. The verb checks it."""

    name = forms.CharField(
        max_length=100,
        label="Name",
        help_text="Letters from a to z, digits, hyphens and underscores. The name is part of addresses.",
        widget=forms.TextInput(attrs={"class": "input", "autocapitalize": "none", "spellcheck": "false"}),
    )


@never_cache
@sensitive_post_parameters("password")
@require_http_methods(["GET", "HEAD", "POST"])
def first_account(request: HttpRequest, token: str) -> HttpResponse:
    """Make the first account with the link that the server printed. 404 once there is one."""
    if not config_in_force().sign_in.has_local_passwords:
        raise Http404
    attempt = brakes.begin(brakes.LINK.key(brakes.address_of(request)))
    if not is_first_link(token):
        attempt.failed("The link of the first account was refused", address=brakes.address_of(request))
        return render(request, "approvals/first_visit_ended.html", {"command": COMMAND}, status=404)
    attempt.succeeded()
    form = NewAccountForm(request.POST or None)
    if request.method == "POST" and form.is_valid():
        values = form.cleaned_data
        try:
            user = make_first_account(token, values["username"], values["password"], email=values["email"])
        except ValidationError as error:
            _show(error, form)
        except Http404:  # another browser was faster
            return render(request, "approvals/first_visit_ended.html", {"command": COMMAND}, status=404)
        else:
            perform_login(request, user, email_verification="none")
            return redirect("first-organization")
    return _step(request, 1, form=form)


@never_cache
@login_required
@require_http_methods(["GET", "HEAD", "POST"])
def first_organization(request: HttpRequest) -> HttpResponse:
    """Make the first organization, with its maker as admin."""
    _check_superuser(request)
    if Organization.objects.exists():
        return redirect("first-job")
    form = OrganizationForm(request.POST or None)
    if request.method == "POST" and form.is_valid():
        try:
            make_first_organization(form.cleaned_data["name"], by=current_user(request))
        except ValidationError as error:
            _show(error, form)
        else:
            return redirect("first-job")
    return _step(request, 2, form=form)


@never_cache
@login_required
@require_http_methods(["GET", "HEAD", "POST"])
def first_job(request: HttpRequest) -> HttpResponse:
    """Submit the example to this machine's sample trainer; sent twice, it is one job."""
    _check_superuser(request)
    user = current_user(request)
    organization = organizations_of(user, SUBMITTERS).first()
    if organization is None:
        return redirect("dashboard" if Organization.objects.exists() else "first-organization")
    problem = ""
    if request.method == "POST":
        fields = {"config": EXAMPLE, "config_name": "first-run", "organization": organization.name}
        try:
            body = checked(SubmitBody, fields)
            key = f"first-job-{user.pk}"
            submission = read_submission(user, "local", body, source=Source.DASHBOARD, idempotency_key=key)
            return redirect("job-page", submit(submission).job.pk)
        except APIException as error:
            problem = " ".join(sentences_of(error.detail))
    return _step(request, 3, problem=problem, example=EXAMPLE.items(), organization=organization)


def _step(request: HttpRequest, number: int, **context: Any) -> HttpResponse:
    steps = [{"label": label, "is_here": at == number, "is_done": at < number} for at, label in enumerate(STEPS, 1)]
    status = 400 if request.method == "POST" else 200
    around = {"steps": steps, "number": number, "title": STEPS[number - 1]}
    return render(request, f"approvals/first_visit_{number}.html", {**around, **context}, status=status)


def _check_superuser(request: HttpRequest) -> None:
    if not is_superuser(request.user):
        raise PermissionDenied


def _show(error: ValidationError, form: forms.Form) -> None:
    for name, sentences in error.message_dict.items():
        form.add_error(name if name in form.fields else None, sentences)
