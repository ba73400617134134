"""A real site behind a real nginx with TLS: the doctor has nothing to say, and then finds each thing that is broken."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.cloudtrain_site.doctor.proxies import make_certificate
from tests.cloudtrain_site.process_stacks import START_SECONDS, Stack, running_stack
from tests.cloudtrain_site.test_deploying_guide import NGINX
from tests.servers import free_port, missing, wait_for_port
from tests.wait import wait_until


@dataclass
class Nginx:
    """The server of docs/deploying.md on a port of its own."""

    folder: Path
    binary: str
    text: str

    def configure(self, **changes: str) -> None:
        """Have it read its configuration with other values of some directives."""
        text = self.text
        for name, value in changes.items():
            text = re.sub(rf"\b{name} [^;]+;", f"{name} {value};" if value else "", text)
        (self.folder / "nginx.conf").write_text(text)

    def reload(self) -> None:
        subprocess.run(self.command("-s", "reload"), check=True)

    def command(self, *arguments: str) -> list[str]:
        return [self.binary, "-e", str(self.folder / "error"), "-c", str(self.folder / "nginx.conf"), *arguments]


@contextmanager
def running_nginx(folder: Path, port: int, upstream: int, pem: Path) -> Iterator[Nginx]:
    binary = shutil.which("nginx")
    if binary is None:
        missing("nginx")
    assert binary is not None
    server = NGINX[NGINX.index("server {", 10) :]  # the one with TLS
    server = server.replace("listen 443 ", f"listen 127.0.0.1:{port} ").replace(":8001", f":{upstream}")
    server = re.sub(r"ssl_certificate(_key)? [^;]+;", rf"ssl_certificate\1 {pem};", server)
    kinds = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    own = "".join(f"{kind}_temp_path {folder}/{kind};" for kind in kinds)
    text = f"daemon off; pid {folder}/pid; events {{}} http {{ access_log off; {own}\n{server} }}"
    nginx = Nginx(folder, str(binary), text)
    nginx.configure()
    process = subprocess.Popen(nginx.command())
    try:
        wait_for_port(port, process)
        yield nginx
    finally:
        process.terminate()
        process.wait(20)


def examined(stack: Stack, **extra: str) -> tuple[int, dict[str, str]]:
    """Return the exit code, and what is found wrong."""
    done = stack.run("doctor", "--json", **extra)
    found = {
        one["name"]: " ".join(f"{finding['message']} {finding['remedy']}" for finding in one["findings"])
        for one in json.loads(done.stdout)["checks"]
        if one["status"] in ("warn", "bad")
    }
    return done.returncode, found


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Stack]:
    """A site that has never run, without a key of the tests': it makes its own."""
    with running_stack(tmp_path) as made:
        yield made


@pytest.mark.long
def test_a_running_site_behind_nginx(site: Stack) -> None:
    stack = site
    web, tls = free_port(), free_port()
    pem = make_certificate(stack.folder)
    settings = {
        "CSRF_TRUSTED_ORIGINS": f"https://127.0.0.1:{tls}",
        "ALLOWED_HOSTS": "127.0.0.1",
        "SECURE_COOKIES": "true",
        "SECURE_SSL_REDIRECT": "true",
        "SECURE_HSTS_SECONDS": "3600",
        "SSL_CERT_FILE": str(pem),
        "SECRET_KEY": "",
    }
    up = stack.start("up", "--port", str(web), **settings)
    answer: tuple[int, dict[str, str]] = (0, {})
    with running_nginx(stack.folder, tls, web, pem) as nginx:

        def is_found(expected: dict[str, str], code: int, **extra: str) -> bool:
            nonlocal answer
            answer = examined(stack, **{**settings, **extra})
            names_agree = answer[0] == code and answer[1].keys() == expected.keys()
            return names_agree and all(text in answer[1][name] for name, text in expected.items())

        def wait_for(expected: dict[str, str], code: int, **extra: str) -> None:
            try:
                wait_until(lambda: is_found(expected, code, **extra), START_SECONDS)
            except TimeoutError:
                pytest.fail(f"It says {answer}")

        wait_for({}, 0)
        nginx.configure(client_max_body_size="1m")
        nginx.reload()
        wait_for({"uploads": "client_max_body_size 16m"}, 2)
        nginx.configure(proxy_set_header="")
        nginx.reload()
        wait_for({"public-address": "proxy_set_header X-Forwarded-Proto $scheme;"}, 2)
        nginx.configure()
        nginx.reload()
        (stack.folder / "data" / "secret_key").chmod(0o640)
        mistyped = {"data-folder": "chmod 600", "configuration": "CLOUDTRAIN_WORKERS=..."}
        wait_for(mistyped, 2, CLOUDTRAIN_WORKER="3")
        (stack.folder / "data" / "secret_key").chmod(0o600)
        up.terminate()
        up.wait(30)
        wait_for({"public-address": "answers 502", "background": "No background process is running"}, 2)
