"""The part of the configuration file that declares providers: what it may hold, and the instances that come of it."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NoReturn, TypeAlias

from cloudtrain_site.conf.providers import (
    HardwareProfile,
    Instance,
    RayInstance,
    ReplicateInstance,
    Secret,
    SlurmInstance,
)
from cloudtrain_site.conf.yaml_kinds import (
    absolute_path,
    address,
    decimal,
    list_of_texts,
    secret,
    short_text,
    text_like,
    whole_number,
)
from cloudtrain_site.conf.yaml_schema import Kind, Named, ParsedValue, Schema, Variants

#: What stands for a path or a program in a trainer's command.
PLACEHOLDERS = ("python", "config", "dataloader", "output_dir", "job_dir", "dataset")
_PLACEHOLDER = re.compile(r"\{([a-z_]+)\}")
_COMMAND = "a list of texts, first the program, with no placeholder but " + ", ".join(f"{{{n}}}" for n in PLACEHOLDERS)

_CLASSES: Mapping[str, type[Instance]] = {one.kind: one for one in (ReplicateInstance, RayInstance, SlurmInstance)}
#: The keys that say what a provider is to be asked with; one of them is enough.
_SECRET_KEYS = ("token", "token_file", "key_file")

_PRICE = decimal(1000, " of US dollars")

#: By key, the value of the file and its line.
Section: TypeAlias = Mapping[str, ParsedValue]
#: Raises ConfigurationError with a line and a problem.
Refuse: TypeAlias = Callable[[int, str], NoReturn]


def command(*, is_required: bool = False) -> Kind:
    """Accept a trainer's command."""

    def knows_placeholders(parts: list[str]) -> bool:
        names = [name for part in parts for name in _PLACEHOLDER.findall(part)]
        return bool(parts and parts[0]) and all(name in PLACEHOLDERS for name in names)

    return list_of_texts(_COMMAND, knows_placeholders, is_required=is_required)


def _word(what: str, *, is_required: bool = False) -> Kind:
    allowed = f"{what}: letters, digits, `_`, `-`, `.` and `@`"
    return text_like(r"[A-Za-z0-9_][A-Za-z0-9_.@-]{0,63}", allowed, is_required=is_required)


def _profiles(keys: Schema) -> Named:
    return Named(
        "names of hardware profiles, at most 40 letters, digits, single spaces, `_`, `-`, `.` and `+`",
        re.compile(r"(?=.{1,40}\Z)[A-Za-z0-9][A-Za-z0-9_.+-]*(?: [A-Za-z0-9_.+-]+)*"),
        {
            "gpus": whole_number(0, 1024),
            "cpus": whole_number(1, 10_000),
            "memory_mb": whole_number(1, 100_000_000, " of megabytes"),
            **keys,
            "cost_per_second": _PRICE,
        },
        is_required=True,
    )


_ACCOUNT: Schema = {
    "label": short_text(80),
    "token": secret("token_file"),
    "token_file": absolute_path("a file with the token"),
    "max_running": whole_number(1, 100_000),
}
_RAY_PROFILE: Schema = {
    "resources": Named(
        "names of Ray's resources, each with a number", re.compile(r"[!-~](?:[ -~]{0,98}[!-~])?"), decimal(1_000_000)
    ),
}
_SLURM_PROFILE: Schema = {
    "nodes": whole_number(1, 10_000),
    "gpu_type": _word("a type of GPU as Slurm names it"),
    "partition": text_like(r"[\w.-]{1,64}(?:,[\w.-]{1,64}){0,9}", "a partition, or some with commas between"),
    "time_limit_minutes": whole_number(1, 525_600, " of minutes"),
}


def _cluster(profile: Schema, *, needs_folder: bool) -> Schema:
    return {
        **_ACCOUNT,
        "address": address(is_required=True),
        "command": command(is_required=True),
        "python": text_like(r"[\w./+-]{1,200}", "a program's name or path"),
        "shared_folder": absolute_path("a folder that this site and all nodes share", is_required=needs_folder),
        "grace_seconds": whole_number(0, 3600, " of seconds"),
        "hardware": _profiles(profile),
    }


_KINDS: Mapping[str, Schema] = {
    "replicate": {
        **_ACCOUNT,
        "address": address(),
        "cost_per_second": Named("names of hardware profiles", re.compile(r"[a-z0-9-]{1,40}"), _PRICE),
    },
    "ray": _cluster(_RAY_PROFILE, needs_folder=False),
    "slurm": {
        **_cluster(_SLURM_PROFILE, needs_folder=True),
        "user": _word("an account at the cluster", is_required=True),
        "key_file": absolute_path("the cluster's signing key"),
        "account": _word("an account that the cluster bills"),
        "qos": _word("a quality of service of the cluster"),
    },
}


def section(fixed: Schema) -> Named:
    """Return the section `providers:`, with the keys that it has beside the instances' names."""
    return Named(
        "names of your choice: at most 40 lower-case letters, digits and dashes, beginning with a letter",
        re.compile(r"[a-z][a-z0-9-]{0,39}"),
        Variants(_KINDS),
        fixed,
        {"replicate": "it is the account of REPLICATE_API_TOKEN; give another account a name such as `replicate-lab`"},
    )


def instances_of(declared: Section, refuse: Refuse) -> Mapping[str, Instance]:
    """Return the instances by name, in the order of the file. Raises ConfigurationError by `refuse`."""
    return {name: _instance(name, item, refuse) for name, item in declared.items()}


def lines_of(prefix: str, item: ParsedValue) -> Iterator[tuple[str, int]]:
    """Yield each key below a section, dotted, with its line."""
    for key, inner in item.value.items():
        yield f"{prefix}.{key}", inner.line
        if isinstance(inner.value, Mapping):
            yield from lines_of(f"{prefix}.{key}", inner)


def _instance(name: str, item: ParsedValue, refuse: Refuse) -> Instance:
    keys: Section = item.value
    _check_secrets(f"providers.{name}", item, refuse)
    values = {key: value.value for key, value in keys.items()}
    kind = values.pop("kind")
    if "hardware" in values:
        values["hardware"] = {profile: _profile(profile, held.value) for profile, held in values["hardware"].items()}
    if "cost_per_second" in values:
        values["cost_per_second"] = {profile: price.value for profile, price in values["cost_per_second"].items()}
    if "key_file" in values:
        values["key"] = Secret(file=values.pop("key_file"))
    values["token"] = Secret(values.get("token", ""), values.pop("token_file", None))
    return _CLASSES[kind](name=name, **{"label": name, **values})


def _check_secrets(name: str, item: ParsedValue, refuse: Refuse) -> None:
    kind = item.value["kind"].value
    allowed = [key for key in _SECRET_KEYS if key in _KINDS[kind]]
    keys = [key for key in allowed if key in item.value]
    if len(keys) > 1:
        refuse(item.value[keys[1]].line, f"`{name}` has `{keys[0]}` and `{keys[1]}`; keep one of them")
    # Ray's clusters ask for no token unless they are told to.
    if not keys and kind != "ray":
        refuse(item.line, f"`{name}` needs one of {', '.join(f'`{key}`' for key in allowed)}")


def _profile(name: str, keys: Section) -> HardwareProfile:
    values: dict[str, Any] = {key: item.value for key, item in keys.items()}
    if "resources" in values:
        values["resources"] = {resource: float(item.value) for resource, item in values["resources"].items()}
    return HardwareProfile(name, **values)
