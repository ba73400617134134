"""How long what is kept, as the configuration sets it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from datetime import timedelta
from typing import Any

from cloudtrain_site.conf.yaml_kinds import duration
from cloudtrain_site.conf.yaml_schema import Kind

SECTION = "retention"


@dataclass(frozen=True)
class Retention:
    """For how long; None: for ever. `docs/privacy.md` has the table."""

    #: What changes of rights, rules, limits, keys and settings left on record.
    audit: timedelta | None = None
    #: The site's copies of the logs of ended jobs, from providers that delete theirs.
    logs: timedelta | None = None
    #: What providers' webhooks sent.
    deliveries: timedelta | None = timedelta(days=30)
    #: Notices, and what became of them.
    notices: timedelta | None = None
    #: The events that an event stream which was cut off catches up with.
    events: timedelta | None = timedelta(days=1)
    #: Browser sessions, from their end on.
    sessions: timedelta | None = timedelta(days=1)
    #: Datasets, from the last job on that used them.
    uploads: timedelta | None = timedelta(days=7)
    #: Finished background tasks.
    tasks: timedelta | None = timedelta(days=1)
    #: Runs of background loops.
    loop_runs: timedelta | None = timedelta(days=1)

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> Retention:
        """Return what `values`, by the file's dotted keys, set; the others have their defaults."""
        prefix = f"{SECTION}."
        return cls(**{key.removeprefix(prefix): value for key, value in values.items() if key.startswith(prefix)})


#: By key, the values that the file takes. Events and tasks are needed for a while: by who reconnects, and to be seen.
SCHEMA: dict[str, Kind] = {one.name: duration(timedelta(hours=1)) for one in fields(Retention)}


def as_text(period: timedelta | None) -> str:
    """Return the period as the file has it."""
    if period is None:
        return "forever"
    hours = int(period.total_seconds()) // 3600
    count, unit = (hours // 24, "day") if hours % 24 == 0 else (hours, "hour")
    return f"{count} {unit}{'' if count == 1 else 's'}"
