"""The page of machines and clusters in a real browser."""

from __future__ import annotations

from datetime import timedelta

import pytest
from django.contrib.auth.models import User
from playwright.sync_api import expect

from jobs.models import ClusterLook
from jobs.providers.base import ProviderError
from jobs.providers.clusters.view import ClusterView
from jobs.sync import clusters
from tests.browser.conftest import Browse, is_live, is_wider_than_the_window, keep, sticking_out, violations
from tests.factories import make_process
from tests.providers import ClusterProvider, node

pytestmark = [pytest.mark.browser, pytest.mark.slow, pytest.mark.long]
OPEN = "Anybody who can reach its address can run jobs on it. Start Ray with RAY_AUTH_MODE=token."
UNRUNNABLE = "No node has 8 GPUs of the type h100; the largest has 4."


@pytest.fixture
def busy(lab: ClusterProvider) -> ClusterProvider:
    """A site on three machines, one of them silent, and a cluster with 300 nodes, some of which take no jobs."""
    make_process("web-1.example.org", clock_offset_seconds=0.012)
    make_process("worker-1.example.org", "background", clock_offset_seconds=-7.25)
    make_process("worker-2-with-a-rather-long-name.rack-17.example.org", "background", silent_for=timedelta(hours=1))
    nodes = [
        node(
            f"gpu-{number:03}.rack-17.cluster.example.org",
            state="drain" if number % 100 == 7 else "mixed",
            is_usable=number % 100 != 7,
            free_gpus=number % 3,
            resources={"h100": 2.0, "accelerator_type:H100": 1.0},
        )
        for number in range(300)
    ]
    lab.view = ClusterView("2.60.0", nodes, unrunnable={"h100-x8": UNRUNNABLE}, warnings=(OPEN,))
    clusters.look_now("lab")
    return lab


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [1440, 360])
def test_it_is_readable_at_any_width_and_in_both_colour_schemes(
    browse: Browse, root: User, busy: ClusterProvider, width: int, scheme: str
) -> None:
    page = is_live(browse(root, "/machines", viewport={"width": width, "height": 900}, color_scheme=scheme))
    expect(page.get_by_role("heading", name="Machines", exact=True)).to_be_visible()
    expect(page.get_by_text(OPEN)).to_be_visible()
    keep(page, f"machines-{width}-{scheme}")
    assert not is_wider_than_the_window(page)
    assert sticking_out(page) == []
    assert violations(page) == []


def test_an_empty_site_says_what_is_missing(browse: Browse, root: User, lab: ClusterProvider) -> None:
    page = is_live(browse(root, "/machines"))
    expect(page.get_by_text("No web or background process is running.")).to_be_visible()
    expect(page.get_by_text("Its nodes are not known yet.")).to_be_visible()
    keep(page, "machines-empty")
    assert violations(page) == []


def test_the_other_nodes_unfold_by_keyboard_and_stay_so(browse: Browse, root: User, busy: ClusterProvider) -> None:
    page = is_live(browse(root, "/machines"))
    last = page.get_by_text("gpu-299.rack-17.cluster.example.org")
    expect(last).to_be_hidden()
    page.get_by_text("250 more nodes").focus()
    page.keyboard.press("Enter")
    expect(last).to_be_visible()
    with page.expect_response("**/machines/now"):
        page.get_by_role("button", name="Refresh Lab").click()
    expect(last).to_be_visible()


def test_refresh_by_keyboard_shows_what_the_cluster_answers_and_keeps_the_keyboard(
    browse: Browse, root: User, busy: ClusterProvider, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(clusters, "PAUSE", timedelta(minutes=1))  # a picture may take longer than the pause
    page = is_live(browse(root, "/machines"))
    ClusterLook.objects.update(looked_at=None)
    busy.view = ProviderError("connection refused")
    button = page.get_by_role("button", name="Refresh Lab")
    button.focus()
    with page.expect_response("**/machines/now"):
        page.keyboard.press("Enter")
    expect(page.get_by_text("Last look failed")).to_be_visible()
    expect(page.get_by_text("Lab could not be checked: connection refused.")).to_be_visible()
    expect(page.get_by_text("gpu-107.rack-17.cluster.example.org")).to_be_visible()  # as it was last seen
    expect(button).to_be_focused()
    keep(page, "machines-away")
    looks = busy.looks
    with page.expect_response("**/machines/now"):
        button.click()  # again, at once
    assert busy.looks == looks
