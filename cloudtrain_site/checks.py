"""The checks of the configuration for `manage.py check`. A bad logging configuration stops the start before them."""

from __future__ import annotations

import os
import pwd
import shlex
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from django.conf import settings
from django.core import checks

from cloudtrain_site.conf.environment import ConfigurationError
from cloudtrain_site.conf.providers import Instance, ReplicateInstance, Secret
from cloudtrain_site.enterprise import QUEUE_ENABLED, get_enterprise_config
from cloudtrain_site.tracing import spans

BOOLEANS = (
    *("DEBUG", "SECURE_COOKIES", "SECURE_SSL_REDIRECT"),
    *("SECURE_HSTS_INCLUDE_SUBDOMAINS", "SECURE_HSTS_PRELOAD"),
)
BOOLEAN_WORDS = frozenset(("true", "on", "ok", "y", "yes", "1", "false", "off", "n", "no", "0", ""))


def register_checks() -> None:
    """Register them all. To be called when the apps are ready; harmless twice."""
    for check in (
        check_enterprise_file,
        check_booleans,
        check_data_folder,
        check_replicate_address,
        check_instances,
        check_secret_files,
        check_tracing,
    ):
        checks.register(check, "configuration")


def check_enterprise_file(**kwargs: Any) -> list[checks.CheckMessage]:
    """Report a file that can't be read, an empty one, and one that disables the queue."""
    try:
        config = get_enterprise_config()
    except ConfigurationError as error:
        return [checks.Error(str(error), id="cloudtrain.E001")]
    if config.path and not config.path.stat().st_size:
        hint = "Fill it in like simpletuner-enterprise.example.yaml, or remove it."
        return [checks.Warning(f"{config.path} is empty: the defaults are in force.", hint=hint, id="cloudtrain.W002")]
    place = config.sources.get(QUEUE_ENABLED)
    if place and not config.queue_enabled_as_written:
        message = f"{QUEUE_ENABLED} is false in {place}, but the queue is always processed."
        return [checks.Warning(message, hint="Pause the queue with POST /api/queue/concurrency.", id="cloudtrain.W001")]
    return []


def check_booleans(**kwargs: Any) -> list[checks.CheckMessage]:
    """Report unknown values, which Django would take for false."""
    return [
        checks.Error(f"{name} is {os.environ[name]!r}, but it must be true or false.", id="cloudtrain.E002")
        for name in BOOLEANS
        if os.environ.get(name, "").lower() not in BOOLEAN_WORDS
    ]


def check_data_folder(**kwargs: Any) -> list[checks.CheckMessage]:
    """Report a data folder that can't be written to: it holds database, logs and outputs."""
    folder = settings.DATA_DIR
    if folder.exists() and not (folder.is_dir() and os.access(folder, os.W_OK | os.X_OK)):
        message = f"This account can't write to the data folder {folder}."
        return [
            checks.Error(
                message, hint="Set SIMPLETUNER_DATA_DIR to a folder that it can write to.", id="cloudtrain.E003"
            )
        ]
    return []


def check_replicate_address(**kwargs: Any) -> list[checks.CheckMessage]:
    """Report an invalid address, which would fail at each request to Replicate as a broken connection."""
    url = os.environ.get("REPLICATE_BASE_URL", "")
    if not url or _is_address(url):
        return []
    hint = "Set it to something like https://api.replicate.com, without the /v1, or unset it."
    return [checks.Error("REPLICATE_BASE_URL must be http:// or https:// and a host.", hint=hint, id="cloudtrain.E004")]


def check_instances(**kwargs: Any) -> list[checks.CheckMessage]:
    """Report declared providers whose folder isn't there, and accounts that are two.

    The site starts all the same: a folder may be mounted later.
    """
    try:
        declared = get_enterprise_config().instances.values()
    except ConfigurationError:
        return []  # the file's own check reports it
    problems = [f"Provider {one.name}: {problem}" for one in declared for problem in _problems_of(one)]
    return [checks.Warning(problem, id="cloudtrain.W003") for problem in (*problems, *_same_accounts(declared))]


def check_secret_files(**kwargs: Any) -> list[checks.CheckMessage]:
    """Report files of secrets that can't be read, each with the command that mends it.

    The site starts all the same: a secret may be mounted later. What needs it fails until then.
    """
    try:
        config = get_enterprise_config()
    except ConfigurationError:
        return []  # the file's own check reports it
    secrets = [
        (f"providers.{one.name}", secret)
        for one in config.instances.values()
        for secret in (one.token, getattr(one, "key", Secret()))
    ]
    if config.sign_in.sso:
        secrets.append(("sso", config.sign_in.sso.client_secret))
    return [
        checks.Warning(f"{section}: {problem}", hint=_mend(secret.file), id="cloudtrain.W005")
        for section, secret in secrets
        if secret.file and (problem := _problem_of(secret))
    ]


def check_tracing(**kwargs: Any) -> list[checks.CheckMessage]:
    """Report an endpoint that no traces are sent to. The site starts all the same."""
    problem = spans.problem()
    hint = spans.INSTALL if "not installed" in problem else f"Set {spans.ENDPOINT}=http://HOST:4318, or unset it."
    return [checks.Warning(problem, hint=hint, id="cloudtrain.W006")] if problem else []


def _problem_of(secret: Secret) -> str:
    try:
        return "" if secret.read_bytes().strip() else f"{secret.file} is empty."
    except ConfigurationError as error:
        return str(error)


def _mend(file: Path) -> str:
    """Return what makes the file readable for this account, as a sentence."""
    closed = next((folder for folder in reversed(file.parents) if _is_closed(folder)), None)
    if closed:
        return f"Let this account into the folder: sudo chmod o+x {shlex.quote(str(closed))}"
    if file.is_dir():
        return "Name a file, not a folder."
    quoted = shlex.quote(str(file))
    if os.access(file, os.R_OK, effective_ids=True) or not file.exists():
        return f"Store the secret there, from standard input: install -D -m 600 /dev/stdin {quoted}"
    return f"Let this account read it: sudo chown {_account()} {quoted}"


def _is_closed(folder: Path) -> bool:
    return folder.is_dir() and not os.access(folder, os.X_OK, effective_ids=True)


def _account() -> str:
    """Return this process's account; in a container it may have a number alone."""
    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        return str(os.geteuid())


def _problems_of(instance: Instance) -> Iterator[str]:
    folder = getattr(instance, "shared_folder", None)
    if folder and not folder.is_dir():
        yield f"the shared folder {folder} is missing. Mount it here and on all nodes under this path."
    elif folder and not os.access(folder, os.W_OK | os.X_OK):
        yield f"the shared folder {folder} is not one that this account may write to."


def _same_accounts(declared: Iterable[Instance]) -> Iterator[str]:
    """Yield a sentence for each account at Replicate that two names stand for: its jobs would be found twice."""
    names = {(os.environ.get("REPLICATE_BASE_URL", "").rstrip("/"), os.environ.get("REPLICATE_API_TOKEN")): "replicate"}
    for instance in declared:
        if isinstance(instance, ReplicateInstance):
            try:
                account = (instance.address, instance.token.read())
            except ConfigurationError:
                continue
            first = names.setdefault(account, instance.name)
            if first != instance.name:
                yield f"{first} and {instance.name} share a token, so trainings created elsewhere are found twice."


def _is_address(url: str) -> bool:
    try:
        parts = urlsplit(url)
        return parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False  # invalid brackets, or an invalid port
