"""The background tasks of one machine: the public names. See docs/background-tasks.md."""

from __future__ import annotations

from cloudtrain_site.background_tasks.manager import get_task_manager, start_background_tasks, stop_background_tasks

__all__ = ["get_task_manager", "start_background_tasks", "stop_background_tasks"]
