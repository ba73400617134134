"""Signals by which the rooms above hear of a job."""

from __future__ import annotations

from django.dispatch import Signal

#: A job's status changed. Sent after the commit, once a change, by the process that made it. A receiver must not
#: be the only one to act on it: a crash right after the commit loses the signal, never the row.
#: Arguments: `job` (jobs.models.Job), `change` (cloudtrain_site.states.Change).
job_status_changed = Signal()
