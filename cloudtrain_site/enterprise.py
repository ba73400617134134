"""`simpletuner-enterprise.yaml` as one typed object, read again when it or its part of the environment changes."""

from __future__ import annotations

import logging
import os
import threading
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

from cloudtrain_site.conf import fuses, instances, limits, option_lists, outputs, retention, sign_in
from cloudtrain_site.conf.environment import ConfigurationError, path_of
from cloudtrain_site.conf.fuses import Fuses
from cloudtrain_site.conf.limits import Limits
from cloudtrain_site.conf.outputs import Outputs
from cloudtrain_site.conf.providers import Instance
from cloudtrain_site.conf.retention import Retention
from cloudtrain_site.conf.sign_in import SignIn
from cloudtrain_site.conf.yaml_kinds import boolean, whole_number
from cloudtrain_site.conf.yaml_schema import Kind, ParsedValue, Schema, Text, YamlSource

logger = logging.getLogger("simpletuner.cloud.background")

PATH_VARIABLE = "SIMPLETUNER_ENTERPRISE_CONFIG"
INTERVAL_VARIABLE = "SIMPLETUNER_JOB_POLL_INTERVAL"
MAX_INTERVAL_SECONDS = 86_400
SAMPLE_TRAINER = (
    *("{python}", "-m", "jobs.sample_trainer"),
    *("--config", "{config}", "--dataloader", "{dataloader}", "--output-dir", "{output_dir}"),
)

POLLING_ENABLED = "background.job_status_polling.enabled"
POLLING_INTERVAL = "background.job_status_polling.interval_seconds"
QUEUE_ENABLED = "background.queue_processing.enabled"
QUEUE_INTERVAL = "background.queue_processing.interval_seconds"
PROVIDERS = "providers"
LOCAL_COMMAND = "providers.local.command"
LOCAL_MAX_RUNNING = "providers.local.max_running"
LOCAL_GRACE = "providers.local.grace_seconds"

_INTERVAL = whole_number(1, MAX_INTERVAL_SECONDS, " of seconds")
#: By dotted key, the variable that wins over the file, and its values.
VARIABLES: Mapping[str, tuple[str, Kind]] = {
    POLLING_INTERVAL: (INTERVAL_VARIABLE, _INTERVAL),
    **{key: (name, limits.SCHEMA[key.partition(".")[2]]) for key, name in limits.VARIABLES.items()},
}
_OWN_VARIABLES = tuple(name for name, _ in VARIABLES.values())

# A file that has just been written may be written again within the resolution of its time: not yet to be cached.
_SETTLED_NS = 100_000_000


@dataclass(frozen=True)
class LocalSettings:
    """The settings of this machine's trainings."""

    command: tuple[str, ...] = SAMPLE_TRAINER
    max_running: int = 1
    grace_seconds: int = 10


@dataclass(frozen=True)
class ProviderSections:
    """The file's part of the providers' settings; the rest is in the database."""

    local: LocalSettings = LocalSettings()


@dataclass(frozen=True)
class EnterpriseConfig:
    """The configuration in force: the file's values, the environment's where they win, and the defaults."""

    #: None: not set, and polling is on exactly while no webhook address is set.
    job_polling_explicit: bool | None = None
    job_polling_interval: int = 30
    queue_interval: int = 5
    #: False is not followed: the queue can't be disabled.
    queue_enabled_as_written: bool = True
    providers: ProviderSections = ProviderSections()
    #: The declared providers by name, in the order of the file.
    instances: Mapping[str, Instance] = field(default_factory=dict)
    #: The variables that their secrets came from.
    secret_variables: frozenset[str] = frozenset()
    limits: Limits = field(default_factory=Limits)
    outputs: Outputs = field(default_factory=Outputs)
    fuses: Fuses = field(default_factory=Fuses)
    sign_in: SignIn = field(default_factory=SignIn)
    retention: Retention = field(default_factory=Retention)
    #: By trainer or provider, the file with the options that its configs may have.
    option_lists: Mapping[str, Path] = field(default_factory=dict)
    path: Path | None = None
    #: Dotted key to where its value came from: "FILE:LINE" or "environment NAME". A default has no entry.
    sources: Mapping[str, str] = field(default_factory=dict)

    @property
    def job_polling_enabled(self) -> bool:
        return self.job_polling_explicit is True

    @property
    def local(self) -> LocalSettings:
        return self.providers.local


SCHEMA: Schema = {
    "background": {
        "job_status_polling": {
            "enabled": boolean(),
            "interval_seconds": _INTERVAL,
        },
        "queue_processing": {"enabled": boolean(), "interval_seconds": whole_number(1, 60, " of seconds")},
    },
    PROVIDERS: instances.section(
        {
            "local": {
                "command": instances.command(),
                "max_running": whole_number(1, 1000),
                "grace_seconds": whole_number(0, 3600, " of seconds"),
            },
        }
    ),
    limits.SECTION: limits.SCHEMA,
    outputs.SECTION: outputs.SCHEMA,
    fuses.SECTION: fuses.SCHEMA,
    option_lists.SECTION: option_lists.SCHEMA,
    **sign_in.SCHEMA,
    retention.SECTION: retention.SCHEMA,
}


def find_enterprise_file() -> Path | None:
    """Return the file in force: the one that the environment names, or the first of the usual places with one."""
    found = _find_file()
    return path_of(found) if found else None


# Each request and each pass of a loop calls it, and Path takes several times as long.
def _find_file() -> str | None:
    named = os.environ.get(PATH_VARIABLE)
    if not named:
        return next(filter(os.path.isfile, _usual_places()), None)
    if not os.path.isfile(os.path.expanduser(named)):  # noqa: PTH111, PTH113 - as `path_of`
        path = path_of(named)
        raise ConfigurationError(f"{PATH_VARIABLE} names {path}, which is not a file. Create it, or unset it.")
    return named


def _usual_places() -> Iterator[str]:
    yield "simpletuner-enterprise.yaml"
    home = os.environ.get("HOME")
    if home:
        yield f"{home}/.config/simpletuner/enterprise.yaml"
    yield "/etc/simpletuner/enterprise.yaml"


@dataclass(frozen=True)
class _Reading:
    """A configuration, and the inputs that it was read from."""

    config: EnterpriseConfig
    variables: tuple[str, ...]
    stamp: tuple[object, ...]


class _Memory:
    """The last reading, the last valid configuration, and the logged warnings: each is logged once."""

    last: _Reading | None = None
    in_force: EnterpriseConfig | None = None
    complaint: str | None = None
    warned: ClassVar[set[str]] = set()


class _Held(threading.local):
    """The configuration of this thread's request; `is_held` alone: nobody has asked for it yet."""

    is_held = False
    config: EnterpriseConfig | None = None


_held = _Held()


@contextmanager
def one_configuration() -> Iterator[None]:
    """Have all questions of this thread within the block answered from one look at the file.

    A submission asks a dozen times, and each look takes 10 us; and no request should be decided by two configurations.
    """
    _held.is_held = True
    try:
        yield
    finally:
        _held.is_held, _held.config = False, None


def get_enterprise_config() -> EnterpriseConfig:
    """The configuration in force. Cheap to ask: the file is read only when it, or a variable that it uses, has changed.

    Raises ConfigurationError with file, line, key and what is allowed.
    """
    found = _find_file()
    last = _Memory.last
    identity = _identity(found)
    if last and last.stamp == (found, identity, _environment(last.variables)):
        return last.config
    source = YamlSource(path_of(found), os.environ) if found else None
    config = _Memory.in_force = _config_of(source)
    variables = tuple(sorted(source.variables)) if source else ()
    if identity == _identity(found) and _is_settled(identity):
        _Memory.last = _Reading(config, variables, (found, identity, _environment(variables)))
    return config


def config_in_force() -> EnterpriseConfig:
    """Return the configuration; while it is invalid, this process's last valid one, which is logged once.

    For a running site: an error in the file stops a start, but not a running site. Raises ConfigurationError when there
    has been no valid one yet.
    """
    if _held.config is not None:
        return _held.config
    config = _look_at_config()
    if _held.is_held:
        _held.config = config
    return config


def _look_at_config() -> EnterpriseConfig:
    try:
        config = get_enterprise_config()
    except ConfigurationError as error:
        if _Memory.in_force is None:
            raise
        if _Memory.complaint != str(error):
            _Memory.complaint = str(error)
            logger.error("Configuration can't be used, the one before stays in force", extra={"reason": str(error)})
        return _Memory.in_force
    _Memory.complaint = None
    return config


def _identity(path: str | None) -> tuple[int, ...]:
    try:
        status = os.stat(os.path.expanduser(path)) if path else None  # noqa: PTH111, PTH116 - as `_find_file`
    except OSError:
        status = None  # removed meanwhile: reading it will raise
    return (status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns) if status else ()


def _is_settled(identity: tuple[int, ...]) -> bool:
    return not identity or time.time_ns() - identity[2] > _SETTLED_NS


def _environment(variables: Iterable[str]) -> tuple[str | None, ...]:
    return tuple(map(os.environ.get, (*_OWN_VARIABLES, *variables)))


def _config_of(source: YamlSource | None) -> EnterpriseConfig:
    in_file = source.read(SCHEMA) if source else {}
    declared = in_file.pop(PROVIDERS, ParsedValue({}, 0))
    values = {key: item.value for key, item in in_file.items()}
    sources = {key: f"{source.path}:{line}" for key, line in _lines(in_file, declared)} if source else {}
    for key, (name, kind) in VARIABLES.items():
        if os.environ.get(name):
            values[key] = _number_of_environment(name, kind)
            sources[key] = f"environment {name}"
    if values.get(QUEUE_ENABLED) is False:
        _warn_once(f"{QUEUE_ENABLED} is false in {sources[QUEUE_ENABLED]}, but the queue is always processed")
    default = EnterpriseConfig()
    local = default.local
    return EnterpriseConfig(
        job_polling_explicit=values.get(POLLING_ENABLED),
        job_polling_interval=values.get(POLLING_INTERVAL, default.job_polling_interval),
        queue_interval=values.get(QUEUE_INTERVAL, default.queue_interval),
        queue_enabled_as_written=values.get(QUEUE_ENABLED, default.queue_enabled_as_written),
        providers=ProviderSections(
            local=LocalSettings(
                command=values.get(LOCAL_COMMAND, local.command),
                max_running=values.get(LOCAL_MAX_RUNNING, local.max_running),
                grace_seconds=values.get(LOCAL_GRACE, local.grace_seconds),
            )
        ),
        instances=instances.instances_of(declared.value, source.refuse) if source else {},
        secret_variables=frozenset(source.secret_variables) if source else frozenset(),
        limits=Limits.of(values),
        outputs=Outputs.of(values),
        fuses=Fuses.of(values),
        sign_in=sign_in.sign_in_of(in_file, source.refuse) if source else SignIn(),
        retention=Retention.of(values),
        option_lists={name: Path(item.value) for name, item in values.get(option_lists.SECTION, {}).items()},
        path=source.path if source else None,
        sources=sources,
    )


def _lines(in_file: Mapping[str, ParsedValue], declared: ParsedValue) -> Iterator[tuple[str, int]]:
    for key, item in in_file.items():
        yield key, item.line
        if isinstance(item.value, Mapping):
            yield from instances.lines_of(key, item)
    yield from instances.lines_of(PROVIDERS, declared)


def _number_of_environment(name: str, kind: Kind) -> int:
    text = os.environ[name]
    try:
        return int(kind.read(Text(text.strip(), text)))
    except ValueError:
        raise ConfigurationError(f"{name} is {text!r}, but it must be {kind.allowed}.") from None


def _warn_once(sentence: str) -> None:
    if sentence not in _Memory.warned:
        _Memory.warned.add(sentence)
        logger.warning(sentence)
