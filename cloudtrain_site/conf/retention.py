"""How long what is kept, as the configuration sets it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from datetime import timedelta
from typing import Any

from cloudtrain_site.conf.yaml_kinds import duration, whole_number
from cloudtrain_site.conf.yaml_schema import Kind

SECTION = "retention"


@dataclass(frozen=True)
class Retention:
    """For how long, or how much of it; None: for ever, all of it. `docs/privacy.md` has the table."""

    #: What changes of rights, rules, limits, keys and settings left on record.
    audit: timedelta | None = None
    #: Ended jobs, with all that belongs to them but their costs.
    jobs: timedelta | None = None
    #: The logs of ended jobs: our copies, and the files of trainings on this machine and on Slurm.
    logs: timedelta | None = None
    #: What providers' webhooks sent.
    deliveries: timedelta | None = timedelta(days=30)
    #: What ended trainings wrote.
    outputs: timedelta | None = None
    #: Of that, the most that one organization keeps, in billions of bytes.
    outputs_gb: int | None = None
    #: The newest checkpoints of one ended training that are kept.
    checkpoints: int | None = None
    #: How long before its removal what a training wrote is announced to go.
    announced: timedelta = timedelta(days=7)
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

    @property
    def results(self) -> timedelta | None:
        """How long what ended trainings wrote is kept in effect: no longer than the jobs, which lead to it."""
        return min((period for period in (self.outputs, self.jobs) if period is not None), default=None)

    @classmethod
    def of(cls, values: Mapping[str, Any]) -> Retention:
        """Return what `values`, by the file's dotted keys, set; the others have their defaults."""
        prefix = f"{SECTION}."
        return cls(**{key.removeprefix(prefix): value for key, value in values.items() if key.startswith(prefix)})


#: By key, the values that the file takes. Events and tasks are needed for a while: by who reconnects, and to be seen.
SCHEMA: dict[str, Kind] = {one.name: duration(timedelta(hours=1)) for one in fields(Retention)} | {
    "outputs_gb": whole_number(1, 10_000_000),
    "checkpoints": whole_number(1, 10_000),
    "announced": duration(timedelta(hours=1), may_be_forever=False),
}
#: The keys that are no period after which something goes.
OTHERS = frozenset({"outputs_gb", "checkpoints", "announced"})


def setting_as_text(retention: Retention, key: str) -> str:
    """Return the setting as the file has it; a number that isn't set has no text there."""
    value = getattr(retention, key)
    if value is None and key in OTHERS:
        return "no limit"
    return str(value) if isinstance(value, int) else as_text(value)


def as_text(period: timedelta | None) -> str:
    """Return the period as the file has it."""
    if period is None:
        return "forever"
    hours = int(period.total_seconds()) // 3600
    count, unit = (hours // 24, "day") if hours % 24 == 0 else (hours, "hour")
    return f"{count} {unit}{'' if count == 1 else 's'}"
