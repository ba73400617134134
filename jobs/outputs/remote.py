"""Where a training brought its results by itself: a repository at Hugging Face, a bucket of S3.

The config names the place, and the log tells of uploads. Both are the trainer's word: an address becomes a link only
when it is one of a known host, over https, with nothing in it that could be a secret.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, urlsplit

from jobs.configs.ai_toolkit import sections_of
from jobs.configs.option_names import plain_name
from jobs.configs.reading import value_of
from jobs.logs import read_log, size_of
from jobs.models import Job

HUB = "https://huggingface.co/"
#: At the hub, and at Amazon's S3: `bucket.s3.region.amazonaws.com`.
LINKED_HOSTS = re.compile(r"(?:huggingface\.co|(?:[a-z0-9.-]{3,63}\.)?s3(?:[.-][a-z0-9-]{1,30})?\.amazonaws\.com)")
REPOSITORY = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,95}/[A-Za-z0-9][A-Za-z0-9_.-]{0,95}")
BUCKET = re.compile(r"[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")
#: A line that tells of an upload, and the address in it.
UPLOAD = re.compile(r"(?i)\b(?:push|upload|publish|synced)")
ADDRESS = re.compile(r"(?:https|s3)://[A-Za-z0-9._~/%+=-]{4,300}")
#: The end of a log, where the last upload stands.
LOG_BYTES = 200_000
MAX_COPIES = 10


@dataclass(frozen=True, slots=True)
class RemoteCopy:
    """`address` is "" for a place that no browser opens; `is_told`: the log tells of an upload there."""

    place: str
    address: str = ""
    is_told: bool = False


def remote_copies(job: Job) -> list[RemoteCopy]:
    """Return where the results of `job` are besides here, each place once; those that the log tells of come first."""
    told = list(_told_in_log(job)) if job.is_terminal and job.external_id else []
    named = [copy for copy in _named_in(job.config) if not any(one.place.startswith(copy.place) for one in told)]
    return list({copy.place: copy for copy in [*told, *named]}.values())[:MAX_COPIES]


def _named_in(config: Mapping[str, Any]) -> Iterator[RemoteCopy]:
    repository = value_of(config, "hub_model_id")
    if value_of(config, "push_to_hub") in (True, "true", "True", 1) and isinstance(repository, str):
        yield from _at_hub(repository)
    kohya = {plain_name(key): value for key, value in config.items()}.get("huggingface_repo_id")
    if isinstance(kohya, str):
        yield from _at_hub(kohya)
    for _, section in sections_of(config):
        save = section.get("save")
        if isinstance(save, Mapping) and save.get("push_to_hub") is True and isinstance(save.get("hf_repo_id"), str):
            yield from _at_hub(save["hf_repo_id"])
    yield from _published(value_of(config, "publishing_config"))


def _at_hub(repository: str) -> Iterator[RemoteCopy]:
    if REPOSITORY.fullmatch(repository):
        yield RemoteCopy(f"{HUB}{repository}", f"{HUB}{repository}")


def _published(value: Any) -> Iterator[RemoteCopy]:
    """Yield the buckets of SimpleTuner's `publishing_config`: an object, a list of them, or the same as JSON text."""
    if isinstance(value, str):
        try:
            value = json.loads(value)
        except ValueError:  # the path of a file
            return
    for target in value if isinstance(value, list) else [value]:
        if isinstance(target, Mapping) and isinstance(bucket := target.get("bucket"), str) and BUCKET.fullmatch(bucket):
            prefix = next((target[key] for key in ("base_path", "prefix") if isinstance(target.get(key), str)), "")
            place = f"s3://{bucket}/{quote(prefix.strip('/'))}".rstrip("/")
            yield RemoteCopy(place[:300])


def _told_in_log(job: Job) -> Iterator[RemoteCopy]:
    """Yield the addresses in the log's last lines that tell of an upload, the last first."""
    text = read_log(job, start=max(0, size_of(job) - LOG_BYTES), limit=LOG_BYTES).text
    for line in reversed(text.splitlines()):
        if UPLOAD.search(line):
            for address in ADDRESS.findall(line[:2000]):
                yield from _shown(address.rstrip(".,/"))


def _shown(address: str) -> Iterator[RemoteCopy]:
    parts = urlsplit(address)
    if parts.scheme == "s3" and BUCKET.fullmatch(parts.netloc):
        yield RemoteCopy(address, is_told=True)
    elif parts.scheme == "https" and LINKED_HOSTS.fullmatch(parts.netloc) and parts.path.strip("/"):
        yield RemoteCopy(address, address, is_told=True)
