"""The columns of the list that one picks: of a job's row, of its config, and its last loss."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from django.db.models import TextField
from django.db.models.functions import Cast, Length

from jobs.configs.option_names import full_name
from jobs.dashboard.rows import Row
from jobs.models import Job
from jobs.runs.changes import value_text

#: More have no room beside each other.
MOST = 6
#: Of a longer config nothing is shown: fifty of a megabyte would take seconds to read.
MAX_CONFIG_CHARACTERS = 50_000


@dataclass(frozen=True, slots=True)
class Column:
    label: str
    #: The options of a config that it shows, the first that is there.
    options: tuple[str, ...] = ()


COLUMNS: Mapping[str, Column] = {
    "hardware": Column("Hardware"),
    "provider": Column("Provider"),
    "organization": Column("Organization"),
    "tags": Column("Tags"),
    "note": Column("Note"),
    "loss": Column("Last loss"),
    "learning_rate": Column("Learning rate", ("learning_rate",)),
    "rank": Column("Rank", ("lora_rank", "network_dim")),
    "family": Column("Model family", ("model_family",)),
    "model": Column("Base model", ("pretrained_model_name_or_path", "base_model")),
    "steps": Column("Steps", ("max_train_steps",)),
    "batch_size": Column("Batch size", ("train_batch_size",)),
    "resolution": Column("Resolution", ("resolution",)),
    "optimizer": Column("Optimizer", ("optimizer", "optimizer_type")),
}
DEFAULT = ("hardware",)


def columns_of(names: str, sort: str = "") -> tuple[str, ...]:
    """Return the columns of a text like "rank,loss", without unknown ones; without any, the default.

    A list that is ordered by one of them has it.
    """
    found = tuple(dict.fromkeys(name for name in names.split(",") if name in COLUMNS))[:MOST] or DEFAULT
    return (sort, *found)[:MOST] if sort in COLUMNS and sort not in found else found


def with_cells(rows: Sequence[Row], jobs: Sequence[Job], columns: Sequence[str]) -> list[Row]:
    """Return the rows with a text for each of the columns. One query at most, and none for the default."""
    configs = _configs(jobs) if any(COLUMNS[name].options for name in columns) else {}
    found = []
    for row, job in zip(rows, jobs, strict=True):
        of_row: dict[str, str] = {
            "hardware": row.where,
            "provider": row.provider,
            "organization": row.organization or (job.organization.name if job.organization else ""),
            "tags": ", ".join(row.tags),
            "note": job.note or "",
            "loss": "" if job.last_loss is None else f"{job.last_loss:.4g}",
        }
        config = configs.get(job.pk, {})
        found.append(
            replace(row, cells=[of_row.get(name) or _value(config, COLUMNS[name].options) for name in columns])
        )
    return found


def _configs(jobs: Sequence[Job]) -> dict[str, dict[str, Any]]:
    """Return by job id the settings at the top of its config, by the full name of each option."""
    short = (
        Job.objects.filter(pk__in=[job.pk for job in jobs])
        .annotate(characters=Length(Cast("config", TextField())))
        .filter(characters__lte=MAX_CONFIG_CHARACTERS)
    )
    return {
        job_id: {full_name(key): value for key, value in config.items()}
        for job_id, config in short.values_list("pk", "config")
        if isinstance(config, dict)
    }


def _value(config: Mapping[str, Any], options: Iterable[str]) -> str:
    values = (config[option] for option in options if config.get(option) not in (None, ""))
    return next((value_text(value) for value in values if not isinstance(value, dict | list)), "")
