"""Signatures of webhooks: who knows the secret is believed, for five minutes; nobody else ever."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jobs.webhooks.signatures import TOLERANCE_SECONDS, Check, check
from tests.jobs.webhooks.deliveries import sign

KEY = bytes(range(24))
SECRET = "whsec_" + base64.b64encode(KEY).decode()
NOW = 1_700_000_000
BODY = b'{"id": "abc"}'
VECTORS = json.loads((Path(__file__).parent / "data" / "webhook-vectors.json").read_text())["vectors"]


def signed(key: bytes = KEY, delivery: str = "msg_1", stamp: str = str(NOW), body: bytes = BODY) -> dict[str, str]:
    """The headers of somebody who signs with `key`, whatever they sign."""
    text = b".".join((delivery.encode(), stamp.encode(), body))
    signature = base64.b64encode(hmac.new(key, text, hashlib.sha256).digest()).decode()
    return {"webhook-id": delivery, "webhook-timestamp": stamp, "webhook-signature": f"v1,{signature}"}


def test_who_signs_with_the_secret_is_believed() -> None:
    assert check(signed(), BODY, SECRET, NOW) == Check.VALID
    assert check(signed(), BODY, SECRET.removeprefix("whsec_"), NOW) == Check.VALID


def test_who_signs_with_another_secret_is_not() -> None:
    assert check(signed(b"another key"), BODY, SECRET, NOW) == Check.FORGED


@pytest.mark.parametrize("secret", ["", "whsec_", "whsec_***", "***", "whsec_AAA", "whsec_A\u00e9=="])
def test_a_secret_that_cannot_be_read_believes_nobody(secret: str) -> None:
    assert check(signed(b""), BODY, secret, NOW) == Check.FORGED


def test_a_secret_with_other_characters_among_its_letters_is_not_read_without_them() -> None:
    """Else who knows the letters alone would be believed."""
    lenient = base64.b64decode("AAAA*AAAA")
    assert check(signed(lenient), BODY, "whsec_AAAA*AAAA", NOW) == Check.FORGED


@pytest.mark.parametrize("missing", ["webhook-id", "webhook-timestamp", "webhook-signature"])
def test_each_of_the_three_headers_is_needed(missing: str) -> None:
    """Be it signed rightly without it."""
    headers = signed(
        delivery="" if missing == "webhook-id" else "msg_1", stamp="" if missing == "webhook-timestamp" else str(NOW)
    )
    for incomplete in ({**headers, missing: ""}, {name: headers[name] for name in headers if name != missing}):
        assert check(incomplete, BODY, SECRET, NOW) == Check.FORGED


def test_without_any_of_them_it_is_unsigned() -> None:
    assert check({"content-type": "application/json"}, BODY, SECRET, NOW) == Check.UNSIGNED


ARABIC = str(NOW).translate({ord(digit): 0x660 + int(digit) for digit in "0123456789"})


@pytest.mark.parametrize("stamp", ["x", "", "1.7e9", "-1700000000", ARABIC, "\u00b2", f"000{NOW}", "1" * 4000])
def test_a_rightly_signed_time_that_is_none_is_stale(stamp: str) -> None:
    expected = Check.STALE if stamp else Check.FORGED
    assert check(signed(stamp=stamp), BODY, SECRET, NOW) == expected


def test_the_longest_time_that_is_read_has_twelve_digits() -> None:
    assert check(signed(stamp=f"00{NOW}"), BODY, SECRET, NOW) == Check.VALID
    assert check(signed(stamp=f"000{NOW}"), BODY, SECRET, NOW) == Check.STALE


@pytest.mark.parametrize(
    ("seconds", "found"),
    [(300, Check.VALID), (300.5, Check.STALE), (-300, Check.VALID), (-300.5, Check.STALE)],
)
def test_a_time_is_borne_for_five_minutes_and_not_a_moment_longer(seconds: float, found: Check) -> None:
    assert check(signed(), BODY, SECRET, NOW + seconds) == found


def test_a_wrong_signature_is_told_before_a_wrong_time() -> None:
    assert check(signed(b"another key"), BODY, SECRET, NOW + 9999) == Check.FORGED


def test_a_header_of_4096_characters_is_read_and_a_longer_one_is_not() -> None:
    assert check(signed(delivery="m" * 4096), BODY, SECRET, NOW) == Check.VALID
    assert check(signed(delivery="m" * 4097), BODY, SECRET, NOW) == Check.FORGED


@pytest.mark.parametrize("version", ["v2", "v1a", "V1", ""])
def test_the_right_signature_under_another_version_is_none(version: str) -> None:
    headers = signed()
    headers["webhook-signature"] = headers["webhook-signature"].replace("v1,", f"{version},")
    assert check(headers, BODY, SECRET, NOW) == Check.FORGED


def test_one_right_signature_among_wrong_ones_will_do() -> None:
    headers = signed()
    headers["webhook-signature"] = f"v1,AAAA {headers['webhook-signature']} v1,BBBB"
    assert check(headers, BODY, SECRET, NOW) == Check.VALID


def test_characters_that_are_no_text_are_compared_and_not_raised() -> None:
    headers = {**signed(), "webhook-signature": "v1,\ud800"}
    assert check(headers, BODY, SECRET, NOW) == Check.FORGED
    assert check({**signed(), "webhook-id": "\ud800", "webhook-timestamp": "\ud800"}, BODY, SECRET, NOW) == Check.FORGED


@pytest.mark.parametrize("vector", VECTORS, ids=lambda vector: vector["name"])
def test_the_known_vectors(vector: dict[str, Any]) -> None:
    headers = {name: value for name, value in vector.items() if name.startswith("webhook-")}
    body, secret, now = vector["body"].encode(), vector["secret"], float(vector["webhook-timestamp"])
    assert check(headers, body, secret, now) == Check.VALID
    assert check(headers, body + b" ", secret, now) == Check.FORGED


@pytest.mark.parametrize(
    ("seconds", "found"), [(0, "valid"), (299, "valid"), (301, "stale"), (-299, "valid"), (-301, "stale")]
)
def test_five_minutes_are_borne_both_ways(seconds: int, found: str) -> None:
    assert TOLERANCE_SECONDS == 300
    assert check(sign(b"{}", at=1_000_000), b"{}", SECRET, 1_000_000 + seconds) == found


def test_any_of_several_signatures_will_do() -> None:
    headers = sign(b"{}", at=0)
    headers["webhook-signature"] = f"v1a,xx v2,yy v1,AAAA  {headers['webhook-signature']} garbage v1,a,b"
    assert check(headers, b"{}", SECRET, 0) == Check.VALID


texts = st.text(max_size=50)


@given(delivery=texts, stamp=texts, signature=texts, body=st.binary(max_size=100), secret=texts)
def test_the_verifier_never_raises_and_lets_nothing_through(
    delivery: str, stamp: str, signature: str, body: bytes, secret: str
) -> None:
    headers = {"webhook-id": delivery, "webhook-timestamp": stamp, "webhook-signature": signature}
    assert check(headers, body, secret, 0) in (Check.FORGED, Check.UNSIGNED)
