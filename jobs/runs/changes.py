"""What differs between two submissions, setting by setting, without their secrets."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from decimal import Decimal
from typing import Any

from cloudtrain_site.encryption import SecretsLostError
from cloudtrain_site.redaction import MASK, mask_secrets
from cloudtrain_site.wording.values import money
from jobs.configs.secrets import ADDRESS, SECRET_COLUMNS, masked_address, unsealed_columns
from jobs.configs.submission import Submission
from jobs.models import Job
from jobs.providers import label_of
from jobs.providers.hardware_names import hardware_label
from jobs.statuses import FuseAction

#: A config that was replaced as a whole has more differences than anybody reads.
MAX_CHANGES = 100
MAX_TEXT_CHARACTERS = 200
#: From here on a number is written with an exponent, as people write learning rates.
SMALL = 1e-3
CONFIG = "config"
#: What a page calls a setting that is not in the config, whose names are the trainer's.
LABELS = {
    "provider": "Provider",
    "hardware_profile": "Hardware",
    "tracker_run_name": "Name of the run at the tracker",
    "dataset": "Uploaded dataset",
    "max_cost_usd": "Limit",
    "fuse_action": "When the limit is reached",
    ADDRESS: "Address to call when it ends",
}
VALUE_TEXTS: dict[str, Callable[[Any], str]] = {
    "provider": label_of,
    "hardware_profile": hardware_label,
    "max_cost_usd": lambda value: money(Decimal(str(value))),
    "fuse_action": lambda value: FuseAction(value).label,
}

Settings = dict[str, Any]


def settings_of(source: Job | Submission) -> Settings:
    """Return what was submitted, with its secrets where they can be opened: to compare, and never to be shown."""
    settings: Settings = {name: getattr(source, name) for name in SECRET_COLUMNS}
    if isinstance(source, Job):
        with suppress(SecretsLostError):  # or else the secrets count as unchanged
            settings = unsealed_columns(source, SECRET_COLUMNS)
    limit = source.max_cost_usd
    return {
        **settings,
        "provider": source.provider,
        "hardware_profile": source.hardware_profile,
        "tracker_run_name": source.tracker_run_name,
        "dataset": (source.dataset_id if isinstance(source, Job) else source.dataset) or "",
        "max_cost_usd": None if limit is None else float(limit),
        "fuse_action": source.fuse_action,
    }


def changes_between(before: Settings, after: Settings) -> dict[str, Any]:
    """Return `{"total", "items"}`: how many settings differ, and `{"path", "before", "after"}` of the first of them.

    A setting that is not there has null, which a trainer takes for the same. A secret that was changed has `***` twice.
    """
    old, new = dict(_leaves(before)), dict(_leaves(after))
    paths = [path for path in {**old, **new} if _differ(old.get(path), new.get(path))]
    shown_old, shown_new = dict(_leaves(_masked(before))), dict(_leaves(_masked(after)))
    items = [
        {"path": path, "before": _shown(old, shown_old, path), "after": _shown(new, shown_new, path)}
        for path in paths[:MAX_CHANGES]
    ]
    return {"total": len(paths), "items": items}


def difference_rows(all_settings: Sequence[Settings], at_most: int) -> tuple[list[tuple[str, list[Any]]], int]:
    """Return the settings that not all have in common, as paths with a value for each, and how many there are."""
    leaves = [dict(_leaves(settings)) for settings in all_settings]
    shown = [dict(_leaves(_masked(settings))) for settings in all_settings]
    paths = dict.fromkeys(path for one in leaves for path in one)
    differing = [path for path in paths if any(_differ(leaves[0].get(path), one.get(path)) for one in leaves[1:])]
    rows = [
        (path, [_shown(one, masked, path) for one, masked in zip(leaves, shown, strict=True)])
        for path in differing[:at_most]
    ]
    return rows, len(differing)


def _masked(settings: Settings) -> Settings:
    return {**mask_secrets(settings), ADDRESS: masked_address(settings.get(ADDRESS, ""))}


def _differ(one: Any, other: Any) -> bool:
    """As they are written: 1, 1.0 and true are three settings to a trainer."""
    return type(one) is not type(other) or one != other


def _shown(leaves: Mapping[str, Any], shown: Mapping[str, Any], path: str) -> Any:
    if path not in leaves:
        return None
    value = shown.get(path, MASK)
    if isinstance(value, str) and len(value) > MAX_TEXT_CHARACTERS:
        return f"{value[:MAX_TEXT_CHARACTERS]}…"
    return value


def _leaves(settings: Any) -> Iterator[tuple[str, Any]]:
    """Yield each single setting with its path; the config's own have theirs without a prefix.

    Without recursion, since a client chose the depth.
    """
    rest: list[tuple[str, Any]] = [("", settings)]
    while rest:
        path, value = rest.pop()
        if isinstance(value, Mapping) and (value or path in ("", CONFIG)):
            inner = [(_joined(path, key), item) for key, item in value.items()]
        elif isinstance(value, list) and value:
            inner = [(f"{path}[{number}]", item) for number, item in enumerate(value)]
        else:
            yield path, value
            continue
        rest.extend(reversed(inner))


def _joined(path: str, key: str) -> str:
    # No column of a job is called as an option of a trainer is, so that the paths stay apart.
    return key if path in ("", CONFIG) else f"{path}.{key}"


def value_text(value: Any) -> str:
    """Return a setting's value as people write it: 1e-4, true, "" for an empty text, nothing where there is none."""
    if value is None:
        return "nothing"
    if isinstance(value, float) and value and abs(value) < SMALL:
        mantissa, _, exponent = f"{value:e}".partition("e")
        return f"{mantissa.rstrip('0').rstrip('.')}e{int(exponent)}"
    if isinstance(value, str) and value:
        return value
    return json.dumps(value, ensure_ascii=False)


def change_text(item: Mapping[str, Any]) -> str:
    """Return a change as one line: `learning_rate 1e-4 → 5e-5`, or `Hardware: CPU → gpu-t4`."""
    shown = shown_change(item)
    return f"{shown['label'] or shown['path']}{shown['rest']}"


def shown_change(item: Mapping[str, Any]) -> dict[str, str]:
    """Return a change's path, the label of what is not in the config, and the text that follows either."""
    path = item["path"]
    label = LABELS.get(path, "")
    if item["before"] == item["after"] == MASK:
        rest = " changed"
    else:
        before, after = (setting_text(path, item[side]) for side in ("before", "after"))
        rest = f"{':' if label else ''} {before} → {after}"
    return {"path": path, "label": label, "rest": rest}


def setting_text(path: str, value: Any) -> str:
    """Return the value of the setting at `path` as a page writes it."""
    if path in LABELS and value in (None, ""):
        return "nothing"
    return VALUE_TEXTS.get(path, value_text)(value)
