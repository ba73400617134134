"""What becomes of the results that a provider deletes, as the configuration sets it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from cloudtrain_site.conf.yaml_kinds import boolean, whole_number
from cloudtrain_site.conf.yaml_schema import Kind

SECTION = "outputs"


@dataclass(frozen=True)
class Outputs:
    #: Whether results are fetched before their provider deletes them.
    fetch: bool = True
    #: Of one training, all files together, in millions of bytes.
    fetch_limit_mb: int = 20_000

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> Outputs:
        """Return what `values`, by the file's dotted keys, set; the others have their defaults."""
        keys = {one.name: f"{SECTION}.{one.name}" for one in fields(cls)}
        return cls(**{name: values[key] for name, key in keys.items() if key in values})


SCHEMA: dict[str, Kind] = {"fetch": boolean(), "fetch_limit_mb": whole_number(1, 10_000_000)}
