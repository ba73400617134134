"""The checks that make a submission request from a request's body, or from a job to repeat."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from django.contrib.auth.models import User
from django.core import exceptions
from rest_framework.exceptions import ValidationError

from approvals.intake import SubmissionRequest
from cloudtrain_site.encryption import SecretsLostError
from cloudtrain_site.notices.targets import RefusedAddressError, check_address
from cloudtrain_site.redaction import mask_text
from jobs.configs.reading import ConfigReading, read_config
from jobs.configs.secrets import CONFIG_COLUMNS, SECRET_COLUMNS, Sealed, unsealed_columns
from jobs.configs.store import find_config
from jobs.configs.submission import Submission
from jobs.datasets.store import upload_in
from jobs.models import Job, Organization, ProviderConfig
from jobs.organizations.settings import hardware_for, provider_for
from jobs.permissions import choose_organization, default_organization, is_superuser
from jobs.providers import UnknownProviderError, get_provider, names
from jobs.providers.inspection import findings_on, objection_to_dataset, objections_to, remarks_on
from jobs.providers.settings import default_hardware
from jobs.runs.origin import Origin
from jobs.runs.submitting import check_checkpoint, origin_in, with_parents_checkpoint, with_parents_secrets
from jobs.tags.tagging import chosen_tags, tags_by_job
from jobs.validators import is_plain_name
from queueing.waiting.obstacles import obstacles_at

UNNAMED = "untitled"


def read_submission(
    user: User, provider: str, body: dict[str, Any], *, source: str, idempotency_key: str
) -> SubmissionRequest:
    """Return the request in a checked SubmitBody. Raises ValidationError or PermissionDenied; stores nothing.

    `provider`: "" for the organization's default.
    """
    origin = origin_in(user, body)
    in_organization = origin.parent.organization.name if origin.parent and origin.parent.organization else ""
    name = in_organization or body["organization"]
    organization, is_guess = (choose_organization(user, name), False) if name else default_organization(user)
    provider = _provider(organization, provider)
    config, dataloader, config_name = _config_of(user, organization, body)
    columns = {"config": config, "dataloader_config": body.get("dataloader_config", dataloader)}
    columns = with_parents_secrets(user, origin, {**columns, "webhook_url": body["webhook_url"]})
    columns["config"] = with_parents_checkpoint(origin, provider, columns["config"])
    _check_config(provider, columns["config"], columns["dataloader_config"])
    reading = read_config(columns["config"], columns["dataloader_config"])
    provider_config = ProviderConfig.of(provider)
    submission = Submission(
        **columns,
        provider=provider,
        config_name=config_name,
        hardware_profile=_hardware(
            provider, provider_config, hardware_for(organization, provider, body["hardware_profile"])
        ),
        tracker_run_name=body["tracker_run_name"],
        dataset=_dataset(user, organization, provider, body["dataset"]),
        max_cost_usd=body["max_cost_usd"],
        tags=_tags(organization, body["tags"]),
        fuse_action=body["fuse_action"],
    )
    return SubmissionRequest(
        user=user,
        organization=organization,
        submission=submission,
        source=source,
        idempotency_key=idempotency_key or body["idempotency_key"],
        warnings=(
            *([f"No organization named. Using {organization.name}."] if is_guess and not body["parent"] else ()),
            *_warnings(user, submission, reading, provider_config),
        ),
        origin=origin,
        provider_config=provider_config,
        reading=reading,
        findings=tuple(findings_on(provider, columns["config"], columns["dataloader_config"])),
    )


def repeat_submission(user: User, job: Job, *, source: str, idempotency_key: str) -> SubmissionRequest:
    """Return a request to run `job` again, exactly as it was. Raises ValidationError for a job of no organization."""
    if job.organization is None:
        raise ValidationError("This job was not submitted here, so it can't be repeated.")
    if job.provider not in names():
        raise ValidationError({"provider": str(UnknownProviderError(job.provider))})
    columns = _unsealed(job, SECRET_COLUMNS)
    _check_config(job.provider, columns["config"], columns["dataloader_config"])
    if job.checkpoint and job.checkpoint_of:
        check_checkpoint(job.checkpoint_of, job.checkpoint, job.provider)
    provider_config = ProviderConfig.of(job.provider)
    submission = Submission(
        **columns,
        provider=job.provider,
        config_name=job.config_name,
        hardware_profile=_hardware(job.provider, provider_config, job.hardware_profile),
        tracker_run_name=job.tracker_run_name,
        dataset=_dataset(user, job.organization, job.provider, job.dataset_id or ""),
        max_cost_usd=job.max_cost_usd,
        tags=tuple(tags_by_job([job]).get(job.pk, ())),
        fuse_action=job.fuse_action,
    )
    return SubmissionRequest(
        user,
        job.organization,
        submission,
        source,
        idempotency_key,
        warnings=(*_uncallable(submission), *obstacles_at(job.provider, provider_config)),
        origin=Origin(retry_of=job),
        provider_config=provider_config,
        findings=tuple(findings_on(job.provider, columns["config"], columns["dataloader_config"])),
    )


def _tags(organization: Organization, names: Sequence[str]) -> tuple[str, ...]:
    try:
        return tuple(tag.name for tag in chosen_tags(organization, names))
    except exceptions.ValidationError as error:
        raise ValidationError(error.message_dict) from error


def _dataset(user: User, organization: Organization, provider: str, upload_id: str) -> str:
    """Return the id of an upload of `organization` that the provider can take, or an empty one.

    Raises ValidationError when there is none, or none any more, and when it is too large for the provider.
    """
    if not upload_id:
        return ""
    upload = upload_in(user, organization, upload_id)
    if upload is None:
        message = f"{organization.name} has no dataset “{upload_id}”. It may have been removed: upload it again."
        raise ValidationError({"dataset": message})
    if objection := objection_to_dataset(provider, upload.size):
        raise ValidationError({"dataset": objection})
    return upload_id.lower()


def _config_of(user: User, organization: Organization, body: dict[str, Any]) -> tuple[dict[str, Any], list[Any], str]:
    """Return config, dataloader config and name. Raises ValidationError for an unknown stored config."""
    if "config" in body:
        config = body["config"]
        return config, [], body.get("config_name") or _name_in(config)
    name = body["config_name_to_load"]
    stored = find_config(user, name, organization)
    if stored is None:
        raise ValidationError({"config_name_to_load": f"{organization.name} has no stored config called “{name}”."})
    if "config_name" not in body:
        _check_stored_name(stored.name)
    columns = _unsealed(stored, CONFIG_COLUMNS)
    return columns["config"], columns["dataloader_config"], stored.name


def _check_stored_name(name: str) -> None:
    """Raises ValidationError for a name from before names were checked."""
    if not is_plain_name(name):
        raise ValidationError(
            {"config_name": "A job can't have the stored config's name. Send another one as config_name."}
        )


def _unsealed(row: Sealed, columns: Sequence[str]) -> dict[str, Any]:
    """Return the columns with their secrets, which a repetition needs. Raises ValidationError when they are lost."""
    try:
        return unsealed_columns(row, columns)
    except SecretsLostError as error:
        raise ValidationError({"config": str(error)}) from None


def _name_in(config: dict[str, Any]) -> str:
    """Return the run's name in the config if it is fit as a config's name, else UNNAMED."""
    reading = read_config(config)
    return next((name for name in (reading.run_name, reading.family) if name and _is_name(name)), UNNAMED)


def _is_name(text: str) -> bool:
    return 0 < len(text) <= 100 and is_plain_name(text) and mask_text(text) == text


def _provider(organization: Organization, requested: str) -> str:
    try:
        return provider_for(organization, requested)
    except exceptions.ValidationError as error:
        raise ValidationError(error.message_dict) from error


def _hardware(provider: str, config: ProviderConfig, requested: str) -> str:
    if not config.enabled:
        raise ValidationError({"provider": f"{provider} is disabled."})
    profiles = get_provider(provider).hardware()
    hardware = requested or default_hardware(config, profiles)
    if hardware not in profiles:
        raise ValidationError({"hardware_profile": f"{provider} has no “{hardware}”. It has: {', '.join(profiles)}."})
    return hardware


def _check_config(provider: str, config: dict[str, Any], dataloader: list[Any]) -> None:
    """Refuse what contradicts itself, and what the provider would refuse after the wait, e.g. a secret in clear."""
    if objections := objections_to(provider, config, dataloader):
        raise ValidationError({"config": objections})


def _warnings(user: User, submission: Submission, reading: ConfigReading, provider_config: ProviderConfig) -> list[str]:
    obstacles = obstacles_at(submission.provider, provider_config)
    remarks = remarks_on(submission.provider, submission.config, reading, to_superuser=is_superuser(user))
    return [*_uncallable(submission), *obstacles, *remarks]


def _uncallable(submission: Submission) -> list[str]:
    """Return why its webhook_url is never called, as far as its text shows."""
    try:
        if submission.webhook_url:
            check_address(submission.webhook_url)
    except RefusedAddressError as error:
        return [f"webhook_url will not be called. {error}"]
    return []
