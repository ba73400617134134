"""Organizations, members, invitations and the audit record over the API: who may what."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from allauth.mfa.models import Authenticator
from django.contrib.auth.models import User
from django.core import mail
from django.utils import timezone
from rest_framework.test import APIClient

from cloudtrain_site.audit.models import AuditRecord
from cloudtrain_site.audit.recording import OPERATOR, Subject, record
from jobs.models import Invitation, Job, Membership, Organization
from jobs.organizations.invitations import accept, invite
from jobs.roles import Role
from tests.factories import make_user

pytestmark = [pytest.mark.slow, pytest.mark.django_db]
ClientOf = Callable[[User | None], APIClient]
ACME = "/api/organizations/acme"


@pytest.fixture
def adam(acme: Organization) -> User:
    return make_user("adam", acme, Role.ADMIN)


@pytest.fixture
def people(adam: User, alice: User, bob: User, charlie: User, root: User, acme: Organization) -> dict[str, User | None]:
    victor = make_user("victor", acme, Role.VIEWER)
    return {
        "anonymous": None,
        "stranger": charlie,
        "viewer": victor,
        "researcher": alice,
        "lead": bob,
        "admin": adam,
        "superuser": root,
    }


def state() -> list[Any]:
    tables = (Organization, Membership, Invitation)
    return [list(table.objects.order_by("pk").values()) for table in tables]


NOBODY = ("anonymous", "stranger", "viewer", "researcher", "lead")
MEMBERS = ("viewer", "researcher", "lead", "admin", "superuser")
#: The requests, and what each of the others gets; a superuser and those in `allowed` get 2xx.
MATRIX: list[tuple[str, str, dict[str, Any], tuple[str, ...]]] = [
    ("get", ACME, {}, MEMBERS),
    ("get", f"{ACME}/members", {}, MEMBERS),
    ("patch", ACME, {"time_zone": "Europe/Berlin"}, ("admin", "superuser")),
    ("get", f"{ACME}/invitations", {}, ("admin", "superuser")),
    ("post", f"{ACME}/invitations", {"role": "viewer"}, ("admin", "superuser")),
    ("delete", f"{ACME}/invitations/1", {}, ("admin", "superuser")),
    ("get", f"{ACME}/audit", {}, ("admin", "superuser")),
    ("patch", f"{ACME}/members/alice", {"role": "lead"}, ("admin", "superuser")),
    ("delete", f"{ACME}/members/alice", {}, ("admin", "superuser")),
    ("post", f"{ACME}/members", {"user": "charlie", "role": "viewer"}, ("superuser",)),
    ("post", "/api/organizations", {"name": "labs"}, ("superuser",)),
    ("get", f"{ACME}/deletion", {}, ("superuser",)),
    ("post", f"{ACME}/close", {}, ("superuser",)),
    ("post", f"{ACME}/reopen", {}, ("superuser",)),
    ("delete", ACME, {}, ("superuser",)),
]


@pytest.mark.parametrize(("method", "path", "body", "allowed"), MATRIX, ids=[f"{row[0]} {row[1]}" for row in MATRIX])
def test_who_may_what(
    client_of: ClientOf,
    people: dict[str, User | None],
    acme: Organization,
    adam: User,
    method: str,
    path: str,
    body: dict[str, Any],
    allowed: tuple[str, ...],
) -> None:
    if path.endswith("/1"):
        path = f"{path[:-1]}{invite(acme, Role.VIEWER, by=adam)[0].pk}"
    if path.endswith("/reopen") or (method, path) == ("delete", ACME):
        Organization.objects.filter(pk=acme.pk).update(closed_at=timezone.now())
    count, before = AuditRecord.objects.count(), state()
    for who, person in people.items():
        if who in allowed:
            continue
        expected = {"anonymous": 401, "stranger": 404}.get(who, 403)
        if path == "/api/organizations" and who == "stranger":
            expected = 403
        answer = getattr(client_of(person), method)(path, body or None)
        assert answer.status_code == expected, (who, answer.content)
        assert "acme" not in answer.content.decode() or who not in ("anonymous", "stranger")
        assert set(answer.json()) == {"detail", "code", "correlation_id"}
    assert state() == before
    assert AuditRecord.objects.count() == count
    for who in allowed if method == "get" else allowed[:1]:
        answer = getattr(client_of(people[who]), method)(path, body or None)
        assert answer.status_code in (200, 201), (who, answer.content)


@pytest.mark.parametrize("name", ["nothing", "a\x00", "%00", "acme%20"])
def test_an_unknown_organization_is_not_found(client_of: ClientOf, root: User, adam: User, name: str) -> None:
    for path in (f"/api/organizations/{name}", f"/api/organizations/{name}/members"):
        for person in (root, adam):
            assert client_of(person).get(path).status_code == 404


def test_everybody_lists_their_own(client_of: ClientOf, people: dict[str, User | None]) -> None:
    def listed(who: str) -> list[tuple[str, str]]:
        answer = client_of(people[who]).get("/api/organizations")
        return [(item["name"], item["role"]) for item in answer.json()["organizations"]]

    assert listed("lead") == [("acme", "lead")]
    assert listed("stranger") == [("other", "admin")]
    assert listed("superuser") == [("acme", "admin"), ("other", "admin")]
    assert client_of(None).get("/api/organizations").status_code == 401


def test_a_mail_address_is_for_admins(client_of: ClientOf, people: dict[str, User | None], alice: User) -> None:
    User.objects.filter(pk=alice.pk).update(last_login=timezone.now())
    Authenticator.objects.create(user=alice, type=Authenticator.Type.TOTP, data={})
    for who, email in (("admin", "alice@example.org"), ("superuser", "alice@example.org"), ("lead", "")):
        members = client_of(people[who]).get(f"{ACME}/members").json()["members"]
        assert [member["user"] for member in members] == ["adam", "alice", "bob", "victor"]
        hers = members[1]
        assert (hers["email"], hers["role"]) == (email, "researcher")
        assert (hers["last_seen"] is None) is (email == "")
        assert hers["second_factor"] is (True if email else None)
        assert hers["since"].endswith("Z")


class TestSettings:
    def test_are_changed_together_or_not_at_all(self, client_of: ClientOf, acme: Organization, adam: User) -> None:
        refused = client_of(adam).patch(ACME, {"time_zone": "Europe/Berlin", "max_running": 500})
        assert (refused.status_code, set(refused.json()["errors"])) == (400, {"max_running"})
        acme.refresh_from_db()
        assert acme.time_zone == "UTC"
        body = {"time_zone": "Europe/Berlin", "max_running": 2, "default_provider": "local", "default_hardware": ""}
        answer = client_of(adam).patch(ACME, body)
        assert answer.json()["organization"].items() >= body.items()
        assert set(AuditRecord.objects.values_list("action", flat=True)) == {"settings_changed", "limit_changed"}

    @pytest.mark.parametrize(
        ("body", "field"),
        [
            ({"time_zone": "Mars"}, "time_zone"),
            ({"default_provider": "nowhere"}, "default_provider"),
            ({"default_hardware": "h900"}, "default_hardware"),
            ({"max_running": -1}, "max_running"),
            ({"max_running": 2**40}, "max_running"),
            ({"second_factor_required": "perhaps"}, "second_factor_required"),
            ({"colour": "blue"}, "colour"),
        ],
    )
    def test_a_bad_one_is_named(self, client_of: ClientOf, adam: User, body: dict[str, Any], field: str) -> None:
        answer = client_of(adam).patch(ACME, body)
        assert (answer.status_code, set(answer.json()["errors"])) == (400, {field})

    def test_a_superuser_renames(self, client_of: ClientOf, adam: User, root: User, charlie: User) -> None:
        assert client_of(adam).patch(ACME, {"name": "mine"}).status_code == 403
        assert client_of(root).patch(ACME, {"name": "other"}).status_code == 400
        assert client_of(root).patch(ACME, {"name": "labs"}).json()["organization"]["name"] == "labs"
        assert client_of(adam).get("/api/organizations/labs").status_code == 200


class TestMembers:
    def test_the_last_admin_stays(self, client_of: ClientOf, adam: User, root: User, acme: Organization) -> None:
        mine = f"{ACME}/members/adam"
        for answer in (
            client_of(adam).delete(mine),
            client_of(root).delete(mine),
            client_of(adam).patch(mine, {"role": "lead"}),
            client_of(adam).post(f"{ACME}/leave"),
        ):
            assert (answer.status_code, answer.json()["code"]) == (409, "last_admin")
        assert acme.memberships.get().role == "admin"

    def test_their_jobs_stay_or_are_cancelled(
        self, client_of: ClientOf, adam: User, bob: User, make_job: Callable[..., Job]
    ) -> None:
        make_job()
        assert client_of(adam).delete(f"{ACME}/members/alice?jobs=perhaps").status_code == 400
        answer = client_of(adam).delete(f"{ACME}/members/alice?jobs=cancel")
        assert answer.json() == {"success": True, "user": "alice", "cancelled": 1}
        assert client_of(adam).delete(f"{ACME}/members/alice").status_code == 404
        assert client_of(bob).post(f"{ACME}/leave", {"jobs": "stay"}).json()["cancelled"] == 0
        assert client_of(bob).get(ACME).status_code == 404
        assert client_of(bob).post(f"{ACME}/leave").status_code == 404

    def test_a_role_is_one_of_four(self, client_of: ClientOf, adam: User, alice: User) -> None:
        assert client_of(adam).patch(f"{ACME}/members/alice", {"role": "owner"}).status_code == 400
        answer = client_of(adam).patch(f"{ACME}/members/alice", {"role": "admin"})
        assert answer.json()["member"]["role"] == "admin"

    def test_a_user_who_exists_elsewhere_is_as_unknown_as_one_who_does_not(
        self, client_of: ClientOf, adam: User, charlie: User
    ) -> None:
        answers = [client_of(adam).delete(f"{ACME}/members/{name}") for name in ("charlie", "nobody")]
        details = {(answer.status_code, answer.json()["detail"]) for answer in answers}
        assert len(details) == 1 and answers[0].status_code == 404
        assert [
            client_of(adam).post(f"{ACME}/members", {"user": name, "role": "lead"}).status_code
            for name in ("charlie", "nobody")
        ] == [403, 403]

    def test_a_superuser_adds(self, client_of: ClientOf, adam: User, root: User, charlie: User) -> None:
        body = {"user": "charlie", "role": "lead"}
        assert client_of(root).post(f"{ACME}/members", body).json()["member"]["role"] == "lead"
        assert client_of(root).post(f"{ACME}/members", body).json()["code"] == "already_member"
        assert client_of(root).post(f"{ACME}/members", {**body, "user": "nobody"}).status_code == 404


class TestInvitations:
    def test_by_mail(self, client_of: ClientOf, adam: User, acme: Organization) -> None:
        body = {"email": "dana@example.org", "role": "lead", "expires_in_days": 3}
        answer = client_of(adam).post(f"{ACME}/invitations", body)
        assert answer.status_code == 201
        made = answer.json()
        assert made["invitation"].items() >= {"email": "dana@example.org", "role": "lead", "invited_by": "adam"}.items()
        [sent] = mail.outbox
        assert (sent.to, sent.subject) == (["dana@example.org"], "Invitation to acme on cloudtrain")
        assert made["link"] in sent.body and made["mailed"]
        assert made["link"].startswith("http://testserver/invitations/ct_")
        dana = User.objects.create_user("dana", "dana@example.org")
        assert accept(made["link"].rpartition("/")[2], dana).role == "lead"
        assert client_of(adam).get(f"{ACME}/invitations").json() == {"invitations": []}

    def test_as_a_link(self, client_of: ClientOf, adam: User) -> None:
        made = client_of(adam).post(f"{ACME}/invitations", {"role": "viewer"}).json()
        assert (made["invitation"]["email"], made["mailed"], mail.outbox) == ("", False, [])
        shown = client_of(adam).get(f"{ACME}/invitations").content.decode()
        assert made["link"].rpartition("/")[2] not in shown and str(made["invitation"]["id"]) in shown

    @pytest.mark.parametrize(
        ("body", "field"),
        [
            ({}, "role"),
            ({"role": "owner"}, "role"),
            ({"role": "viewer", "email": "dana"}, "email"),
            ({"role": "viewer", "email": "a@example.org\nBcc: b@example.org"}, "email"),
            ({"role": "viewer", "expires_in_days": 0}, "expires_in_days"),
            ({"role": "viewer", "expires_in_days": 91}, "expires_in_days"),
        ],
    )
    def test_a_bad_one_is_refused(self, client_of: ClientOf, adam: User, body: dict[str, Any], field: str) -> None:
        answer = client_of(adam).post(f"{ACME}/invitations", body)
        assert (answer.status_code, set(answer.json()["errors"])) == (400, {field})
        assert not Invitation.objects.exists() and not mail.outbox

    def test_a_mail_server_that_is_away_leaves_the_link(self, client_of: ClientOf, adam: User, settings: Any) -> None:
        settings.EMAIL_BACKEND = "django.core.mail.backends.smtp.EmailBackend"
        settings.EMAIL_HOST, settings.EMAIL_PORT = "127.0.0.1", 1
        made = client_of(adam).post(f"{ACME}/invitations", {"role": "viewer", "email": "dana@example.org"})
        assert (made.status_code, made.json()["mailed"]) == (201, False)
        assert made.json()["link"]

    def test_are_withdrawn_once(self, client_of: ClientOf, adam: User, charlie: User) -> None:
        made = client_of(adam).post(f"{ACME}/invitations", {"role": "viewer"}).json()["invitation"]
        path = f"/invitations/{made['id']}"
        assert client_of(charlie).delete(f"/api/organizations/other{path}").status_code == 404
        assert client_of(adam).delete(f"{ACME}{path}").json() == {"success": True, "id": made["id"]}
        assert client_of(adam).delete(f"{ACME}{path}").json()["code"] == "invitation_withdrawn"
        assert client_of(adam).delete(f"{ACME}/invitations/999999").status_code == 404


class TestAudit:
    def test_is_read_page_by_page(self, client_of: ClientOf, adam: User, acme: Organization, charlie: User) -> None:
        for number in range(3):
            record("rule_changed", Subject("rule", str(number), "r"), by=adam, organization=acme, after={"n": number})
        record(
            "rule_changed", Subject("rule", "9", "r"), by=charlie, organization=Organization.objects.get(name="other")
        )
        record("user_deactivated", charlie, by=OPERATOR)
        first = client_of(adam).get(f"{ACME}/audit?limit=2").json()
        second = client_of(adam).get(f"{ACME}/audit?limit=2&cursor={first['next_cursor']}").json()
        assert [row["subject_id"] for row in first["records"] + second["records"]] == ["2", "1", "0"]
        assert second["next_cursor"] is None
        assert first["records"][0].items() >= {"actor": "adam", "after": {"n": 2}, "before": None}.items()

    @pytest.mark.parametrize(
        ("query", "count"),
        [
            ("actor=adam", 1),
            ("action=rule_changed", 1),
            ("action=rule", 0),
            ("subject_kind=rule&subject_id=1", 1),
            ("source=command", 2),
            ("source=api", 0),
            ("since=2999-01-01T00:00:00Z", 0),
            ("until=2999-01-01T00:00:00Z", 2),
        ],
    )
    def test_is_filtered(self, client_of: ClientOf, adam: User, acme: Organization, query: str, count: int) -> None:
        record("rule_changed", Subject("rule", "1", "r"), by=adam, organization=acme)
        record("limit_changed", acme, by=OPERATOR, organization=acme)
        assert len(client_of(adam).get(f"{ACME}/audit?{query}").json()["records"]) == count

    @pytest.mark.parametrize("query", ["cursor=0", "cursor=x", "limit=501", "source=moon", "since=never", "a=1"])
    def test_a_bad_query_is_refused(self, client_of: ClientOf, adam: User, query: str) -> None:
        assert client_of(adam).get(f"{ACME}/audit?{query}").status_code == 400


class TestTheEnd:
    def test_of_an_organization(
        self, client_of: ClientOf, root: User, alice: User, make_job: Callable[..., Job]
    ) -> None:
        client = client_of(root)
        running = make_job(status="running")
        assert client.post(f"{ACME}/close", {"running": "perhaps"}).status_code == 400
        closed = client.post(f"{ACME}/close", {"running": "cancel"}).json()
        assert (closed["cancelled"], closed["organization"]["closed_at"] is not None) == (1, True)
        assert client.post(f"{ACME}/close").status_code == 409
        refused = client_of(alice).post("/api/cloud/jobs/submit", {"config": {}, "organization": "acme"})
        assert (refused.status_code, refused.json()["detail"]) == (
            403,
            "acme is closed and accepts no jobs. A superuser can reopen it.",
        )
        assert client_of(alice).get(f"/api/cloud/jobs/{running.pk}").status_code == 200
        deletion = client.get(f"{ACME}/deletion").json()
        assert (deletion["kept_by"], deletion["takes"]) == ({"jobs": 1}, {"memberships": 1})
        assert client.delete(ACME).status_code == 409
        assert client.post(f"{ACME}/reopen").json()["organization"]["closed_at"] is None
        assert client.post(f"{ACME}/reopen").status_code == 409

    def test_of_one_without_jobs(self, client_of: ClientOf, root: User, alice: User) -> None:
        client = client_of(root)
        assert "Close it first" in client.delete(ACME).json()["detail"]
        client.post(f"{ACME}/close")
        assert client.delete(ACME).json()["takes"] == {"memberships": 1}
        assert client.get(ACME).status_code == 404

    def test_a_new_one_has_a_name_of_its_own(self, client_of: ClientOf, root: User, acme: Organization) -> None:
        for name in ("acme", "a b", ""):
            answer = client_of(root).post("/api/organizations", {"name": name})
            assert (answer.status_code, set(answer.json()["errors"])) == (400, {"name"})
        assert client_of(root).post("/api/organizations", {"name": "labs"}).status_code == 201
