"""The settings of a site behind a proxy that speaks TLS and does nothing else."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client

from tests.cloudtrain_site.conftest import ROOT

pytestmark = pytest.mark.slow

COOKIES = {"SECURE_COOKIES": "true", "ALLOWED_HOSTS": "train.example.org"}
ALL = {
    **COOKIES,
    "CSRF_TRUSTED_ORIGINS": "https://train.example.org",
    "SECURE_SSL_REDIRECT": "true",
    "SECURE_HSTS_SECONDS": "3600",
}
NAMES = "SESSION_COOKIE_NAME CSRF_COOKIE_NAME SECURE_HSTS_SECONDS SECURE_SSL_REDIRECT"


def python(folder: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    own = {"SIMPLETUNER_DATA_DIR": str(folder), **environment}
    kept = {name: value for name, value in os.environ.items() if name not in {*ALL, "SECRET_KEY"}}
    return subprocess.run(
        [sys.executable, *arguments], env={**kept, **own}, cwd=ROOT, capture_output=True, text=True, timeout=60
    )


def settings_with(folder: Path, **environment: str) -> list[Any]:
    code = f"import json; from cloudtrain_site import settings; names = {NAMES.split()}"
    done = python(folder, "-c", f"{code}; print(json.dumps([vars(settings).get(n) for n in names]))", **environment)
    assert done.returncode == 0, done.stderr
    return list(json.loads(done.stdout))


def test_cookies_are_bound_to_the_host_where_https_is_on(tmp_path: Path) -> None:
    assert settings_with(tmp_path, **COOKIES) == ["__Host-sessionid", "__Host-csrftoken", 0, False]


def test_all_of_it_is_off_by_default(tmp_path: Path) -> None:
    assert settings_with(tmp_path) == [None, None, 0, False]


def test_the_deployment_check_has_nothing_to_say(tmp_path: Path) -> None:
    done = python(tmp_path, "manage.py", "check", "--deploy", "--fail-level", "WARNING", **ALL)
    assert done.returncode == 0, done.stderr


def test_nor_has_it_under_the_settings_of_the_guide(tmp_path: Path) -> None:
    guide = (ROOT / "docs" / "deploying.md").read_text().partition("`/etc/systemd/system/cloudtrain.service`")[0]
    documented = dict(re.findall(r"^    ([A-Z_]+)=(.+)$", guide, re.MULTILINE))
    assert documented.keys() >= ALL.keys()
    folders = {"SIMPLETUNER_DATA_DIR": str(tmp_path), "SIMPLETUNER_LOG_FILE": str(tmp_path / "cloud.log")}
    environment = {**documented, **folders}
    done = python(tmp_path, "manage.py", "check", "--deploy", "--fail-level", "WARNING", **environment)
    assert done.returncode == 0, done.stderr
    assert "no issues" in done.stdout


@pytest.mark.parametrize("name", ["SECURE_SSL_REDIRECT", "SECURE_HSTS_SECONDS"])
def test_it_says_what_is_missing(tmp_path: Path, name: str) -> None:
    environment = {key: value for key, value in ALL.items() if key != name}
    done = python(tmp_path, "manage.py", "check", "--deploy", "--fail-level", "WARNING", **environment)
    assert done.returncode == 1
    assert name in done.stderr


def test_a_number_of_seconds_that_is_none_stops_the_start(tmp_path: Path) -> None:
    done = python(tmp_path, "manage.py", "check", SECURE_HSTS_SECONDS="a year")
    assert done.returncode != 0
    assert "SECURE_HSTS_SECONDS must be a whole number." in done.stderr


@pytest.fixture
def redirecting(settings: Any) -> None:
    settings.SECURE_SSL_REDIRECT = True
    settings.SECURE_HSTS_SECONDS = 3600


def test_plain_http_is_redirected_and_https_gets_the_header(redirecting: None, client: Client, db: None) -> None:
    plain = client.get("/login")
    assert (plain.status_code, plain["Location"]) == (301, "https://testserver/login")
    assert client.get("/login", secure=True)["Strict-Transport-Security"] == "max-age=3600"
    assert client.get("/api/cloud/health/live").status_code == 200


@pytest.mark.parametrize("method", ["get", "put", "delete", "head"])
def test_who_only_looks_at_the_webhooks_address_is_answered_in_the_usual_shape(
    client: Client, alice: User, method: str
) -> None:
    answer = getattr(client, method)("/api/webhooks/replicate")
    assert (answer.status_code, answer["Allow"]) == (405, "POST")
    if method != "head":
        assert answer.json().keys() == {"detail", "code", "correlation_id"}
