"""A process holds what it serves with, and not what happens to be installed beside it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
#: Together 40 MB: the clients of providers, the drivers of other databases. Passkeys need cryptography at once.
SPARED = {"aiohttp", "httpx", "psycopg", "pygments", "rich", "opentelemetry", "jobs.providers.replicate.client"}
PROGRAM = f"""
import sys
import cloudtrain_site.web, cloudtrain_site.asgi
from django.urls import get_resolver
assert get_resolver().url_patterns
print(*sorted({SPARED!r} & set(sys.modules)))
import psycopg, cryptography, rich
from jwt.algorithms import get_default_algorithms
from cloudtrain_site.accounts.sso.tokens import ALGORITHMS
assert set(ALGORITHMS) <= set(get_default_algorithms()), "no single sign-on"
"""

COMMAND = f"""
import sys
from contextlib import redirect_stdout, suppress
from cloudtrain_site.command_line import main
sys.argv = ["manage.py", "up", "--help"]
with redirect_stdout(sys.stderr), suppress(SystemExit):
    main()
print(*sorted({SPARED | {"attr"}!r} & set(sys.modules)))
"""


def output_of(program: str, folder: Path) -> str:
    """What Python prints for it on a site of its own."""
    environment = {name: value for name, value in os.environ.items() if name != "DATABASE_URL"}
    environment |= {"SIMPLETUNER_DATA_DIR": str(folder), "CLOUDTRAIN_ROLE": "web"}
    done = subprocess.run([sys.executable, "-c", program], cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.mark.slow
def test_a_web_process_on_sqlite_loads_all_that_it_uses_and_nothing_else(tmp_path: Path) -> None:
    assert output_of(PROGRAM, tmp_path) == ""


@pytest.mark.slow
def test_the_command_line_loads_nothing_that_only_happens_to_be_there(tmp_path: Path) -> None:
    assert output_of(COMMAND, tmp_path) == ""
