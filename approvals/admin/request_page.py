"""The texts on the page of one request."""

from __future__ import annotations

from typing import Any

from django import forms
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString
from django.utils.timesince import timesince

from approvals.decisions import MAX_NOTES_CHARS
from approvals.models import ApprovalRequest, ApprovalRule, Requirement
from approvals.queries import changes_of
from approvals.reviewers import who_decides
from approvals.statuses import RequestStatus
from cloudtrain_site.wording.values import price
from jobs.configs.reading import read_config
from jobs.costs.estimates import step_range
from jobs.costs.prices import rate_of
from jobs.costs.texts import cost_texts
from jobs.fuses.actions import CENT, HIGHEST
from jobs.models import Job, ProviderConfig
from jobs.providers import label_of
from jobs.providers.hardware_names import hardware_label
from jobs.roles import Role

MAX_LAST_JOBS = 5
#: The jobs that a rule holds, by the criterion that it sets.
CRITERION_TEXTS = {
    "cost_exceeds": "jobs above ${} or of unknown cost",
    "first_job": "jobs of a user until one has been submitted to a provider",
    "provider": "jobs for {}",
    "hardware": "jobs on {}",
    "config_name": "configs called {}",
    "role_at_most": "submitters up to {}",
    "jobs_in_day_exceed": "more than {} jobs of a user in 24 hours",
}
CRITERION_VALUES = {"cost_exceeds": "{:,.2f}".format, "provider": label_of, "hardware": hardware_label}


def how_estimated(job: Job) -> str:
    """Return how the cost is estimated by the present figures, in words."""
    provider = ProviderConfig.of(job.provider)
    reading, rate = read_config(job.config, job.dataloader_config), rate_of(provider, job.hardware_profile)
    if reading.doubt:
        return f"No estimate: {reading.doubt}"
    pace, source = step_range(provider, reading, job.hardware_profile)
    if pace is None:
        return f"No estimate: {source}"
    seconds = f"{pace.low:.3g}" if pace.low == pace.high else f"{pace.low:.3g} to {pace.high:.3g}"
    duration = f"{reading.steps} steps of about {seconds} s ({source})"
    if rate is None:
        return f"{duration}; no price is set for {hardware_label(job.hardware_profile)} at {label_of(job.provider)}."
    rated = f"at {price(rate)}" if rate else "$0.00 (own hardware)"
    return f"{duration}, {rated} on {hardware_label(job.hardware_profile)}."


def requirement_text(requirement: Requirement) -> str:
    """Return the rule's criteria and who decides, as sentences."""
    rule = requirement.rule
    condition = condition_text(rule) if rule else "The rule was deleted"
    return f"{condition}. Needs {approvals_text(requirement)}.{limit_text(requirement)}"


def rule_text(rule: ApprovalRule) -> str:
    """Return what a rule in force holds, and who decides, as sentences."""
    return f"{condition_text(rule)}. Needs {approvals_text(rule)}.{limit_text(rule)}"


def condition_text(rule: ApprovalRule) -> str:
    """Return which jobs the rule holds: "Holds jobs for local, jobs on gpu-*"."""
    return f"Holds {held_jobs_text(rule)}"


def held_jobs_text(rule: ApprovalRule) -> str:
    held = ", ".join(_criterion(name, value) for name, value in rule.condition().items()) or "every job"
    exempt = [f"{Role(role).label.lower()}s" for role in rule.exempt_roles]
    return f"{held}, not those of {' and '.join(exempt)}" if exempt else held


def approvals_text(requirement: Requirement | ApprovalRule) -> str:
    """Return the approvals that are asked for: "2 approvals by leads and admins"."""
    needed = requirement.approvals_needed
    return f"{needed} approval{'s' if needed > 1 else ''} by {who_decides(requirement)}"


def limit_text(requirement: Requirement | ApprovalRule) -> str:
    """Return what such a job may cost, as a sentence after a blank; empty: the rule sets no limit."""
    limit = requirement.max_cost_usd
    return "" if limit is None else f" Cost limit: ${limit:,.2f}."


def _criterion(name: str, value: Any) -> str:
    shown = CRITERION_VALUES.get(name, str)(value)
    return CRITERION_TEXTS.get(name, f"{name.replace('_', ' ')} {{}}").format(shown)


def limit_of(request: ApprovalRequest) -> str:
    """Return what the job may cost, or what a running one asks for."""
    if request.raise_to_usd is not None:
        job = request.job
        may = "any amount" if job.max_cost_usd is None else f"${job.max_cost_usd:,.2f}"
        return f"running, has cost ${job.cost_usd:,.2f} of {may}, requests ${request.raise_to_usd:,.2f}"
    return "any amount" if request.up_to_usd is None else f"up to ${request.up_to_usd:,.2f}"


def last_jobs(request: ApprovalRequest) -> SafeString:
    """Return the requester's last jobs in the organization, and how they ended."""
    jobs = Job.objects.kept().filter(submitted_by=request.requested_by_id, organization=request.organization_id)
    recent = jobs.exclude(pk=request.job_id).order_by("-id").defer("config", "dataloader_config")[:MAX_LAST_JOBS]
    held = set(ApprovalRequest.objects.filter(job__in=list(recent), status=RequestStatus.PENDING).values_list("job"))
    lines = [
        (
            job.config_name,
            "Held" if (job.pk,) in held else job.get_status_display(),
            _cost_of(job),
            timesince(job.created_at),
        )
        for job in recent
    ]
    return _listed("{}: {}, {}, {} ago", lines, "This is the requester's first job")


def _cost_of(job: Job) -> str:
    return "cost not known" if job.known_cost is None else cost_texts(job)[0] or "no cost yet"


def notes(request: ApprovalRequest) -> SafeString:
    lines = [
        (
            decision.name,
            f"{decision.verdict}s",
            " without the reviewers" if decision.bypass else "",
            decision.reason or "no reason given",
        )
        for decision in request.decisions.all()
    ]
    return _listed("<strong>{}</strong> {}{}: {}", lines, "No decisions yet")


def requirements(request: ApprovalRequest) -> SafeString:
    """Return the rules that hold the job as a list: what each says, and how many of its approvals are there."""
    required = list(request.requirements.all())
    lines = [
        (
            item.rule_name,
            requirement_text(item),
            # The reason of a single rule is the request's.
            f" {item.reason}" if len(required) > 1 else "",
            f"{item.approvals_given} of {item.approvals_needed}",
        )
        for item in required
    ]
    return _listed("<strong>{}</strong>: {}{} {} approvals.", lines, "No rules")


def changes(request: ApprovalRequest) -> SafeString:
    """Return what differs from the requester's last approved config, as a list."""
    changed = changes_of([request])[request.pk]
    lines: list[tuple[Any, ...]] = [*change_lines(changed)]
    return _listed("{}: <del>{}</del> → <ins>{}</ins>", lines, no_changes_text(changed))


def change_lines(changed: dict[str, Any] | None) -> list[tuple[str, str, str]]:
    """Return key, old and new value of each entry of `changes_of`, shortened."""
    return [(key, _short(values["old"]), _short(values["new"])) for key, values in (changed or {}).items()]


def no_changes_text(changed: dict[str, Any] | None) -> str:
    """Return in words why there are no changes."""
    return "No earlier approval to compare with" if changed is None else "Same as the last approved config"


def _short(value: Any) -> str:
    text = "not set" if value is None else str(value)
    return text if len(text) <= 200 else f"{text[:200]}…"


def _listed(pattern: str, lines: list[tuple[Any, ...]], nothing: str) -> SafeString:
    if not lines:
        return format_html("{}", nothing)
    # The patterns are constants of this module; texts of users are arguments, and so are escaped.
    items = format_html_join("", f"<li>{pattern}</li>", lines)
    return format_html('<ul class="review-list">{}</ul>', items)


#: An amount that a reviewer may leave out.
AMOUNT: dict[str, Any] = {
    "max_digits": 12,
    "decimal_places": 4,
    "min_value": CENT,
    "max_value": HIGHEST,
    "required": False,
    "widget": forms.NumberInput(attrs={"step": "0.01", "inputmode": "decimal"}),
}


class DecisionForm(forms.Form):
    decision = forms.ChoiceField(choices=[("approve", "approve"), ("reject", "reject")], widget=forms.HiddenInput)
    reason = forms.CharField(
        max_length=MAX_NOTES_CHARS,
        required=False,
        label="Reason",
        help_text="The requester reads the reason. Required for a rejection.",
        widget=forms.Textarea(attrs={"rows": 3, "cols": 60}),
    )

    up_to_usd = forms.DecimalField(
        **AMOUNT,
        label="Up to, in US dollars",
        help_text="When you approve: the job is cancelled before it costs more. Leave empty to set no limit.",
    )

    bypass = forms.BooleanField(
        required=False,
        label="Decide without the other reviewers",
        help_text="Your approval alone is enough. Give a reason; it is recorded.",
    )

    def __init__(self, *args: Any, needs_reason: bool = False, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if needs_reason:
            self.fields["reason"].help_text = "The requester reads the reason. Required."

    def clean(self) -> dict[str, Any]:
        """Refuse a rejection without a reason."""
        cleaned = super().clean() or self.cleaned_data
        if cleaned.get("decision") == "reject" and not cleaned.get("reason"):
            self.add_error("reason", "Give a reason. The requester reads it.")
        return cleaned

    def sentences(self) -> list[str]:
        """Return all errors, for messages."""
        return [str(message) for messages in self.errors.values() for message in messages]
