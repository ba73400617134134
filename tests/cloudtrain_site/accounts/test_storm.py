"""Many addresses that guess one person's password; `CLOUDTRAIN_SIGN_IN_STORM=10000` has them guess that often."""

from __future__ import annotations

import os
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import pytest
from django.contrib.auth.models import User
from django.db import connection
from django.test import Client

from cloudtrain_site.models import Brake

pytestmark = [pytest.mark.usefixtures("quick_passwords"), pytest.mark.django_db(transaction=True)]
PASSWORD = "unused-password"
THREADS = 8
MANY = int(os.environ.get("CLOUDTRAIN_SIGN_IN_STORM", "2000"))


def guess(number: int, addresses: int, login: str = "alice") -> int:
    address = f"10.0.{number % addresses // 250}.{number % addresses % 250}"
    form = {"login": login, "password": f"guess-{number}"}
    return Client().post("/login", form, REMOTE_ADDR=address).status_code


def guesses(first: int, passwords: int, addresses: int) -> Counter[int]:
    try:
        return Counter(guess(number, addresses) for number in range(first, passwords, THREADS))
    finally:
        connection.close()


@pytest.mark.slow
@pytest.mark.parametrize(
    ("passwords", "addresses"),
    [(400, 40), pytest.param(MANY, 1_000, marks=[pytest.mark.long, pytest.mark.timeout(600)])],
)
def test_nobody_gets_in_and_the_right_person_still_does(alice: User, passwords: int, addresses: int) -> None:
    hers = Client()
    assert hers.post("/login", {"login": "alice", "password": PASSWORD}).status_code == 302
    hers.post("/logout")
    began = time.monotonic()
    with ThreadPoolExecutor(THREADS) as threads:
        counts = threads.map(guesses, range(THREADS), [passwords] * THREADS, [addresses] * THREADS)
        answers: Counter[int] = sum(counts, Counter())
    took = time.monotonic() - began
    assert set(answers) == {200, 429}
    assert answers[429] >= passwords - 5 - 1 - took  # of every second one at most gets to the password
    assert hers.post("/login", {"login": "alice", "password": PASSWORD}).status_code == 302
    assert hers.get("/account").status_code == 200
    # Each address has failed no more often than the account let it.
    assert Brake.objects.filter(key__startswith="address:", paused_until__gt=0).count() == 0
    print(f"{passwords} in {took:.1f} s: {dict(answers)}")  # noqa: T201
