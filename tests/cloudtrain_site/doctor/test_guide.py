"""docs/doctor.md has each check, and each check leads to a part of the documentation that is there."""

from __future__ import annotations

import re

import pytest

from cloudtrain_site.extensions import doctor_checks
from tests.cloudtrain_site.conftest import ROOT

GUIDE = (ROOT / "docs" / "doctor.md").read_text()


def test_its_table_has_the_checks_in_their_order() -> None:
    rows = re.findall(r"^\| `([\w-]+)` \| ([^|]+) \| [^|]+ \|$", GUIDE.split("## The checks")[1], re.MULTILINE)
    assert rows == [(name, check.question) for name, check in doctor_checks.items()]
    assert f"asks {len(rows)} questions" in GUIDE


@pytest.mark.parametrize("page", sorted({check.more for check in doctor_checks.values()}))
def test_more_is_there_to_read(page: str) -> None:
    name, _, anchor = page.partition("#")
    heads = re.findall(r"^#+ (.+)$", (ROOT / name).read_text(), re.MULTILINE)
    assert not anchor or anchor in [re.sub(r"[^\w-]", "", head.lower().replace(" ", "-")) for head in heads]
