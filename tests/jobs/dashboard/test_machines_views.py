"""The page of machines and clusters without a browser: who sees it, what is on it, what its button does."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.test import Client
from django.utils import timezone

from jobs.models import ClusterLook
from jobs.providers.base import ProviderError
from jobs.providers.clusters.view import ClusterView
from jobs.sync import clusters
from tests.factories import make_process, make_user
from tests.providers import ClusterProvider, node
from tests.web import read_page

pytestmark = [pytest.mark.slow, pytest.mark.django_db]


def client_for(user: User) -> Client:
    client = Client()
    client.force_login(user)
    return client


class TestWhoSeesIt:
    def test_nobody_is_sent_to_the_login_and_a_script_is_told(self, client: Client) -> None:
        assert client.get("/machines")["Location"] == "/login?next=/machines"
        assert client.get("/machines/now").status_code == 401
        assert client.post("/machines/lab/refresh").status_code == 401

    @pytest.mark.parametrize("role", ["admin", "lead", "researcher", "viewer"])
    def test_members_and_their_admins_do_not(self, acme: Any, lab: ClusterProvider, role: str) -> None:
        client = client_for(make_user("maria", acme, role))
        assert [client.get(page).status_code for page in ("/machines", "/machines/now")] == [403, 403]
        assert client.post("/machines/lab/refresh").status_code == 403
        assert lab.looks == 0
        assert 'href="/machines"' not in read_page(User.objects.get(username="maria"), "/")

    def test_a_superuser_does_and_is_led_there(self, root: User) -> None:
        assert 'href="/machines"' in read_page(root, "/")
        assert "<h1>Machines</h1>" in read_page(root, "/machines")


class TestSite:
    def test_no_heartbeat_is_said(self, root: User) -> None:
        assert "No web or background process is running." in read_page(root, "/machines")

    def test_each_process_with_its_state(self, root: User) -> None:
        make_process("well", clock_offset_seconds=0.1)
        make_process("silent", silent_for=timedelta(hours=1))
        make_process("skewed", clock_offset_seconds=9.5)
        two_hours_ago = timezone.now() - timedelta(hours=2)
        make_process("older", code="old", clock_offset_seconds=None, started_at=two_hours_ago)
        page = read_page(root, "/machines/now")
        rows = re.findall(r"<bdi>(\w+)</bdi></th>.*?chip-\w+\">([^<]+)<", page.replace("\n", " "))
        assert dict(rows) == {
            "well": "Running",
            "silent": "Silent",
            "skewed": "Clock is off",
            "older": "Older code",
        }
        assert "+9.500 s" in page and "same as the database" in page


class TestClusters:
    def test_what_was_seen_is_shown_without_a_request(self, root: User, lab: ClusterProvider) -> None:
        lab.view = ClusterView(
            "2.60.0",
            (node("gpu-node", free_gpus=1, resources={"h100": 2.0}), node("<odd>", is_usable=False, state="drain")),
            unrunnable={"h100-x8": "No node has 8 GPUs."},
            warnings=("It takes jobs from anybody.",),
        )
        clusters.look_now("lab")
        page = read_page(root, "/machines")
        for text in ("2.60.0", "gpu-node", "1 free, 1 taken", "No node has 8 GPUs.", "It takes jobs from anybody."):
            assert text in page, text
        assert "<odd>" not in page and "&lt;odd&gt;" in page
        assert page.index("&lt;odd&gt;") < page.index("gpu-node")
        assert lab.looks == 1

    def test_one_that_was_never_seen_says_so(self, root: User, lab: ClusterProvider) -> None:
        page = read_page(root, "/machines")
        assert "Not seen yet" in page and "Its nodes are not known yet." in page

    def test_one_without_nodes_says_so(self, root: User, lab: ClusterProvider) -> None:
        lab.view = ClusterView("1.0", ())
        clusters.look_now("lab")
        page = read_page(root, "/machines")
        assert "The cluster has no nodes." in page and "Lab has no node that accepts trainings." in page

    def test_one_that_is_away_keeps_its_nodes_and_says_when_it_was_tried(
        self, root: User, lab: ClusterProvider
    ) -> None:
        clusters.look_now("lab")
        lab.view = ProviderError("connection refused")
        ClusterLook.objects.update(looked_at=None)
        clusters.look_now("lab")
        page = read_page(root, "/machines")
        assert "Last look failed" in page and "connection refused" in page and "last tried" in page
        assert "node-1" in page

    def test_many_nodes_are_folded_the_unusable_ones_first(self, root: User, lab: ClusterProvider) -> None:
        many = [node(f"node-{number}", is_usable=number != 299) for number in range(300)]
        lab.view = ClusterView("1.0", many)
        clusters.look_now("lab")
        page = read_page(root, "/machines")
        first, rest = page.split("<details", 1)
        assert "250 more nodes" in rest
        assert first.count("<bdi>node-") == 50 and rest.count("<bdi>node-") == 250
        assert first.index("node-299<") < first.index("node-0<") < first.index("node-2<") < first.index("node-10<")


class TestRefresh:
    def test_it_looks_at_once_and_a_second_click_asks_nobody(self, root: User, lab: ClusterProvider) -> None:
        client = client_for(root)
        for _ in range(2):
            assert client.post("/machines/lab/refresh").status_code == 204
        assert lab.looks == 1
        assert ClusterLook.objects.get().seen_at is not None

    def test_a_cluster_that_fails_is_no_error_of_the_page(self, root: User, lab: ClusterProvider) -> None:
        lab.view = ProviderError("connection refused")
        assert client_for(root).post("/machines/lab/refresh").status_code == 204
        assert "connection refused" in read_page(root, "/machines")

    @pytest.mark.parametrize("name", ["local", "nothing", "%00"])
    def test_what_is_no_cluster_is_not_found(self, root: User, lab: ClusterProvider, name: str) -> None:
        assert client_for(root).post(f"/machines/{name}/refresh").status_code == 404

    def test_it_takes_no_get(self, root: User, lab: ClusterProvider) -> None:
        assert client_for(root).get("/machines/lab/refresh").status_code == 405
        assert lab.looks == 0

    def test_it_wants_the_token_against_forged_requests(self, root: User, lab: ClusterProvider) -> None:
        client = Client(enforce_csrf_checks=True)
        client.force_login(root)
        assert client.post("/machines/lab/refresh").status_code == 403
        assert lab.looks == 0
