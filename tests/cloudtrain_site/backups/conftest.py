from __future__ import annotations

from pathlib import Path

import pytest
from django.conf import settings

from cloudtrain_site.backups.keys import Keys
from tests.cloudtrain_site.backups.places import Place


@pytest.fixture
def place(tmp_path: Path) -> Place:
    """A site with some data, which doesn't run."""
    place = Place(tmp_path, Keys(settings.SECRET_KEY))
    place.fill()
    return place
