"""The limits for one person, as the configuration sets them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from cloudtrain_site.conf.yaml_kinds import whole_number
from cloudtrain_site.conf.yaml_schema import Kind

#: A limit's variable is this and the key in capitals.
VARIABLE_PREFIX = "CLOUDTRAIN_LIMIT_"
SECTION = "limits"


@dataclass(frozen=True)
class Limits:
    """What one person may have at a time, and how many dear requests a minute they may send."""

    #: Jobs that have not ended, held ones too.
    open_jobs: int = 200
    #: Uploaded datasets that are kept, and the bytes of their archives together.
    uploads: int = 20
    upload_bytes: int = 2_000_000_000
    #: Event streams that are open, in all web processes.
    streams: int = 20
    syncs_per_minute: int = 12
    #: Dry runs and previews of rules.
    previews_per_minute: int = 120
    #: Whole logs, ends of logs, and curves.
    log_reads_per_minute: int = 60

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> Limits:
        """Return the limits that `values`, by the file's dotted keys, set; the others have their defaults."""
        prefix = f"{SECTION}."
        return cls(**{key.removeprefix(prefix): value for key, value in values.items() if key.startswith(prefix)})


_HIGHEST = {"upload_bytes": 10**15}
#: By key, the values that the file takes.
SCHEMA: dict[str, Kind] = {one.name: whole_number(1, _HIGHEST.get(one.name, 1_000_000)) for one in fields(Limits)}
#: By the file's dotted key, the variable that wins over it.
VARIABLES = {f"{SECTION}.{key}": f"{VARIABLE_PREFIX}{key.upper()}" for key in SCHEMA}
