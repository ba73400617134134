"""Addresses that must not be called are refused, however they are written."""

from __future__ import annotations

from typing import Any

import pytest

from cloudtrain_site.notices.targets import (
    RefusedAddressError,
    check_address,
    checked_socket,
    may_connect,
    shown_address,
)

PRIVATE = [
    *("127.0.0.1", "10.1.2.3", "172.16.0.1", "192.168.1.1", "169.254.169.254", "100.100.100.200", "0.0.0.0"),
    *("168.63.129.16", "192.0.0.192", "224.0.0.1", "255.255.255.255", "240.0.0.1"),
    *("::1", "::", "fe80::1", "fe80::1%eth0", "fd00:ec2::254", "fec0::1", "ff02::1", "2001:db8::1"),
    *("::ffff:127.0.0.1", "::ffff:10.0.0.1", "::127.0.0.1", "64:ff9b::7f00:1", "64:ff9b:1::1", "2002:7f00:1::"),
    "2001:0:7f00:1::",
]


@pytest.mark.parametrize("address", PRIVATE)
def test_private_addresses_are_refused(address: str) -> None:
    assert not may_connect(address, ())


@pytest.mark.parametrize("address", ["8.8.8.8", "2606:4700::1111", "::ffff:8.8.8.8", "64:ff9b::808:808"])
def test_public_addresses_are_allowed(address: str) -> None:
    assert may_connect(address, ())


@pytest.mark.parametrize("address", ["10.1.2.3", "::ffff:10.1.2.3"])
def test_an_operator_may_allow_a_network(address: str) -> None:
    assert may_connect(address, ("10.1.0.0/16",))
    assert not may_connect(address, ("10.2.0.0/16", "fd00::/8"))


@pytest.mark.parametrize(
    "address",
    [
        "http://127.0.0.1/x",
        "http://127.1/x",
        "http://2130706433/",
        "http://0x7f.1/",
        "http://0177.0.0.1/",
        "http://localhost:8001/",
        "http://a.localhost/",
        "http://[::1]/",
        "http://[::ffff:10.0.0.1]/",
        "https://user:password@example.org/",
        "https://user@example.org/",
        "ftp://example.org/",
        "file:///etc/passwd",
        "//example.org/",
        "https://",
        "https://example.org:0/",
        "https://example.org:99999/",
        "http://[",
        "https://example.org/a b",
        "https://example.org/\n",
        "https://example.org/" + "x" * 500,
    ],
)
def test_what_the_text_shows_is_refused_before_any_call(address: str) -> None:
    with pytest.raises(RefusedAddressError):
        check_address(address)


def test_a_name_is_checked_at_the_connection(settings: Any) -> None:
    assert check_address("https://hooks.example.org/x") == "hooks.example.org"
    with pytest.raises(RefusedAddressError, match=r"10\.0\.0\.1 is a private address"):
        checked_socket((2, 1, 6, "", ("10.0.0.1", 443)))
    settings.NOTICE_NETWORKS = ["10.0.0.0/8"]
    checked_socket((2, 1, 6, "", ("10.0.0.1", 443))).close()


def test_pages_show_no_path_of_an_address() -> None:
    assert shown_address("https://hooks.example.org:444/services/secret?token=x") == "https://hooks.example.org:444/…"
    assert shown_address("https://hooks.example.org") == "https://hooks.example.org"
