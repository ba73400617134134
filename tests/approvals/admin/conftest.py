"""What the tests of the approvals' admin share."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from django.contrib.auth.models import User
from django.test import Client


@pytest.fixture
def browser_of() -> Callable[[User], Client]:
    """A browser that is logged in as somebody."""

    def browser(user: User) -> Client:
        made = Client()
        made.force_login(user)
        return made

    return browser
