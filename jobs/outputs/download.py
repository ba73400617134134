"""Copying the files of a training from its provider.

A file is copied for TASK_SECONDS at a time, since a task has a minute: the next task goes on where the last one
stopped, also after a crash. Only hosts of the provider are asked: an address is the training's word, and could lead
into our own network.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO
from urllib.parse import unquote, urlsplit

import httpx

from cloudtrain_site.enterprise import config_in_force
from cloudtrain_site.http_client import get_async_client
from jobs.models import Job, OutputFetch
from jobs.outputs.errors import FetchError
from jobs.outputs.store import fetched_root
from jobs.providers import get_provider
from jobs.providers.base import DeletesOutput, ProviderError

TASK_SECONDS = 30.0
TIMEOUT = httpx.Timeout(connect=5.0, read=20.0, write=20.0, pool=None)
#: Of at most four bytes each: a name has 255 bytes.
MAX_NAME_CHARACTERS = 60
TEXT_NAME = "output.txt"
PARTIAL = ".partial"


async def copy(fetch: OutputFetch) -> bool:
    """Copy the sources that are missing, one after the other. False: the time is over. Raises FetchError."""
    until = time.monotonic() + TASK_SECONDS
    root = fetched_root(fetch.job)
    names = names_for(fetch.sources)
    try:
        for folder in (root, _partial_folder(fetch.job)):
            folder.mkdir(parents=True, exist_ok=True)
        async with get_async_client(timeout=TIMEOUT, follow_redirects=False) as client:
            for place in range(fetch.fetched, len(fetch.sources)):
                source, target = fetch.sources[place], root / names[place]
                if not _is_address(source):
                    target.write_text(source)
                elif not await _download(client, fetch, source, target, until):
                    return False
                fetch.fetched = place + 1
        shutil.rmtree(_partial_folder(fetch.job), ignore_errors=True)
    except OSError as error:
        raise FetchError(f"The results can't be written: {error.strerror or error}.") from error
    return True


async def _download(client: httpx.AsyncClient, fetch: OutputFetch, source: str, target: Path, until: float) -> bool:
    """Copy one file, from where the last try stopped. False: the time is over. Raises FetchError."""
    _require_host(fetch.job, source)
    partial = _partial_folder(fetch.job) / target.name
    start = partial.stat().st_size if partial.exists() else 0
    headers = {"Accept-Encoding": "identity", **({"Range": f"bytes={start}-"} if start else {})}
    try:
        async with client.stream("GET", source, headers=headers) as response:
            if response.status_code == httpx.codes.REQUESTED_RANGE_NOT_SATISFIABLE and start:
                partial.replace(target)  # the last try had all of it, and could not say so any more
                return True
            _require_success(response)
            is_part = response.status_code == httpx.codes.PARTIAL_CONTENT
            with partial.open("ab" if is_part else "wb") as file:
                if not is_part:
                    fetch.bytes_fetched -= start
                is_whole = await _write(fetch, response, file, until)
    except httpx.InvalidURL as error:
        raise FetchError("The provider gave an invalid address for the results.", permanent=True) from error
    except httpx.HTTPError as error:
        raise FetchError(f"The results can't be read: {type(error).__name__}.") from error
    if is_whole:
        partial.replace(target)
    return is_whole


async def _write(fetch: OutputFetch, response: httpx.Response, file: BinaryIO, until: float) -> bool:
    limit = config_in_force().outputs.fetch_limit_mb * 1_000_000
    async for piece in response.aiter_raw():
        if fetch.bytes_fetched + len(piece) > limit:
            message = f"The results are larger than {limit // 1_000_000:,} MB, the limit of this site."
            raise FetchError(message, permanent=True)
        file.write(piece)
        fetch.bytes_fetched += len(piece)
        if time.monotonic() > until:
            return False
    return True


def _partial_folder(job: Job) -> Path:
    """Return where files lie until they are whole: beside the results, so that no list has them."""
    return fetched_root(job).with_name(f"{job.pk}{PARTIAL}")


def _require_success(response: httpx.Response) -> None:
    """Raise FetchError for anything but a file."""
    code = response.status_code
    if code in (httpx.codes.OK, httpx.codes.PARTIAL_CONTENT):
        return
    if code in (httpx.codes.NOT_FOUND, httpx.codes.GONE, httpx.codes.FORBIDDEN):
        raise FetchError("The provider has deleted the results.", permanent=True)
    raise FetchError(f"The provider answered {code} for the results.", permanent=response.is_redirect)


def _require_host(job: Job, source: str) -> None:
    try:
        provider = get_provider(job.provider)
    except ProviderError as error:
        raise FetchError(str(error)) from error
    if not isinstance(provider, DeletesOutput) or not provider.serves_output(source):
        message = f"The results are not on a host of {provider.label}: {source[:200]}"
        raise FetchError(message, permanent=True)


def _is_address(source: str) -> bool:
    return source.startswith(("https://", "http://"))


def names_for(sources: Sequence[str]) -> list[str]:
    """Return a name for each source: its address's last part, made unlike the others."""
    names: list[str] = []
    for place, source in enumerate(sources):
        name = _name_of(source)
        names.append(f"{place + 1}-{name}" if name in names else name)
    return names


def _name_of(source: str) -> str:
    if not _is_address(source):
        return TEXT_NAME
    name = unquote(urlsplit(source).path).rstrip("/").rpartition("/")[2]
    plain = "".join(character if character.isprintable() else "_" for character in name).lstrip(".")
    return plain.replace("/", "_")[-MAX_NAME_CHARACTERS:] or "output"
