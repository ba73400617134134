"""How the checks of the deployment are run, and what the command says of them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from django.core.management import CommandError, call_command

from cloudtrain_site.doctor import runs
from cloudtrain_site.doctor.findings import Finding, Status, bad, ok, skipped, warn
from cloudtrain_site.doctor.mail import SMTP
from cloudtrain_site.extensions import DoctorCheck, doctor_checks
from cloudtrain_site.management.commands import doctor
from cloudtrain_site.registry import Registry
from tests.cloudtrain_site.conftest import ROOT

HERE = __name__
over = threading.Event()


def well() -> Iterator[Finding]:
    yield ok("All is there.")


def says_nothing() -> Iterator[Finding]:
    yield from ()


def left_out() -> Iterator[Finding]:
    yield skipped("Nothing of the kind is here.")


def doubtful() -> Iterator[Finding]:
    yield ok("One is there.")
    yield warn("The other is late.", "mend --gently")


def broken() -> Iterator[Finding]:
    yield warn("It creaks.", "oil it")
    yield bad("It is broken: hub_token=hf_abcdefgh12345678.", "mend --token hf_abcdefgh12345678")


def raises() -> Iterator[Finding]:
    yield ok("So far.")
    raise ValueError("postgres://me:secretpassword@host/db is no number\nsecond line")


def hangs() -> Iterator[Finding]:
    over.wait(60)
    yield ok("At last.")


@pytest.fixture
def checks(monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Have these checks, by their functions' names, in place of the real ones."""

    def register(*names: str, **needs: tuple[str, ...]) -> None:
        registry: Registry[DoctorCheck] = Registry()
        for name in names:
            check = DoctorCheck(f"Is {name} right?", f"{HERE}.{name}", "docs/x.md", needs=needs.get(name, ()))
            registry.register(name, check)
        for module in (runs, doctor):
            monkeypatch.setattr(module, "doctor_checks", registry)

    return register


Checks = Callable[..., None]


def test_the_worst_finding_is_the_answer(checks: Checks) -> None:
    names = ("well", "says_nothing", "left_out", "doubtful", "broken")
    checks(*names)
    assert [runs.examine(name).status for name in names] == ["ok", "ok", "skipped", "warn", "bad"]


def test_an_error_is_a_warning_and_stops_no_other(checks: Checks) -> None:
    checks("raises", "well")
    first, second = runs.examine_all(["raises", "well"])
    assert (first.status, second.status) == (Status.WARN, Status.OK)
    assert first.findings[-1].message == (
        "This could not be checked: ValueError: postgres://me:***@host/db is no number"
    )


def test_no_secret_is_in_an_answer(checks: Checks) -> None:
    checks("broken")
    texts = str(runs.examine("broken"))
    assert "abcdefgh" not in texts
    assert "mend --token ***" in texts


def test_what_needs_a_bad_one_is_skipped_and_says_why(checks: Checks) -> None:
    checks("broken", "well", "doubtful", well=("broken",), doubtful=("well",))
    first, second, third = runs.examine_all(["broken", "well", "doubtful"])
    assert [first.status, second.status, third.status] == ["bad", "skipped", "skipped"]
    assert "broken" in second.findings[0].message
    # By itself it is run: nobody has found the other bad.
    assert next(iter(runs.examine_all(["well"]))).status == "ok"


def test_one_that_hangs_is_left_behind_and_bad(checks: Checks, monkeypatch: pytest.MonkeyPatch) -> None:
    checks("hangs", "well")
    monkeypatch.setattr(runs, "DEADLINE_SECONDS", 0.05)
    over.clear()
    examined = runs.examine_all(["hangs", "well"])
    assert next(examined).status == Status.BAD
    assert runs.is_hanging()
    with pytest.raises(SystemExit) as ended:
        call_command("doctor", "--only", "hangs")  # it ends its own process alone
    assert ended.value.code == 2
    monkeypatch.setattr(runs, "DEADLINE_SECONDS", 60.0)
    assert next(examined).status == Status.OK
    over.set()
    for thread in threading.enumerate():
        if thread.name == "doctor-hangs":
            thread.join(60)
    assert not runs.is_hanging()


@pytest.mark.parametrize(
    ("names", "code"), [(["well", "left_out"], 0), (["well", "doubtful"], 1), (["doubtful", "broken"], 2)]
)
def test_the_exit_code_tells_the_worst(checks: Checks, names: list[str], code: int) -> None:
    checks(*names)
    if not code:
        call_command("doctor")
        return
    with pytest.raises(SystemExit) as ended:
        call_command("doctor")
    assert ended.value.code == code


def test_a_line_is_printed_for_each_and_what_mends_it(checks: Checks, capsys: pytest.CaptureFixture[str]) -> None:
    checks("well", "broken", "left_out")
    with pytest.raises(SystemExit):
        call_command("doctor")
    assert capsys.readouterr().out.splitlines() == [
        "ok       well: Is well right? All is there.",
        "bad      broken: Is broken right?",
        "         It creaks.",
        "         Fix: oil it",
        "         It is broken: hub_token=***",
        "         Fix: mend --token ***",
        "         More: docs/x.md",
        "skipped  left_out: Is left_out right? Nothing of the kind is here.",
    ]


def test_json_has_a_stable_shape(checks: Checks, capsys: pytest.CaptureFixture[str]) -> None:
    checks("well", "doubtful")
    with pytest.raises(SystemExit):
        call_command("doctor", "--json", "--only", "doubtful")
    answer = json.loads(capsys.readouterr().out)
    (check,) = answer["checks"]
    assert check.pop("seconds") >= 0
    assert answer == {
        "status": "warn",
        "checks": [
            {
                "name": "doubtful",
                "question": "Is doubtful right?",
                "status": "warn",
                "findings": [
                    {"status": "ok", "message": "One is there.", "remedy": ""},
                    {"status": "warn", "message": "The other is late.", "remedy": "mend --gently"},
                ],
                "more": "docs/x.md",
            }
        ],
    }


def test_an_unknown_name_is_refused_with_all_that_there_are(checks: Checks) -> None:
    checks("well", "broken")
    with pytest.raises(CommandError, match=r"There is no check 'wel'\. There are: well, broken\.") as refused:
        call_command("doctor", "--only", "wel")
    assert refused.value.returncode == 2


def test_a_check_of_its_own_thread_is_bounded_by_the_database_too(checks: Checks) -> None:
    """PostgreSQL alone: a statement that waits for a lock ends by itself."""
    options = runs._impatient()["options"]
    assert f"statement_timeout={runs.STATEMENT_MS}" in str(options)


def test_each_check_is_a_function_that_is_there() -> None:
    from django.utils.module_loading import import_string

    for name, check in doctor_checks.items():
        assert callable(import_string(check.check)), name
        assert set(check.needs) <= set(doctor_checks), name


@pytest.mark.slow
def test_a_setting_that_keeps_the_site_from_starting_is_a_fault() -> None:
    command = [sys.executable, str(ROOT / "manage.py"), "doctor"]
    done = subprocess.run(command, env={**os.environ, "EMAIL_URL": "pigeon://x"}, capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stderr.startswith("EMAIL_URL must begin with one of")


def test_a_test_mail_is_sent_on_demand_and_a_refused_one_is_a_fault(
    checks: Callable[..., None], capsys: pytest.CaptureFixture[str], mailoutbox: list[Any], settings: Any
) -> None:
    checks("well")
    call_command("doctor")
    assert mailoutbox == []
    call_command("doctor", "--send-to", "ops@example.org")
    assert [mail.to for mail in mailoutbox] == [["ops@example.org"]]
    assert "ok       test-mail: Does the mail server take a mail?" in capsys.readouterr().out
    settings.EMAIL_BACKEND, settings.EMAIL_HOST, settings.EMAIL_PORT = SMTP, "127.0.0.1", 9
    with pytest.raises(SystemExit, match="2"):
        call_command("doctor", "--send-to", "ops@example.org")
    assert "was not accepted: [Errno 111] Connection refused" in capsys.readouterr().out
