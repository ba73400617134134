"""Signals by which the rooms above hear of a job, and of what happens to an organization."""

from __future__ import annotations

from django.dispatch import Signal

#: A job may cost another amount at most. Sent in the transaction of the change. Arguments: `job` (jobs.models.Job).
job_fuse_set = Signal()

#: A job's status changed. Sent after the commit, once a change, by the process that made it. A receiver must not
#: be the only one to act on it: a crash right after the commit loses the signal, never the row.
#: Arguments: `job` (jobs.models.Job), `change` (cloudtrain_site.states.Change).
job_status_changed = Signal()

#: A person's membership of an organization ended. Sent in the transaction that ends it: a receiver's error undoes it.
#: Arguments: `user`, `organization`.
membership_ended = Signal()

#: An organization was closed: nothing new begins in it. Sent in the transaction that closes it.
#: Arguments: `organization`.
organization_closed = Signal()
