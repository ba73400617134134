"""Runs the checks of the deployment, each for five seconds at most.

Each has a thread of its own, with a database connection of its own. A thread can't be ended: one that a dead network
disk holds stays behind, and its check is bad. That is why no check runs in the web process but the cheap ones, and why
the page has a command of its own run.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Iterator, Mapping
from contextvars import copy_context
from dataclasses import dataclass

from django.db import connection
from django.utils.module_loading import import_string

from cloudtrain_site.conf.places import COMMAND
from cloudtrain_site.doctor import mail
from cloudtrain_site.doctor.findings import Finding, Status, bad, skipped, warn, worst_of
from cloudtrain_site.extensions import DoctorCheck, doctor_checks
from cloudtrain_site.redaction import mask_text

DEADLINE_SECONDS = 5.0
#: PostgreSQL ends a statement by itself before the check's time is over.
STATEMENT_MS = 4_500
MAIL_PAGE = "docs/notices.md#mail"


@dataclass(frozen=True, slots=True)
class Examination:
    """A check's answer. No text of it has a secret."""

    name: str
    question: str
    status: Status
    findings: tuple[Finding, ...]
    more: str
    seconds: float


def examine(name: str) -> Examination:
    """Run a check here and now, however long it takes. An error of it is a warning."""
    check, started = doctor_checks[name], time.perf_counter()
    findings: list[Finding] = []
    try:
        findings.extend(import_string(check.check)())
    except Exception as error:
        findings.append(warn(f"This could not be checked: {_shown(error)}", f"{COMMAND} check"))
    return _examination(name, check, findings, time.perf_counter() - started)


def examine_all(names: Iterable[str]) -> Iterator[Examination]:
    """Run the checks one after the other, each in DEADLINE_SECONDS.

    One that needs another is skipped when that is bad or was skipped itself; of those that aren't asked for, nothing
    is assumed.
    """
    examined: dict[str, Status] = {}
    for name in names:
        check = doctor_checks[name]
        blocked = next((why for why in (_why_skipped(other, examined) for other in check.needs) if why), "")
        one = _examination(name, check, [skipped(blocked)], 0.0) if blocked else _in_time(name, check)
        examined[name] = one.status
        yield one


def examine_mail(to: str) -> Examination:
    """Send a mail to `to`, and say whether the mail server took it."""
    started, sent = time.perf_counter(), DoctorCheck("Does the mail server take a mail?", "", MAIL_PAGE, ())
    findings = list(mail.send_test(to))
    return _examination("test-mail", sent, findings, time.perf_counter() - started)


def _why_skipped(needed: str, examined: Mapping[str, Status]) -> str:
    status = examined.get(needed)
    if status == Status.BAD:
        return f"It can't be checked until {needed} is fixed."
    return f"{needed} was skipped too." if status == Status.SKIPPED else ""


def is_hanging() -> bool:
    """Whether a check's thread is left behind: the process would wait for what it waits for at its end."""
    return any(thread.name.startswith("doctor-") for thread in threading.enumerate())


def _in_time(name: str, check: DoctorCheck) -> Examination:
    answers: list[Examination] = []
    context = copy_context()
    thread = threading.Thread(
        target=lambda: answers.append(context.run(_examine_apart, name)), name=f"doctor-{name}", daemon=True
    )
    thread.start()
    thread.join(DEADLINE_SECONDS)
    if answers:
        return answers[0]
    hangs = bad(
        f"The check did not end within {DEADLINE_SECONDS:g} s: the disk, the database or a server may hang.",
        "Check the mounts (`mount`), the load (`uptime`) and the network of this machine.",
    )
    return _examination(name, check, [hangs], DEADLINE_SECONDS)


def _examine_apart(name: str) -> Examination:
    try:
        if connection.vendor == "postgresql":
            connection.settings_dict = {**connection.settings_dict, "OPTIONS": _impatient()}
        return examine(name)
    finally:
        connection.close()


def _impatient() -> dict[str, object]:
    """Return the connection's options, with a limit to what a statement may take."""
    options = dict(connection.settings_dict.get("OPTIONS", {}))
    options.pop("pool", None)
    return {**options, "options": f"{options.get('options', '')} -c statement_timeout={STATEMENT_MS}".strip()}


def _examination(name: str, check: DoctorCheck, findings: Iterable[Finding], seconds: float) -> Examination:
    masked = tuple(Finding(one.status, mask_text(one.message), mask_text(one.remedy)) for one in findings)
    status = worst_of(one.status for one in masked)
    return Examination(name, check.question, status, masked, check.more, round(seconds, 3))


def _shown(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__
