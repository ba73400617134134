"""Databases as SimpleTuner's versions leave them."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

#: The columns of the table of jobs, each with the schema version that brought it.
JOB_COLUMNS = (
    *(
        (1, one)
        for one in ("job_id TEXT PRIMARY KEY", "job_type TEXT NOT NULL", "provider TEXT", "status TEXT NOT NULL")
    ),
    *((1, one) for one in ("config_name TEXT", "created_at TEXT NOT NULL", "started_at TEXT", "completed_at TEXT")),
    *((1, one) for one in ("cost_usd REAL", "hardware_type TEXT", "error_message TEXT", "output_url TEXT")),
    *((1, one) for one in ("upload_token TEXT", "metadata TEXT DEFAULT '{}'")),
    (3, "user_id INTEGER"),
    *((4, one) for one in ("priority INTEGER NOT NULL DEFAULT 10", "priority_override INTEGER", "queued_at TEXT")),
    *((4, one) for one in ("queue_position INTEGER NOT NULL DEFAULT 0", "requires_approval INTEGER DEFAULT 0")),
    *((5, one) for one in ("approval_id INTEGER", "attempt INTEGER DEFAULT 1", "max_attempts INTEGER DEFAULT 3")),
    *((5, one) for one in ("team_id TEXT", "org_id INTEGER", "estimated_cost REAL DEFAULT 0.0", "allocated_gpus TEXT")),
    (5, "num_processes INTEGER DEFAULT 1"),
)
PEOPLE = """
CREATE TABLE users (id INTEGER PRIMARY KEY AUTOINCREMENT, email TEXT UNIQUE NOT NULL, username TEXT UNIQUE NOT NULL,
 auth_provider TEXT NOT NULL DEFAULT 'local', password_hash TEXT, is_active INTEGER NOT NULL DEFAULT 1,
 is_admin INTEGER NOT NULL DEFAULT 0, created_at TEXT NOT NULL DEFAULT '2026-05-01T08:00:00+00:00', org_id INTEGER);
CREATE TABLE organizations (id INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT NOT NULL, slug TEXT UNIQUE NOT NULL);
CREATE TABLE levels (id INTEGER PRIMARY KEY, name TEXT NOT NULL, priority INTEGER);
CREATE TABLE user_levels (user_id INTEGER NOT NULL, level_id INTEGER NOT NULL);
CREATE TABLE quotas (id INTEGER PRIMARY KEY, quota_type TEXT NOT NULL, limit_value REAL NOT NULL,
 action TEXT NOT NULL DEFAULT 'block', user_id INTEGER, level_id INTEGER, team_id INTEGER, org_id INTEGER);
"""
APPROVALS = """
CREATE TABLE approval_rules (id INTEGER PRIMARY KEY, name TEXT NOT NULL, description TEXT, condition TEXT NOT NULL,
 threshold TEXT NOT NULL, is_active INTEGER DEFAULT 1, priority INTEGER DEFAULT 0, applies_to_provider TEXT,
 applies_to_level TEXT, exempt_levels TEXT DEFAULT '[]', required_approver_level TEXT DEFAULT 'lead', created_at TEXT,
 created_by INTEGER);
CREATE TABLE approval_requests (id INTEGER PRIMARY KEY, job_id TEXT NOT NULL, user_id INTEGER, rule_id INTEGER,
 status TEXT NOT NULL, reason TEXT, reviewed_by INTEGER, reviewed_at TEXT, review_notes TEXT, created_at TEXT NOT NULL,
 expires_at TEXT);
"""
REPLICATE_JOB: dict[str, Any] = {
    "job_id": "gm3qorzdhgbfurvjtvhg6dckhu",
    "job_type": "cloud",
    "provider": "replicate",
    "status": "completed",
    "config_name": "toys-lora",
    "created_at": "2026-05-02T10:00:00.123456Z",
    "started_at": "2026-05-02T10:01:00.5Z",
    "completed_at": "2026-05-02T11:01:00.5Z",
    "cost_usd": 3.5,
    "hardware_type": "L40S (48GB)",
    "output_url": "https://huggingface.co/studio/toys",
    "upload_token": "never-to-be-read",
    "metadata": {
        "model": "simpletuner/advanced-trainer-h100",
        "tracker_run_name": "toys-1",
        "snapshot": {"commit": "0a1"},
    },
}
LOCAL_JOB: dict[str, Any] = {
    "job_id": "0a1b2c3d",
    "job_type": "local",
    "provider": None,
    "status": "completed",
    "config_name": "toys-local",
    "created_at": "2026-05-05T09:00:00.000001+00:00",
    "metadata": {"runtime_config": {"--max_train_steps": 500, "--hub_token": "hf_SECRET2"}, "env_name": "toys-local"},
}
WORKER_JOB: dict[str, Any] = {
    "job_id": "wjob-0123456789ab",
    "job_type": "local",
    "provider": "worker",
    "status": "running",
    "config_name": "toys-w",
    "created_at": "2026-05-06T09:00:00",
    "metadata": {"config": {"--model_type": "lora", "--hub_token": "hf_SECRET"}, "target": "worker"},
}
CAPTIONING = {**LOCAL_JOB, "job_id": "cap-1", "provider": "captionflow", "metadata": {"handler": "captionflow"}}
BROKEN = (
    {**LOCAL_JOB, "job_id": "bad-1", "status": "strange"},
    {**LOCAL_JOB, "job_id": "bad-2", "created_at": "not a date"},
    {**LOCAL_JOB, "job_id": "bad-3", "metadata": "{broken"},
    {**LOCAL_JOB, "job_id": "bad-4", "cost_usd": -1},
)


def make_jobs_file(
    folder: Path,
    jobs: Sequence[Mapping[str, Any]],
    *,
    version: int = 5,
    **tables: Sequence[Mapping[str, Any]],
) -> Path:
    """Write `jobs.db` as a schema version has it, closed; `tables` has the rows of its other tables."""
    path = folder / "jobs.db"
    columns = [column for since, column in JOB_COLUMNS if since <= version]
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute(f"CREATE TABLE jobs ({', '.join(columns)})")
        connection.execute("CREATE TABLE schema_version (version INTEGER PRIMARY KEY)")
        insert(connection, "schema_version", [{"version": version}])
        connection.executescript(PEOPLE)
        there = {column.split()[0] for column in columns}
        insert(connection, "jobs", [{name: job[name] for name in job if name in there} for job in jobs])
        for table, rows in tables.items():
            insert(connection, table, rows)
    return path


def make_approvals_file(
    folder: Path, rules: Sequence[Mapping[str, Any]], requests: Sequence[Mapping[str, Any]]
) -> Path:
    path = folder / "approval.db"
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.executescript(APPROVALS)
        insert(connection, "approval_rules", rules)
        insert(connection, "approval_requests", requests)
    return path


def insert(connection: sqlite3.Connection, table: str, rows: Sequence[Mapping[str, Any]]) -> None:
    for row in rows:
        values = [json.dumps(value) if isinstance(value, dict | list) else value for value in row.values()]
        marks = ", ".join("?" * len(values))
        connection.execute(f"INSERT INTO {table} ({', '.join(row)}) VALUES ({marks})", values)
