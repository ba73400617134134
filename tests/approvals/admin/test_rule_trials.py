"""The trial of a rule in the admin counts as a preview."""

from __future__ import annotations

import pytest
from django.contrib.auth.models import User
from django.test import Client

from tests.approvals.admin.pages import RULE, RULES
from tests.limits import SetLimits

pytestmark = pytest.mark.slow


@pytest.mark.django_db
def test_one_trial_too_many_is_a_429_with_a_page(client: Client, root: User, set_limits: SetLimits) -> None:
    set_limits(previews_per_minute=1)
    client.force_login(root)
    first, second = (client.post(f"{RULES}try", RULE) for _ in range(2))
    assert (first.status_code, second.status_code, second["Retry-After"]) == (200, 429, "60")
    assert "You have reached the limit for dry runs and previews of rules" in second.content.decode()
