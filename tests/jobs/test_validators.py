"""Names read as what they are."""

from __future__ import annotations

import pytest
from django.contrib.auth.models import User
from django.core.exceptions import ValidationError
from django.core.management import CommandError, call_command
from django.test import Client
from rest_framework.test import APIClient

from approvals.models import ApprovalRule
from cloudtrain_site.models import ApiKey
from cloudtrain_site.names import readable_name
from jobs.configs.store import store_config
from jobs.models import Job, Organization, TrainingConfig
from jobs.providers.replicate.predictions import read_discovered
from jobs.validators import is_plain_name, made_plain, plain_name

pytestmark = pytest.mark.slow

OVERRIDE = "run \u202egnp.exe"
SUBMIT = "/api/cloud/jobs/submit?provider=local"

REFUSED = [
    ("run \u202egnp.exe", "character 5 is a right-to-left override"),
    ("a\u2066b", "character 2 is a left-to-right isolate"),
    ("a\u200bb", "character 2 is a zero width space"),
    ("a\u200f", "character 2 is a right-to-left mark"),
    ("a\u00adb", "character 2 is a soft hyphen"),
    ("a\u0085", r"character 2 is U\+0085"),
    ("\x00", r"character 1 is U\+0000"),
    ("a\x7f", r"character 2 is U\+007F"),
    ("a\u2060b", "character 2 is a word joiner"),
    ("\ufeffa", "character 1 is a zero width no-break space"),
    ("a\u2028b", "character 2 is a line separator"),
    ("a\u2029b", "character 2 is a paragraph separator"),
    ("a\ue000", r"character 2 is U\+E000"),
    ("a\u0378", r"character 2 is U\+0378"),
    ("a\ud800", r"character 2 is U\+D800"),
    ("a\u3164", "character 2 is a hangul filler"),
    ("a\U000e0041", "character 2 is a tag latin capital letter a"),
    ("a\ufe0fb", "character 2 is a variation selector-16"),
    ("a\u200db", "character 2 is a zero width joiner"),
    ("क\u200da", "character 2 is a zero width joiner"),
    ("می\u200c", "character 3 is a zero width non-joiner"),
    ("a/b", "character 2 is a solidus"),
    ("a\\b", "character 2 is a reverse solidus"),
]
TAKEN = [
    "flux lora",
    "🚂 שלום",
    "مرحبا",
    "می\u200cخواهم",
    "क्\u200dष",
    "❤\ufe0f",
    "e\u0301té",
    "模型",
    "٣\u06dd",
    "a\u00a0b",
]


@pytest.mark.parametrize(("name", "text"), REFUSED)
def test_a_name_that_deceives_is_refused_with_the_place(name: str, text: str) -> None:
    with pytest.raises(ValidationError, match=rf"{text}\."):
        plain_name(name)
    assert not is_plain_name(name)
    assert is_plain_name(made_plain(name))


@pytest.mark.parametrize("name", TAKEN)
def test_names_of_all_scripts_are_taken(name: str) -> None:
    plain_name(name)
    assert made_plain(name) == name


@pytest.mark.parametrize("name", ["portraits/night 3", "H100 / large", "C:\\\\runs"])
def test_a_name_that_is_no_part_of_an_address_may_have_slashes(name: str) -> None:
    readable_name(name)
    with pytest.raises(ValidationError):
        plain_name(name)


@pytest.mark.parametrize("name", [OVERRIDE, "a\u200bb", "a\nb"])
def test_a_name_that_is_no_part_of_an_address_deceives_nobody_either(name: str) -> None:
    with pytest.raises(ValidationError, match="A name can't contain control characters or"):
        readable_name(name)


@pytest.mark.django_db
class TestWhoUsesIt:
    @pytest.fixture
    def as_alice(self, alice: User) -> APIClient:
        client = APIClient()
        client.force_login(alice)
        return client

    def test_a_job_is_not_submitted_under_such_a_name(self, as_alice: APIClient) -> None:
        answer = as_alice.post(SUBMIT, {"config": {"max_train_steps": 1}, "config_name": OVERRIDE})
        assert answer.status_code == 400
        assert "character 5 is a right-to-left override" in answer.json()["errors"]["config_name"][0]
        assert not Job.objects.exists()

    def test_a_runs_name_in_the_config_becomes_no_such_name(self, as_alice: APIClient) -> None:
        config = {"max_train_steps": 1, "tracker_run_name": "a\u3164b"}
        assert as_alice.post(SUBMIT, {"config": config}).status_code == 201
        assert Job.objects.get().config_name == "untitled"

    def test_a_config_is_not_stored_under_such_a_name(self, as_alice: APIClient) -> None:
        answer = as_alice.put("/api/configs/a%E2%80%AEb", {"config": {}})
        assert answer.status_code == 400
        assert "character 2 is a right-to-left override" in answer.json()["errors"]["name"][0]
        assert not TrainingConfig.objects.exists()

    def test_a_config_of_such_a_name_from_before_opens_and_lends_its_name_to_no_job(
        self, as_alice: APIClient, alice: User, acme: Organization
    ) -> None:
        store_config(alice, acme, OVERRIDE, {"max_train_steps": 1}, [])
        assert as_alice.get("/api/configs/run%20%E2%80%AEgnp.exe").status_code == 200
        refused = as_alice.post(SUBMIT, {"config_name_to_load": OVERRIDE})
        assert (refused.status_code, list(refused.json()["errors"])) == (400, ["config_name"])
        taken = as_alice.post(SUBMIT, {"config_name_to_load": OVERRIDE, "config_name": "plain"})
        assert taken.status_code == 201

    def test_a_discovered_training_loses_such_characters(self) -> None:
        body = {"id": "a", "status": "succeeded", "input": {"config_json": '{"tracker_run_name": "x\u202e/y"}'}}
        assert read_discovered(body).name == "x--y"

    @pytest.mark.parametrize(
        ("page", "field", "more"),
        [
            ("auth/user", "username", {"password1": "correct-horse-7", "password2": "correct-horse-7"}),
            (
                "jobs/organization",
                "name",
                {"memberships-TOTAL_FORMS": "0", "memberships-INITIAL_FORMS": "0", "time_zone": "UTC"},
            ),
        ],
    )
    def test_the_admin_makes_nobody_of_such_a_name(
        self, client: Client, root: User, page: str, field: str, more: dict[str, str]
    ) -> None:
        client.force_login(root)
        address, form = f"/admin/{page}/add/", {"usable_password": "true", **more}
        refused = client.post(address, {**form, field: "al\u200bice"})
        assert "character 3 is a zero width space" in refused.content.decode()
        assert client.post(address, {**form, field: "alice"}).status_code == 302
        assert User.objects.filter(username="alice").exists() or Organization.objects.filter(name="alice").exists()
        assert not User.objects.filter(username__startswith="al\u200b").exists()
        assert not Organization.objects.filter(name__startswith="al\u200b").exists()

    def test_a_run_may_be_tracked_under_a_name_with_slashes(self, as_alice: APIClient) -> None:
        body = {"config": {"max_train_steps": 1}, "tracker_run_name": "portraits/night 3"}
        assert as_alice.post(SUBMIT, body).status_code == 201
        assert Job.objects.get().tracker_run_name == "portraits/night 3"

    def test_no_run_is_tracked_under_such_a_name(self, as_alice: APIClient) -> None:
        body = {"config": {"max_train_steps": 1}, "tracker_run_name": OVERRIDE}
        answer = as_alice.post(SUBMIT, body)
        assert answer.status_code == 400
        assert "character 5 is a right-to-left override" in answer.json()["errors"]["tracker_run_name"][0]
        assert as_alice.post(SUBMIT, body | {"tracker_run_name": ""}).status_code == 201

    def test_no_key_gets_such_a_name(self, as_alice: APIClient, client: Client, alice: User, root: User) -> None:
        answer = as_alice.post("/api/account/keys", {"name": OVERRIDE})
        assert answer.status_code == 400
        assert "character 5 is a right-to-left override" in answer.json()["errors"]["name"][0]
        client.force_login(root)
        refused = client.post("/admin/cloudtrain_site/apikey/add/", {"user": alice.pk, "name": OVERRIDE, "days": 3})
        assert "character 5 is a right-to-left override" in refused.content.decode()
        with pytest.raises(CommandError, match=r"--name: .* character 5 is a right-to-left override"):
            call_command("create_api_key", "alice", name=OVERRIDE)
        assert not ApiKey.objects.exists()
        call_command("create_api_key", "alice", name="my laptop")
        assert as_alice.post("/api/account/keys", {"name": "my other one"}).status_code == 201
        assert ApiKey.objects.count() == 2

    @pytest.mark.parametrize("field", ["name", "type"])
    def test_no_rule_gets_such_a_name_over_the_api(self, root: User, field: str) -> None:
        client = APIClient()
        client.force_login(root)
        body = {field: OVERRIDE, "condition": {"first_job": True}}
        answer = client.post("/api/approvals/rules", body)
        assert answer.status_code == 400
        assert "character 5 is a right-to-left override" in answer.json()["errors"][field][0]
        assert not ApprovalRule.objects.exists()
        assert client.post("/api/approvals/rules", body | {field: "הכלל"}).status_code == 201

    def test_no_rule_gets_such_a_name_in_the_admin(self, client: Client, root: User) -> None:
        client.force_login(root)
        form = {"priority": "5", "first_job": "on", "reviewer_role": "lead", "approvals_needed": "1"}
        refused = client.post(
            "/admin/approvals/approvalrule/add/", form | {"name": OVERRIDE, "expires_after_hours": "24"}
        )
        assert "character 5 is a right-to-left override" in refused.content.decode()
        assert not ApprovalRule.objects.exists()

    def test_the_admin_refuses_such_a_first_name(self, client: Client, root: User) -> None:
        client.force_login(root)
        address = f"/admin/auth/user/{root.pk}/change/"
        form = {"username": "root", "date_joined_0": "2026-01-01", "date_joined_1": "00:00"}
        form |= {"is_active": "on", "is_superuser": "on"}
        refused = client.post(address, {**form, "first_name": OVERRIDE})
        assert "character 5 is a right-to-left override" in refused.content.decode()
        assert client.post(address, {**form, "first_name": "Zoë"}).status_code == 302
        root.refresh_from_db()
        assert root.first_name == "Zoë"
