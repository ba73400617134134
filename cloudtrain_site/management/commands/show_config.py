"""`manage.py show_config`: every setting in force, and its source."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, fields
from functools import partial
from operator import attrgetter
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandParser

from cloudtrain_site import enterprise
from cloudtrain_site.conf import fuses, limits, outputs, retention, sign_in
from cloudtrain_site.conf.providers import HardwareProfile, Instance, Secret
from cloudtrain_site.conf.variables import UNSET, VARIABLES, is_set
from cloudtrain_site.enterprise import EnterpriseConfig, find_enterprise_file, get_enterprise_config
from cloudtrain_site.redaction import MASK, is_secret_name, mask_secrets


@dataclass(frozen=True)
class Row:
    name: str
    value: str
    source: str


def _of_sign_in(key: str, config: EnterpriseConfig) -> Any:
    """Return the value in force of a key about signing in; of a secret whether it is set."""
    value = sign_in.value_of(config.sign_in, key)
    if isinstance(value, Secret):
        value = (value.file if key.endswith("_file") else value.value and "(set)") or ""
    return UNSET if value in (None, "", (), {}) else value


def _kept_of(key: str) -> Callable[[EnterpriseConfig], str]:
    return lambda config: retention.setting_as_text(config.retention, key)


FILE_KEYS: dict[str, Callable[[EnterpriseConfig], Any]] = {
    enterprise.POLLING_ENABLED: lambda config: _polling(config.job_polling_explicit),
    enterprise.POLLING_INTERVAL: lambda config: config.job_polling_interval,
    enterprise.QUEUE_ENABLED: lambda config: True,
    enterprise.QUEUE_INTERVAL: lambda config: config.queue_interval,
    enterprise.LOCAL_COMMAND: lambda config: config.local.command,
    enterprise.LOCAL_MAX_RUNNING: lambda config: config.local.max_running,
    enterprise.LOCAL_GRACE: lambda config: config.local.grace_seconds,
    **{key: attrgetter(key) for key in limits.VARIABLES},
    **{(name := f"{outputs.SECTION}.{key}"): attrgetter(name) for key in outputs.SCHEMA},
    **{(name := f"{fuses.SECTION}.{key}"): attrgetter(name) for key in fuses.SCHEMA},
    **{key: partial(_of_sign_in, key) for key in sign_in.file_keys()},
    **{f"{retention.SECTION}.{key}": _kept_of(key) for key in retention.SCHEMA},
}


def _polling(explicit: bool | None) -> Any:
    return "auto (on for providers without a webhook address)" if explicit is None else explicit


def rows() -> Iterator[Row]:
    """Yield all settings, secrets masked. Raises ConfigurationError at the file's rows when the file is invalid."""
    for name, in_force in VARIABLES.items():
        text = os.environ.get(name, "")
        by = f"environment {name}" if is_set(name) else _fallback_of(name)
        yield Row(name, _shown(name, in_force(text)), by)
    path = find_enterprise_file()
    by = f"environment {enterprise.PATH_VARIABLE}" if os.environ.get(enterprise.PATH_VARIABLE) else "found"
    yield Row(enterprise.PATH_VARIABLE, str(path or "(no file)"), by if path else "default")
    config = get_enterprise_config()
    for key, value_of in FILE_KEYS.items():
        yield Row(key, _shown(key, value_of(config)), config.sources.get(key, "default"))
    for name, group in (config.sign_in.sso.groups if config.sign_in.sso else {}).items():
        key = f"{sign_in.SINGLE_SIGN_ON}.groups.{name}"
        yield Row(key, f"{group.role} of {group.organization}", config.sources.get(key, "default"))
    for instance in config.instances.values():
        yield from _rows_of(instance, config.sources)


def _rows_of(instance: Instance, sources: Mapping[str, str]) -> Iterator[Row]:
    """Yield the settings of a declared provider: of a secret whether it is set, or its file."""
    prefix = f"{enterprise.PROVIDERS}.{instance.name}"
    values: dict[str, Any] = {"kind": instance.kind}
    for one in fields(instance):
        value = getattr(instance, one.name)
        if not isinstance(value, Secret):
            values[one.name] = value
        elif value.file:
            values[f"{one.name}_file"] = value.file
        elif value or one.name == "token":
            values[one.name] = "(set)" if value else UNSET
    profiles = values.pop("hardware", {})
    values |= {f"hardware.{name}": _of_profile(profile) for name, profile in profiles.items()}
    for key, value in values.items():
        if key != "name":
            yield Row(f"{prefix}.{key}", _plainly(value), sources.get(f"{prefix}.{key}", "default"))


def _of_profile(profile: HardwareProfile) -> str:
    """Return what the profile asks for beyond the defaults, and its price."""
    default = HardwareProfile(profile.name)
    values = {one.name: getattr(profile, one.name) for one in fields(profile)}
    changed = {name: value for name, value in values.items() if value != getattr(default, name)}
    return json.dumps(changed | {"cost_per_second": profile.cost_per_second}, default=str)


def _plainly(value: Any) -> str:
    if isinstance(value, Mapping):
        value = json.dumps(value, default=str) if value else UNSET
    return UNSET if value in (None, "") else _shown("", value)


def _fallback_of(name: str) -> str:
    return f"kept in {settings.DATA_DIR / 'secret_key'}" if name == "SECRET_KEY" else "default"


def _shown(name: str, value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if is_secret_name(name) and value != UNSET:
        return MASK
    masked = mask_secrets(value)
    return json.dumps(masked) if isinstance(masked, list | tuple) else str(masked)


class Command(BaseCommand):
    """A table for people, or JSON."""

    help = "Print all settings in force and where each comes from. Secrets are masked."
    # Used when something is wrong: a failing check must not prevent the output.
    requires_system_checks = []

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("--json", action="store_true", help="print a list with one JSON object per setting")

    def handle(self, *args: Any, json: bool, **options: Any) -> None:
        """Print them. An invalid file ends the output with its error, after the rows before it."""
        if json:
            self._print_json()
            return
        for row in rows():
            self.stdout.write(f"{row.name:<48} {row.value}  ({row.source})")

    def _print_json(self) -> None:
        self.stdout.write(json.dumps([asdict(row) for row in rows()], indent=2))
