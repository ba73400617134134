"""What the doctor finds at the public address: a real web server, and a proxy with TLS before it."""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from django.test import Client

from cloudtrain_site.doctor import public
from cloudtrain_site.doctor.findings import Finding, Status, worst_of
from cloudtrain_site.doctor.runs import examine
from cloudtrain_site.models import SiteProcess
from cloudtrain_site.monitoring.process_heartbeats import WEB, process_key
from cloudtrain_site.serving.echo import ANSWER_HEADER, REQUEST_HEADER, Seen, new_token
from tests.cloudtrain_site.doctor.proxies import Manners, make_certificate, proxy_before
from tests.factories import make_process

CHECKS = {
    "public-address": public.address,
    "client-address": public.client,
    "event-stream": public.event_stream,
    "uploads": public.uploads,
}


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_certificate(tmp_path_factory.mktemp("tls"))


def trust(certificate: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(public, "ssl_context", lambda: ssl.create_default_context(cafile=str(certificate)))


@pytest.fixture
def manners(web_server: str, certificate: Path, monkeypatch: pytest.MonkeyPatch, settings: Any) -> Iterator[Manners]:
    """The proxy's, which the test may change."""
    chosen = Manners(web_server)
    trust(certificate, monkeypatch)
    make_process(role=WEB, id=process_key(WEB))
    with proxy_before(chosen, certificate) as address:
        settings.CSRF_TRUSTED_ORIGINS = [address]
        yield chosen


def problems() -> dict[str, str]:
    """Return what is found wrong, by check; behind an address that is bad nothing more is asked."""
    found: dict[str, str] = {}
    for name, check in CHECKS.items():
        findings = list(check())
        if worst_of(one.status for one in findings) in (Status.BAD, Status.WARN):
            found[name] = " ".join(f"{one.message} [{one.remedy}]" for one in findings)
            if name == "public-address":
                break
    return found


def test_each_fault_of_a_proxy_is_found_and_nothing_else_cries(manners: Manners) -> None:
    assert problems() == {}
    faults: list[tuple[dict[str, Any], str, str]] = [
        ({"tells_scheme": False}, "public-address", "[proxy_set_header X-Forwarded-Proto $scheme;]"),
        ({"host": "localhost"}, "public-address", "[proxy_set_header Host $http_host;]"),
        ({"host": "elsewhere.example.org"}, "public-address", "[ALLOWED_HOSTS=127.0.0.1]"),
        (
            {"answers": 301, "leads_to": "https://www.example.org/x"},
            "public-address",
            "ORIGINS=https://www.example.org]",
        ),
        ({"answers": 502}, "public-address", "does not reach the site"),
        ({"answers": 200}, "public-address", "is not this site"),
        ({"tells_client": False}, "client-address", "[proxy_set_header X-Forwarded-For $remote_addr;]"),
        (
            {"max_bytes": 1_000_000},
            "uploads",
            "size 16m; in the proxy's location /api/cloud/jobs/submit]",
        ),
        (
            {"max_bytes": 20_000_000},
            "uploads",
            "size 97m; in the proxy's location /api/cloud/uploads]",
        ),
    ]
    for changes, check, text in faults:
        usual = {name: getattr(manners, name) for name in changes}
        vars(manners).update(changes)
        answer = problems()
        vars(manners).update(usual)
        assert set(answer) == {check}, changes
        assert text in answer[check], answer


def test_a_stream_that_the_proxy_keeps_back_is_found(manners: Manners, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(public, "STEP_SECONDS", 0.3)
    manners.keeps_streams_back = True
    assert [one.status for one in public.event_stream()] == [Status.BAD]


def test_another_database_is_found(manners: Manners) -> None:
    SiteProcess.objects.all().delete()
    assert "uses another database" in problems()["public-address"]


def test_a_certificate_that_browsers_refuse_or_that_ends_is_found(
    manners: Manners, web_server: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, settings: Any
) -> None:
    ending = make_certificate(tmp_path, days=5)
    with proxy_before(manners, ending) as address:
        settings.CSRF_TRUSTED_ORIGINS = [address]
        assert "Browsers refuse the certificate" in problems()["public-address"]
        trust(ending, monkeypatch)
        assert "ends in 4 days. [certbot renew]" in problems()["public-address"]


def test_nobody_there_is_no_fault(settings: Any) -> None:
    settings.CSRF_TRUSTED_ORIGINS = ["http://127.0.0.1:9"]
    (one,) = public.address()
    assert one.status == Status.SKIPPED
    assert "can't be reached from here: Connection refused." in one.message
    settings.CSRF_TRUSTED_ORIGINS = []
    assert examine("public-address").status == Status.SKIPPED


def seen_by_site(**fields: Any) -> Seen:
    usual = {"token": "", "scheme": "https", "host": "a", "client": "1.2.3.4", "peer": "1.2.3.4", "peer_port": 1}
    return Seen(**{**usual, "forwarded_for": "", "forwarded_proto": "", "process": "", **fields})


def test_a_proxy_that_is_not_trusted_is_named() -> None:
    seen = seen_by_site(scheme="http", peer="10.0.0.9", forwarded_proto="https")
    findings = list(public._as_browsers_see("https://a", seen))
    assert findings == [
        Finding(
            Status.BAD,
            "The site sees http where browsers use https: it does not trust the proxy 10.0.0.9.",
            "CLOUDTRAIN_TRUSTED_PROXIES=10.0.0.9",
        )
    ]
    seen = seen_by_site(client="10.0.0.9", peer="10.0.0.9", forwarded_for="5.6.7.8")
    assert public.of_client(seen, ("5.6.7.8", 4711)).remedy == "CLOUDTRAIN_TRUSTED_PROXIES=10.0.0.9"
    trusted = seen_by_site(client="5.6.7.8", peer="10.0.0.9", forwarded_for="5.6.7.8")
    assert public.of_client(trusted, ("5.6.7.8", 4711)).status == Status.OK
    # Behind a router that replaces addresses.
    translated = seen_by_site(client="9.9.9.9", peer="10.0.0.9", forwarded_for="9.9.9.9")
    assert public.of_client(translated, ("192.168.0.2", 4711)).status == Status.OK


def test_strangers_are_told_nothing() -> None:
    for token in ("", "x", new_token()[:-1]):
        assert ANSWER_HEADER not in Client().get(public.LIVE, headers={REQUEST_HEADER: token})
    assert ANSWER_HEADER in Client().get(public.LIVE, headers={REQUEST_HEADER: new_token()})
