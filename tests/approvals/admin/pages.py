"""The admin's pages of requests and rules, as the tests read them."""

from __future__ import annotations

from collections.abc import Callable

from django.contrib.auth.models import User
from django.test import Client

from tests.web import with_single_blanks

BrowserOf = Callable[[User], Client]
LIST = "/admin/approvals/approvalrequest/"
RULES = "/admin/approvals/approvalrule/"
#: What the form of a rule sends.
RULE = {"name": "night", "enabled": "on", "priority": "5", "cost_exceeds": "3", "reviewer_role": "lead",
        "approvals_needed": "1", "expires_after_hours": "24", "exempt_roles": ["admin"]}  # fmt: skip


def page(client: Client, path: str) -> str:
    return with_single_blanks(client.get(path, follow=True).content.decode())
