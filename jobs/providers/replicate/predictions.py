"""Conversion between Replicate's predictions and our values. No request is made here."""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from itertools import chain, islice
from typing import Any
from urllib.parse import urlencode, urlsplit, urlunsplit

from cloudtrain_site.redaction import is_secret_name, mask_secrets
from jobs.configs.option_names import full_name
from jobs.configs.reading import keys_of, read_config, value_of
from jobs.models.provider import WEBHOOK_PATH
from jobs.providers.base import DiscoveredTraining, ProviderError, Snapshot, TrainingSpec
from jobs.providers.figures import is_moment
from jobs.providers.first_step import first_step
from jobs.providers.progress import read_progress
from jobs.statuses import ACTIVE, PROVIDER_WORDS, JobStatus
from jobs.validators import made_plain

logger = logging.getLogger("simpletuner.cloud.providers")

#: The model decides the hardware: there is one for each of these profiles.
PROFILES = ("h100", "h100-x2", "h100-x4", "h100-x8", "l40s", "l40s-x2", "l40s-x4", "l40s-x8")
MODEL_PREFIX = "advanced-trainer-"
MODEL = f"simpletuner/{MODEL_PREFIX}{{profile}}"
MARKER_PARAMETER = "ct"
#: Replicate redacts these inputs once the model has them; all others can be read through its API.
SECRET_INPUTS = ("hf_token", "s3_access_key", "s3_secret_key")
#: Progress is read from the end of the log: a megabyte of it would say nothing more.
PROGRESS_TAIL_CHARACTERS = 65_536
#: Kept of one prediction: each may have 2000 characters.
MAX_OUTPUTS = 100
MARKER = re.compile(r"ct-[0-9a-f]{24}")


def is_prediction(body: Any) -> bool:
    """Whether `body` is a prediction: only `id` is required, in characters that a database takes."""
    if not isinstance(body, Mapping) or not isinstance(body.get("id"), str):
        return False
    return 0 < len(body["id"]) <= 128 and body["id"].isprintable()


def read_snapshot(body: Any) -> Snapshot:
    """Return a prediction's JSON as a snapshot. Raises ProviderError for any other JSON."""
    if not is_prediction(body):
        raise ProviderError("Replicate's answer is not a prediction.")
    status = _status(body)
    log = _text(body.get("logs"))
    metrics = body.get("metrics")
    seconds = _number(metrics.get("predict_time")) if isinstance(metrics, Mapping) else None
    progress = read_progress(log[-PROGRESS_TAIL_CHARACTERS:]) if log else None
    outputs = _outputs(body.get("output"))
    return Snapshot(
        external_id=body["id"],
        status=status,
        started_at=_moment(body.get("started_at")),
        completed_at=_moment(body.get("completed_at")) if status not in ACTIVE else None,
        error_message=_text(body.get("error")) or None,
        output_url=next(iter(outputs), None),
        progress=progress,
        metadata=_metadata(body, outputs[1:]),
        billed_seconds=seconds,
        hardware=profile_of(_text(body.get("model"))),
        log=log or None,
        data_removed=body.get("data_removed") is True,
        first_step=first_step(log, progress.total) if progress and status == JobStatus.COMPLETED else None,
    )


def _status(body: Mapping[str, Any]) -> Any:
    text = _text(body.get("status"))
    status = PROVIDER_WORDS.get(text)
    if status is None:
        logger.warning("Unknown status at Replicate", extra={"external_id": body["id"], "status": text[:40]})
    return status


def _text(value: Any) -> str:
    """Return `value` as text that a database takes; empty for anything that isn't text."""
    if not isinstance(value, str):
        return ""
    return value.encode("utf-8", "replace").decode().replace("\x00", " ")


def _moment(value: Any) -> datetime | None:
    try:
        at = datetime.fromisoformat(_text(value))
    except ValueError:
        return None
    return at if at.tzinfo else at.replace(tzinfo=UTC)


def _number(value: Any) -> float | None:
    """Return a number as it is; the snapshot refuses what no duration can be, as a huge negative one was."""
    return None if isinstance(value, bool) or not isinstance(value, int | float) else value


def _outputs(value: Any) -> list[str]:
    """Return the trainer's output: an address or a sentence, or the addresses in a list or an object in their order.

    An object's weights, or else its version, come first.
    """
    named = [_text(value)]
    if isinstance(value, Mapping):
        named = [_text(value.get("weights")) or _text(value.get("version"))]
    found = (text[:2000] for text in chain(named, _addresses_in(value)) if text)
    return list(dict.fromkeys(islice(found, MAX_OUTPUTS)))


def _addresses_in(value: Any) -> Iterator[str]:
    waiting = [value]
    while waiting:
        item = waiting.pop()
        if isinstance(item, Mapping):
            waiting.extend(reversed(list(item.values())))
        elif isinstance(item, list):
            waiting.extend(reversed(item))
        elif _text(item).startswith(("https://", "http://")):
            yield _text(item)


def _metadata(body: Mapping[str, Any], more: Sequence[str]) -> dict[str, Any]:
    urls = body.get("urls")
    web = _text(urls.get("web")) if isinstance(urls, Mapping) else ""
    texts = {"web_url": web, "model": _text(body.get("model")), "version": _text(body.get("version"))}
    return {name: text[:500] for name, text in texts.items() if text} | ({"more_outputs": more} if more else {})


def profile_of(model: str) -> str | None:
    """Return the hardware that a model runs on; None for a model that isn't the trainer's."""
    profile = model.partition(":")[0].rpartition("/")[2].removeprefix(MODEL_PREFIX)
    return profile if profile in PROFILES else None


def markers_in(body: Any) -> set[str]:
    """Return the submission markers in a listed prediction's input or webhook address.

    A prediction from Replicate's web page has none: there a person has run one of ours again, with its input.
    """
    if not isinstance(body, Mapping) or body.get("source") == "web":
        return set()
    inputs = body.get("input")
    config = inputs.get("config_json") if isinstance(inputs, Mapping) else None
    return set(MARKER.findall(_text(config)) + MARKER.findall(_text(body.get("webhook"))))


def read_discovered(body: Any) -> DiscoveredTraining:
    snapshot = read_snapshot(body)
    inputs = body.get("input") if isinstance(body.get("input"), Mapping) else {}
    config, dataloader = _json(inputs.get("config_json")), _json(inputs.get("dataloader_json"))
    config = config if isinstance(config, dict) else {}
    name = _text(read_config(config).run_name) or _text(body.get("model"))
    marker, made_at = min(markers_in(body), default=None), _moment(body.get("created_at"))
    return DiscoveredTraining(
        snapshot=snapshot,
        created_at=made_at if made_at and is_moment(made_at) else datetime.now(UTC),
        name=made_plain(MARKER.sub("", name).strip(" -"))[:200] or "untitled",
        config=mask_secrets(config),
        dataloader_config=mask_secrets(dataloader) if isinstance(dataloader, list) else [],
        marker=marker,
    )


def _json(text: Any) -> Any:
    try:
        return json.loads(_text(text))
    except (ValueError, RecursionError):
        return None


def write_input(spec: TrainingSpec) -> dict[str, Any]:
    """Return the inputs of today's predictor. Raises ProviderError for a secret that Replicate would show in clear."""
    config = dict(spec.config)
    inputs: dict[str, Any] = _pop_secrets(config)
    lycoris = value_of(config, "lycoris_config")
    if isinstance(lycoris, Mapping):
        _pop(config, "lycoris_config")
        inputs["lycoris_config"] = json.dumps(lycoris)
    repository = value_of(config, "hub_model_id")
    if "hf_token" in inputs and isinstance(repository, str):
        inputs["hub_model_id"] = repository
    _refuse_secrets({"config": config, "dataloader_config": list(spec.dataloader_config)})
    name = f"{_run_name(spec, config)} {spec.marker}".strip()
    _pop(config, "tracker_run_name")
    config["tracker_run_name"] = name
    inputs["config_json"] = json.dumps(config)
    if spec.dataloader_config:
        inputs["dataloader_json"] = json.dumps(list(spec.dataloader_config))
    if spec.dataset:
        inputs["images"] = spec.dataset
    return inputs


def _pop(config: dict[str, Any], option: str) -> list[Any]:
    """Remove `option` from `config` in each of its spellings, and return the values that it had."""
    return [config.pop(key) for key in keys_of(config, option)]


def _pop_secrets(config: dict[str, Any]) -> dict[str, str]:
    """Remove the secret inputs from `config` and return them. Raises ProviderError for one that isn't text."""
    secrets = {name: value for name in SECRET_INPUTS for value in _pop(config, name) if value}
    for name, value in secrets.items():
        if not isinstance(value, str):
            raise ProviderError(f"{name} must be text.", permanent=True, nothing_created=True)
    return secrets


def objection_to(config: Mapping[str, Any], dataloader_config: Sequence[Any]) -> str:
    """Return why no prediction can be made of this config; empty when one can."""
    try:
        write_input(TrainingSpec("", config, dataloader_config, "", "", ""))
    except ProviderError as error:
        return str(error)
    return ""


def remarks_on(config: Mapping[str, Any]) -> Sequence[str]:
    """Return sentences about the secrets in this config: where they go, and which one is missing."""
    keys = {full_name(key) for key, value in config.items() if value}
    secrets = [name for name in SECRET_INPUTS if name in keys]
    sentences = [f"{', '.join(secrets)}: sent to Replicate as a secret input, and to nobody else."] if secrets else []
    if "hub_model_id" in keys and "hf_token" not in keys:
        sentences.append("hub_model_id is set, but hf_token is not: the trainer can't push the model.")
    return sentences


def _run_name(spec: TrainingSpec, config: Mapping[str, Any]) -> str:
    """Return the name without the marker of an earlier submission, which a config read from a prediction has."""
    name = spec.tracker_run_name or _text(read_config(config).run_name)
    return MARKER.sub("", name).strip()


def _refuse_secrets(shown: Mapping[str, Any]) -> None:
    names = secret_names(shown)
    if names:
        raise ProviderError(
            f"{', '.join(names)}: anybody who can read the prediction at Replicate would see this. "
            f"Only {', '.join(SECRET_INPUTS)} can hold secrets.",
            permanent=True,
            nothing_created=True,
        )


def secret_names(value: Any, path: str = "") -> Sequence[str]:
    """Return the dotted paths of the secrets in `value`."""
    items: list[tuple[str, Any]] = []
    if isinstance(value, Mapping):
        items = [(f"{path}.{key}" if path else str(key), item) for key, item in value.items()]
    elif isinstance(value, list):
        items = [(f"{path}[{index}]", item) for index, item in enumerate(value)]
    if mask_secrets(value) == value:
        return []
    deeper = [name for where, item in items for name in _secret_below(where, item)]
    return deeper or [path]


def _secret_below(where: str, item: Any) -> Sequence[str]:
    key = where.rpartition(".")[2]
    if isinstance(item, str) and item and is_secret_name(key) and mask_secrets({key: item}) != {key: item}:
        return [where]
    return secret_names(item, where)


def webhook_address(address: str, marker: str, name: str) -> str:
    """Return the address for the webhooks of the provider `name`, with the marker. A bare host gets our path."""
    parts = urlsplit(address)
    path = WEBHOOK_PATH + name if parts.path in ("", "/") else parts.path
    query = "&".join(filter(None, [parts.query, urlencode({MARKER_PARAMETER: marker})]))
    return urlunsplit((parts.scheme, parts.netloc, path, query, ""))
