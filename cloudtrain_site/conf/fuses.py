"""What happens to a job that has cost what it may, as the configuration sets it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from cloudtrain_site.conf.yaml_kinds import whole_number
from cloudtrain_site.conf.yaml_schema import Kind, one_of

SECTION = "fuses"


@dataclass(frozen=True)
class Fuses:
    #: Where neither the submitter nor a rule has chosen: cancel, or ask.
    action: str = "cancel"
    #: How far beyond its limit a job goes on while more is asked for, in percent of the limit.
    grace_percent: int = 10

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> Fuses:
        """Return what `values`, by the file's dotted keys, set; the others have their defaults."""
        keys = {one.name: f"{SECTION}.{one.name}" for one in fields(cls)}
        return cls(**{name: values[key] for name, key in keys.items() if key in values})


SCHEMA: dict[str, Kind] = {"action": one_of(["cancel", "ask"]), "grace_percent": whole_number(0, 100)}
