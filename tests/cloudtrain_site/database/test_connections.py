"""Whoever waits for the network keeps no database connection from others."""

from __future__ import annotations

import pytest
from django.db import connections

from cloudtrain_site.accounts.sso.client import ProviderClient
from cloudtrain_site.accounts.sso.errors import ProviderAwayError
from cloudtrain_site.conf.providers import Secret
from cloudtrain_site.conf.sign_in import SingleSignOn
from cloudtrain_site.database.connections import lend_connection


@pytest.mark.parametrize(("options", "closed"), [({"pool": {"max_size": 10}}, 1), ({}, 0)])
def test_a_pooled_connection_is_given_back(
    monkeypatch: pytest.MonkeyPatch, options: dict[str, object], closed: int
) -> None:
    closings: list[int] = []
    monkeypatch.setattr(connections["default"], "close", lambda: closings.append(1))
    monkeypatch.setitem(connections["default"].settings_dict, "OPTIONS", options)
    lend_connection()
    assert len(closings) == closed


@pytest.mark.django_db
def test_a_transaction_keeps_its_connection(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(connections["default"].settings_dict, "OPTIONS", {"pool": {"max_size": 10}})
    monkeypatch.setattr(connections["default"], "close", lambda: pytest.fail("closed"))
    lend_connection()


def test_a_sign_in_that_waits_for_its_identity_provider_keeps_none(monkeypatch: pytest.MonkeyPatch) -> None:
    closings: list[int] = []
    monkeypatch.setattr(connections["default"], "close", lambda: closings.append(1))
    monkeypatch.setitem(connections["default"].settings_dict, "OPTIONS", {"pool": {"max_size": 10}})
    with pytest.raises(ProviderAwayError):
        _ = ProviderClient(SingleSignOn("http://127.0.0.1:9", "x", Secret("y"), ("example.org",))).metadata
    assert closings == [1]
