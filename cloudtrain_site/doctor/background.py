"""The checks of the background, and of the processes on all machines."""

from __future__ import annotations

from collections.abc import Iterator

from django.utils import timezone
from django_q.conf import Conf

from cloudtrain_site.conf.places import COMMAND
from cloudtrain_site.doctor.findings import Finding, bad, ok, warn
from cloudtrain_site.models import Loop
from cloudtrain_site.monitoring.health import HEALTHY, broker, loops
from cloudtrain_site.monitoring.machines import process_reports, silent_machines
from cloudtrain_site.monitoring.process_heartbeats import BACKGROUND, MACHINE, clock_offset, living_processes

START = f"{COMMAND} background (as a service: systemctl restart cloudtrain-background)"
#: In seconds: from the first on signatures and leases may fail, from the second on they do.
CLOCK_WARNING, CLOCK_FAULT = 2.0, 30.0
NTP = "timedatectl set-ntp true, on the machine whose clock is wrong"


def is_alive() -> Iterator[Finding]:
    """Check that the background runs on a machine at least, and that its loops run in time."""
    machines = sorted(living_processes(BACKGROUND).values_list("machine", flat=True).distinct())
    if not machines:
        yield bad("No background process is running: no job starts, no provider is polled, no notice is sent.", START)
        return
    errors = dict(Loop.objects.exclude(last_error="").values_list("name", "last_error"))
    for part in loops(timezone.now()):
        if part.status != HEALTHY:
            # The last line of a traceback is what went wrong.
            error = errors.get(part.name, "").strip().rpartition("\n")[2]
            yield warn(f"The loop {part.name}: {part.message}{f' It failed with {error}' if error else ''}", START)
    yield ok(f"Running on {', '.join(machines)}.")


def tasks() -> Iterator[Finding]:
    """Check that tasks don't pile up, and that the queue's settings lose and double none."""
    least = Conf.TIMEOUT * (2 + Conf.QUEUE_LIMIT / Conf.WORKERS)
    if least >= Conf.RETRY:
        yield bad(
            f"Tasks are retried after {Conf.RETRY} s, but a fetched one may wait and run for {least:.0f} s: "
            "some run twice.",
            f'Q_CLUSTER["retry"] = {least + 60:.0f} in the settings',
        )
    if not Conf.ACK_FAILURES or Conf.MAX_ATTEMPTS < 1:
        yield bad("A failing task is retried forever.", 'Q_CLUSTER["ack_failures"] = True, ["max_attempts"] = 3')
    state, message = broker(timezone.now())
    yield ok(message) if state == HEALTHY else bad(message, START)


def clocks() -> Iterator[Finding]:
    """Check the clocks of all machines against the database's."""
    here = clock_offset()
    if here is None:
        yield ok("The database has this machine's clock.")
        return
    offsets = {one.machine: one.clock_offset_seconds for one in process_reports() if not one.is_silent}
    for machine, offset in {**offsets, MACHINE: here}.items():
        if offset is not None and abs(offset) > CLOCK_WARNING:
            found = bad if abs(offset) > CLOCK_FAULT else warn
            yield found(f"The clock of {machine} is {offset:+.1f} s off the database's.", NTP)
    yield ok(f"Here it is {here:+.3f} s off the database's.")


def versions() -> Iterator[Finding]:
    """Check that all processes run the newest code, and that none has vanished."""
    reports = process_reports()
    living = [one for one in reports if not one.is_silent]
    outdated = sorted({f"{one.role} on {one.machine}" for one in living if one.is_outdated})
    if outdated:
        yield warn(f"Older code is running on {', '.join(outdated)}.", "systemctl restart cloudtrain (there)")
    if silent := sorted(silent_machines(reports)):
        yield warn(f"No recent heartbeat from {', '.join(silent)}.", f"{COMMAND} machines")
    if len({one.version for one in living}) == 1:
        yield ok(f"{living[0].version} everywhere.")
