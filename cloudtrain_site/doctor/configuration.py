"""The checks of settings, of the configuration file and of the environment."""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Iterator
from urllib.parse import urlsplit

from django.conf import settings
from django.core import checks
from django.http.request import validate_host

from cloudtrain_site import enterprise
from cloudtrain_site.conf.environment import ConfigurationError
from cloudtrain_site.conf.places import COMMAND
from cloudtrain_site.conf.public_address import public_address, set_address
from cloudtrain_site.conf.variables import VARIABLES
from cloudtrain_site.doctor.findings import Finding, bad, ok, warn
from cloudtrain_site.enterprise import find_enterprise_file

LOCAL_HOSTS = frozenset(("localhost", "127.0.0.1", "::1"))
#: The setting that satisfies each of Django's deployment checks, by its id. Other checks have hints of their own.
DEPLOYMENT = {
    "security.W004": "SECURE_HSTS_SECONDS=3600",
    "security.W008": "SECURE_SSL_REDIRECT=true",
    "security.W012": "SECURE_COOKIES=true",
    "security.W016": "SECURE_COOKIES=true",
}
#: Django's checks of DEBUG, SECRET_KEY and ALLOWED_HOSTS: the doctor has its own findings about these.
SAID_ELSEWHERE = frozenset(("security.W009", "security.W018", "security.W020", "security.W025"))
PREFIXES = ("CLOUDTRAIN_", "SIMPLETUNER_")
#: Variables that our processes, trainers, clients and tests use, and no operator sets.
FURTHER_VARIABLES = (
    *("CLOUDTRAIN_PARENT_PID", "CLOUDTRAIN_TERMINAL_ERRORS_ALONE", "CLOUDTRAIN_JOB_ID", "CLOUDTRAIN_CORRELATION_ID"),
    *("CLOUDTRAIN_URL", "CLOUDTRAIN_API_KEY"),
)
OF_TESTS = "CLOUDTRAIN_TEST_"
#: Variables of SimpleTuner itself, which may be set on the same machine.
OF_SIMPLETUNER = frozenset(
    f"SIMPLETUNER_{name}"
    for name in (
        *("STATE_DIR", "CONFIG_DIR", "HOST", "PORT", "API_KEY", "DISABLE_COLORS", "WEBUI_CONFIG", "WORKSPACE"),
        *("ENVIRONMENT", "ENV", "CONFIG_BACKEND", "TRAINING_CONFIG", "PLATFORM", "SSL_KEY", "SSL_CERT"),
    )
)
_NAMED_IN_FILE = re.compile(r"\$\{(\w+)\}")


def site_settings() -> Iterator[Finding]:
    """Check what the site must not be served with."""
    if settings.DEBUG:
        yield bad("DEBUG is on: error pages show the code and settings to everybody.", "DEBUG=false")
    if "*" in settings.ALLOWED_HOSTS:
        yield warn(
            "ALLOWED_HOSTS allows every name: links in mails can lead elsewhere.", f"ALLOWED_HOSTS={_host() or 'HOST'}"
        )
    address = set_address()
    if not address:
        yield ok("No public address is set: only this machine can use the site.")
        return
    if "://" not in address:
        yield bad(
            f"CSRF_TRUSTED_ORIGINS has {address} without its scheme: forms from there are refused.",
            f"CSRF_TRUSTED_ORIGINS=https://{address}",
        )
        return
    if not validate_host(_host(), settings.ALLOWED_HOSTS):
        yield bad(f"ALLOWED_HOSTS lacks {_host()}: its pages are refused.", f"ALLOWED_HOSTS={_host()}")
    if urlsplit(address).scheme == "https":
        yield from _deployment()
    elif _host() not in LOCAL_HOSTS:
        yield warn(
            f"{address} is plain HTTP: passwords and keys can be read in transit.",
            f"Put a proxy with TLS before the site, and set CSRF_TRUSTED_ORIGINS=https://{_host()}",
        )


def _host() -> str:
    return urlsplit(public_address()).hostname or ""


def _deployment() -> Iterator[Finding]:
    for message in checks.run_checks(tags=[checks.Tags.security], include_deployment_checks=True):
        if not message.is_silenced() and message.id not in SAID_ELSEWHERE:
            text = " ".join(str(message.msg).split())
            yield warn(
                f"{text.split('. ')[0].rstrip('.')} ({message.id}).", DEPLOYMENT.get(str(message.id), _hint(message))
            )


def valid() -> Iterator[Finding]:
    """Check the configuration file as `check` does, and the environment for misspelt names."""
    for message in checks.run_checks(tags=["configuration"]):
        found = bad if message.level >= checks.ERROR else warn
        yield found(str(message.msg), _hint(message))
    known = {
        *VARIABLES,
        enterprise.PATH_VARIABLE,
        *(name for name, _ in enterprise.VARIABLES.values()),
        *FURTHER_VARIABLES,
    }
    known |= _named_in_file()
    for name in sorted(os.environ):
        if not name.startswith(PREFIXES) or name in known or name in OF_SIMPLETUNER or name.startswith(OF_TESTS):
            continue
        near = _nearest(name, known)
        if near:
            yield warn(
                f"The environment variable {name} is set, but nothing reads it.", f"{near}=... (and without {name})"
            )
        elif name.startswith("CLOUDTRAIN_"):
            yield warn(f"The environment variable {name} is set, but nothing reads it.", f"unset {name}")
    path = _file()
    yield ok(f"{path} is valid." if path else "There is no configuration file: the defaults are in force.")


def _nearest(name: str, known: set[str]) -> str:
    """Return the variable that was probably meant. The prefixes are left out: they make everything alike."""
    prefix = next(prefix for prefix in PREFIXES if name.startswith(prefix))
    own = {other.partition("_")[2]: other for other in sorted(known) if other.startswith(PREFIXES)}
    own |= {other: other for other in sorted(known) if not other.startswith(PREFIXES)}
    near = difflib.get_close_matches(name.removeprefix(prefix), own, n=1, cutoff=0.8)
    return own[near[0]] if near else ""


def _file() -> object:
    try:
        return find_enterprise_file()
    except ConfigurationError:
        return None


def _named_in_file() -> set[str]:
    try:
        path = find_enterprise_file()
        return set(_NAMED_IN_FILE.findall(path.read_text())) if path else set()
    except (ConfigurationError, OSError, UnicodeDecodeError):
        return set()  # its own check says so


def _hint(message: checks.CheckMessage) -> str:
    return str(message.hint or f"{COMMAND} show_config")
