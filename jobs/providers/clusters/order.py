"""What a node is told to train: the runner's `run.json`, and the configs beside it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from cloudtrain_site.conf.providers import ClusterInstance
from cloudtrain_site.encryption import extract_secrets
from jobs.providers.base import TrainingSpec
from jobs.providers.clusters.training_folder import OUTPUT
from jobs.providers.local import command, dataset
from jobs.providers.runner import records
from jobs.providers.runner.node import FOLDER

#: Where a dataset that comes with the job's files is, on the node.
DATASET_ON_NODE = f"{FOLDER}/{dataset.NAME}"


def run_order(
    instance: ClusterInstance,
    spec: TrainingSpec,
    *,
    records_folder: Path | None,
    output: Path | None,
    dataset_folder: str,
    **kind: Any,
) -> dict[str, Any]:
    """Return the content of `run.json`; `kind` are the keys that depend on the engine (see jobs/providers/runner)."""
    output = output or Path(FOLDER, OUTPUT)
    return {
        "marker": spec.marker,
        "output": str(output),
        "command": command.substitute_placeholders(
            instance.command, Path(FOLDER), dataset_folder, output=output, python=instance.python
        ),
        "grace_seconds": instance.grace_seconds,
        "records": str(records_folder) if records_folder else "",
        "environment": command.job_variables(spec),
        "placed": [records.DATALOADER] if dataset_folder == DATASET_ON_NODE else [],
        **kind,
    }


def config_files(spec: TrainingSpec, dataset_folder: str) -> Mapping[str, bytes]:
    """Return the configs by file name; one with secrets has a masked copy, which replaces it at the end."""
    dataloader: Any = list(spec.dataloader_config)
    if dataset_folder:
        dataloader = dataset.substitute_placeholder(dataloader, dataset_folder)
    files: dict[str, bytes] = {}
    if spec.checkpoint_order:
        files[records.CHECKPOINT] = _as_json(spec.checkpoint_order)
    for name, value in ((records.CONFIG, dict(spec.config)), (records.DATALOADER, dataloader)):
        masked, secrets = extract_secrets(value)
        files[name] = _as_json(value)
        if secrets:
            files[f"{name}{records.MASKED}"] = _as_json(masked)
    return files


def _as_json(value: object) -> bytes:
    return json.dumps(value, ensure_ascii=False, indent=1).encode("utf-8", "surrogatepass")
