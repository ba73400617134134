"""What can be said of a config before it is submitted: objections, which refuse it, and remarks, which don't."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from typing import Any

from cloudtrain_site.enterprise import config_in_force
from jobs.configs.known_keys import Finding, findings_in
from jobs.configs.option_lists import OptionListError
from jobs.configs.reading import ConfigReading, contradictions
from jobs.configs.secrets import objection_to_masks
from jobs.providers import get_provider
from jobs.providers.base import Inspects, NeedsAccess, does
from jobs.providers.datasets import LimitsDatasets

logger = logging.getLogger("simpletuner.cloud.jobs")

#: To those who can't set a token.
NO_ACCESS = "This site may have no access to {}: the job may fail or wait. Ask a superuser before you submit it."


def objections_to(provider: str, config: Mapping[str, Any], dataloader: Sequence[Any]) -> list[str]:
    """Return why a job with this config can't be submitted: the first kind of objection that there is."""
    if sentences := contradictions(config):
        return list(sentences)
    if objection := objection_to_masks(config=config, dataloader_config=dataloader):
        return [objection]
    implementation = get_provider(provider)
    objection = implementation.objection(config, dataloader) if does(implementation, Inspects) else ""
    return [objection] if objection else []


def objection_to_dataset(provider: str, size: int) -> str:
    """Return why the provider can't take a dataset whose archive has `size` bytes; empty when it can."""
    implementation = get_provider(provider)
    return implementation.dataset_objection(size) if isinstance(implementation, LimitsDatasets) else ""


def remarks_on(provider: str, config: Mapping[str, Any], reading: ConfigReading, *, to_superuser: bool) -> list[str]:
    """Return sentences that the submitter of this config should read. Superusers read what the server lacks."""
    remarks = [f"Time and cost can't be estimated: {reading.doubt}"] if reading.doubt else []
    implementation = get_provider(provider)
    lack = implementation.missing_access() if does(implementation, NeedsAccess) else ""
    if lack:
        remarks.append(lack if to_superuser else NO_ACCESS.format(implementation.label))
    return [*remarks, *(implementation.remarks(config) if does(implementation, Inspects) else ())]


def findings_on(provider: str, config: Mapping[str, Any], dataloader: Sequence[Any]) -> list[Finding]:
    """Return what looks like a mistake in a config, see `known_keys`. None while an operator's list can't be used."""
    try:
        return findings_in(provider, config, dataloader, config_in_force().option_lists)
    except OptionListError as error:
        logger.warning("A config is not looked at", extra={"reason": str(error)})
        return []
