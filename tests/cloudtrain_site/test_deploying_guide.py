"""docs/deploying.md: what nginx is told, and the compose file that uses the same text."""

from __future__ import annotations

import re
import shutil
import subprocess
import textwrap
from pathlib import Path
from typing import Any

import pytest
import yaml

from cloudtrain_site.conf.variables import VARIABLES
from jobs.datasets.store import UPLOAD_LIMIT_BYTES
from tests.cloudtrain_site.conftest import ROOT

GUIDE = (ROOT / "docs" / "deploying.md").read_text()
NGINX = textwrap.dedent(GUIDE[GUIDE.index("    server {") : GUIDE.index("* `client_max_body_size`")])

DEPLOY = ROOT / "deploy"
SERVICES: dict[str, dict[str, Any]] = yaml.safe_load((DEPLOY / "compose.yaml").read_text())["services"]


def block(location: str) -> str:
    return NGINX.split(f"location {location} {{")[1].split("}")[0]


def test_nginx_buffers_everything_but_uploads() -> None:
    assert "proxy_request_buffering off;" in block("= /api/cloud/uploads")
    assert NGINX.count("proxy_request_buffering") == 1


def test_nginx_takes_what_the_site_takes() -> None:
    sizes = re.findall(r"client_max_body_size (\d+)m;", NGINX)
    assert sizes == ["16", "101"]
    assert int(sizes[1]) * 2**20 > UPLOAD_LIMIT_BYTES


def test_nginx_reads_the_example(tmp_path: Path) -> None:
    nginx = shutil.which("nginx")
    if nginx is None:
        pytest.skip("nginx is not on this machine")
    request = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=train.example.org"]
    subprocess.run([*request, "-out", tmp_path / "pem", "-keyout", tmp_path / "key"], check=True, capture_output=True)
    example = NGINX.replace("/etc/ssl/train.example.org.pem", str(tmp_path / "pem"))
    example = example.replace("/etc/ssl/private/train.example.org.key", str(tmp_path / "key"))
    kinds = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    own = "".join(f"{kind}_temp_path {tmp_path}/{kind};\n" for kind in kinds) + "access_log off;\n"
    (tmp_path / "nginx.conf").write_text(f"pid {tmp_path}/pid;\nevents {{}}\nhttp {{\n{own}{example}}}\n")
    done = subprocess.run([nginx, "-t", "-c", tmp_path / "nginx.conf"], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


def test_the_compose_file_has_the_guides_nginx_on_the_same_machine() -> None:
    assert (DEPLOY / "nginx.conf").read_text().strip() == NGINX.strip()
    proxy, site = SERVICES["proxy"], SERVICES["site"]
    mounted = {target for _, target, _ in (volume.split(":") for volume in proxy["volumes"])}
    assert set(re.findall(r"ssl_certificate(?:_key)? (\S+);", NGINX)) <= mounted
    assert proxy["network_mode"] == "service:site"
    host, port = site["command"][site["command"].index("--host") + 1], site["command"][-1]
    assert set(re.findall(r"proxy_pass (\S+);", NGINX)) == {f"http://{host}:{port}"}
    assert {mapping.split(":")[1] for mapping in site["ports"]} == set(re.findall(r"listen (\d+)", NGINX))


def test_the_compose_file_sets_what_there_is_to_set_and_names_no_registry() -> None:
    assert SERVICES["site"]["environment"].keys() <= VARIABLES.keys()
    containerfile = (DEPLOY / "Containerfile").read_text()
    (base,) = re.findall("^ARG BASE=(.*)$", containerfile, re.MULTILINE)
    assert set(re.findall(r"^FROM (\S+)", containerfile, re.MULTILINE)) == {"${BASE}"}
    images = [base, *(service["image"].partition(":-")[2].rstrip("}") for service in SERVICES.values())]
    assert [image for image in images if image and "/" in image] == []
    assert (ROOT / SERVICES["site"]["build"]["dockerfile"]).samefile(DEPLOY / "Containerfile")
    assert (DEPLOY / SERVICES["site"]["build"]["context"]).samefile(ROOT)
