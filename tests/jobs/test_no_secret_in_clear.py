"""A secret goes from its config to the provider, and stays nowhere on the way."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from django.contrib.auth.models import User
from django.db import connection
from django.test import Client
from rest_framework.test import APIClient

from approvals.models import ApprovalRequest, ApprovalRule
from cloudtrain_site.states import Source
from examples.fake_replicate import FakeReplicate
from jobs import providers
from jobs.configs.secrets import sealed_columns, unsealed_columns
from jobs.models import Job, ProviderConfig, WebhookDelivery
from jobs.providers.base import Handle
from jobs.sync import refresh
from jobs.webhooks import inbox
from queueing import dispatch
from queueing.models import QueueEntry
from tests.jobs.providers.local.trainings import ENDLESS, Trainings, until
from tests.web import body_of

pytestmark = [pytest.mark.slow, pytest.mark.django_db(transaction=True)]
ClientOf = Callable[[User | None], APIClient]

SECRETS = {
    "hf_token": "hf_Recognisable0Secret1Value2",
    "s3_access_key": 'plain words, "quoted" & recognisable',
    "s3_secret_key": "recognisable/κλειδί+7",
}
CONFIG = {"max_train_steps": 10, "hub_model_id": "a/b", **SECRETS}
ADDRESS = "https://example.org/recognisable-in-a-path?token=recognisable-in-an-address"


def rows() -> dict[str, str]:
    """Every row of every table as text."""
    with connection.cursor() as cursor:
        found = {}
        for table in connection.introspection.table_names(cursor):
            cursor.execute(f"SELECT * FROM {connection.ops.quote_name(table)}")
            found[table] = repr(cursor.fetchall())
    return found


def tables_with_a_secret() -> list[str]:
    return [table for table, text in rows().items() if has_secret(text)]


def has_secret(text: str) -> bool:
    return "ecognisable" in text


def text_of(records: list[Any]) -> str:
    return "\n".join(f"{record.getMessage()} {record.__dict__}" for record in records)


@pytest.fixture
def as_alice(client_of: ClientOf, alice: User) -> APIClient:
    return client_of(alice)


def test_nothing_but_the_provider_has_it(
    as_alice: APIClient,
    client_of: ClientOf,
    bob: User,
    fake: FakeReplicate,
    replicate_config: ProviderConfig,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level("DEBUG", "simpletuner")
    ApprovalRule.objects.create(name="first", first_job=True)
    shown = as_alice.put("/api/configs/night", {"config": CONFIG}).json()
    assert shown["config"]["hf_token"] == "***"
    body = {"config_name_to_load": "night", "idempotency_key": "k", "webhook_url": ADDRESS}
    answer = as_alice.post("/api/cloud/jobs/submit?provider=replicate", body)
    assert answer.status_code == 201, answer.content
    approve(client_of(bob))
    dispatch.run_pass()
    job = Job.objects.get()
    (made,) = fake.predictions.marked(job.submission_marker or "")
    assert {name: made.inputs[name] for name in SECRETS} == SECRETS
    end_badly(fake, made.id)
    job.refresh_from_db()
    assert (job.status, job.log_size) == ("failed", len(f"login with {SECRETS['s3_secret_key']}\n".encode()))
    again = as_alice.post(f"/api/cloud/jobs/{job.pk}/retry")
    assert again.status_code == 201, again.content
    assert ApprovalRequest.objects.latest("id").status == "approved"
    dispatch.run_pass()
    retried = Job.objects.latest("id")
    assert unsealed_columns(retried, ("webhook_url",)) == {"webhook_url": ADDRESS}
    (made,) = fake.predictions.marked(retried.submission_marker or "")
    assert {name: made.inputs[name] for name in SECRETS} == SECRETS
    assert tables_with_a_secret() == []
    assert not has_secret(text_of(caplog.records))


def approve(client: APIClient) -> None:
    request = ApprovalRequest.objects.get()
    assert client.post(f"/api/approvals/{request.pk}/approve", {"reason": "fine"}).status_code == 200


def end_badly(fake: FakeReplicate, external_id: str) -> None:
    """With words in which the trainer repeats what it was given."""
    secret = SECRETS["s3_secret_key"]
    fake.update(external_id, "processing")
    fake.update(external_id, "failed", logs=f"login with {secret}\n", error=f"refused: {secret}")
    refresh.refresh(refresh.active_jobs(), source=Source.POLL)


READS = (
    "import json, hashlib; key = json.load(open('config.json'))['s3_secret_key'];"
    "print(hashlib.sha256(key.encode()).hexdigest(), flush=True);"
)


@pytest.fixture
def trainings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Trainings on this machine that tell by a hash what they read."""
    made = Trainings(tmp_path)
    monkeypatch.setitem(providers._PROVIDERS, "local", lambda: made.provider(READS + ENDLESS))
    yield made
    made.end_all()


@pytest.mark.slow
def test_on_this_machine_only_the_trainer_reads_it_and_only_while_it_trains(
    as_alice: APIClient, trainings: Trainings, caplog: pytest.LogCaptureFixture
) -> None:
    data = [{"id": "bucket", "aws_secret_access_key": "recognisable-in-the-data"}]
    answer = as_alice.post("/api/cloud/jobs/submit", {"config": CONFIG, "dataloader_config": data})
    assert answer.status_code == 201, answer.content
    assert tables_with_a_secret() == []
    dispatch.run_pass()
    job = Job.objects.get()
    folder = trainings.jobs / job.pk
    until(lambda: (folder / "train.log").read_text().count("\n") == 2)
    assert names_with_a_secret(folder) == ["config.json", "dataloader.json"]
    assert {(folder / name).stat().st_mode & 0o777 for name in names_with_a_secret(folder)} == {0o600}
    handle = Handle(job.pk, job.external_id or "")
    trainings.cancel(handle)
    trainings.ended(handle)
    refresh.refresh(refresh.active_jobs(), source=Source.POLL)
    assert Job.objects.get().status == "cancelled"
    assert names_with_a_secret(folder) == []
    assert json.loads((folder / "config.json").read_text())["s3_secret_key"] == "***"
    assert tables_with_a_secret() == []
    digest = hashlib.sha256(SECRETS["s3_secret_key"].encode()).hexdigest()
    assert (folder / "train.log").read_text().startswith(digest)
    assert not has_secret(text_of(caplog.records))


PRINTS_SECRET = (
    "import json; config = json.load(open('config.json')); secret = config['s3_secret_key'];"
    "print('steps', config['max_train_steps'], 'as', config, flush=True); print('x' * 60 + secret + ' y', flush=True);"
    "raise SystemExit(f'refused: {secret}')"
)


@pytest.mark.slow
@pytest.mark.parametrize("is_lost", [False, True])
def test_a_trainer_that_prints_its_secret_tells_it_to_no_reader(
    as_alice: APIClient,
    client: Client,
    alice: User,
    trainings: Trainings,
    monkeypatch: pytest.MonkeyPatch,
    settings: Any,
    is_lost: bool,
) -> None:
    client.force_login(alice)
    monkeypatch.setitem(providers._PROVIDERS, "local", lambda: trainings.provider(PRINTS_SECRET))
    assert as_alice.post("/api/cloud/jobs/submit", {"config": CONFIG}).status_code == 201
    dispatch.run_pass()
    job = Job.objects.get()
    trainings.ended(Handle(job.pk, job.external_id or ""))
    refresh.refresh(refresh.active_jobs(), source=Source.POLL)
    if is_lost:
        settings.SECRET_KEY = "another one"
    address = f"/api/cloud/jobs/{job.pk}"
    whole = as_alice.get(f"{address}/logs").json()
    written = (trainings.jobs / job.pk / "train.log").read_bytes()
    assert whole["logs"].startswith("steps 10 as {'")
    assert (whole["offset"], whole["complete"]) == (len(written), True)
    if is_lost:
        # By itself a text tells only of secrets of a known shape.
        assert SECRETS["hf_token"] not in whole["logs"]
        return
    assert len(whole["logs"].encode()) == len(written)
    middle = written.rindex(b"nisable")
    texts = [
        *(as_alice.get(f"{address}{path}").content for path in ("", "/events", "/inline-progress", "/logs?tail=1")),
        *(as_alice.get(f"{address}/logs?since={middle + index}").content for index in range(-20, 7)),
        whole["logs"].encode(),
        *(
            body_of(client.get(f"/jobs/{job.pk}{path}"))
            for path in ("", "/log.txt", "/parts/head", "/history", "/config")
        ),
    ]
    assert [text for text in texts if b"nisable" in text or "κλειδί".encode() in text] == []
    assert len(texts) == 4 + 27 + 1 + 5
    assert has_secret(written.decode())
    assert "refused: ****" in Job.objects.get().error_message
    assert tables_with_a_secret() == []


def names_with_a_secret(folder: Path) -> list[str]:
    files = [path for path in folder.rglob("*") if path.is_file()]
    return sorted(path.name for path in files if has_secret(path.read_text()))


@pytest.mark.parametrize("held", [False, True])
def test_a_lost_key_fails_the_job_and_submits_nothing(
    as_alice: APIClient,
    client_of: ClientOf,
    bob: User,
    fake: FakeReplicate,
    replicate_config: ProviderConfig,
    settings: Any,
    held: bool,
) -> None:
    ApprovalRule.objects.create(name="first", first_job=True, enabled=held)
    as_alice.post("/api/cloud/jobs/submit?provider=replicate", {"config": CONFIG})
    if held:
        approve(client_of(bob))
    settings.SECRET_KEY = "another"
    dispatch.run_pass()
    job = Job.objects.get()
    assert (job.status, QueueEntry.objects.get().status) == ("failed", "failed")
    assert job.error_message.startswith("The secrets of this config can't be decrypted: SECRET_KEY was changed")
    assert not len(fake.predictions)
    refused = as_alice.post(f"/api/cloud/jobs/{job.pk}/retry")
    assert refused.status_code == 400
    assert "can't be decrypted" in refused.json()["errors"]["config"][0]
    assert Job.objects.count() == 1


def test_a_key_among_the_fallbacks_still_opens_approves_and_replays(
    as_alice: APIClient,
    client_of: ClientOf,
    bob: User,
    fake: FakeReplicate,
    replicate_config: ProviderConfig,
    settings: Any,
) -> None:
    ApprovalRule.objects.create(name="first", first_job=True)
    body = {"config": CONFIG, "idempotency_key": "k"}
    submit = "/api/cloud/jobs/submit?provider=replicate"
    as_alice.post(submit, body)
    approve(client_of(bob))
    settings.SECRET_KEY_FALLBACKS = [settings.SECRET_KEY]
    settings.SECRET_KEY = "another"
    assert as_alice.post(submit, body).json()["idempotent_hit"] is True
    dispatch.run_pass()
    assert (len(fake.predictions), ApprovalRequest.objects.get().status) == (1, "approved")


def test_another_secret_is_another_submission_and_voids_an_approval(
    as_alice: APIClient, client_of: ClientOf, bob: User, fake: FakeReplicate, replicate_config: ProviderConfig
) -> None:
    ApprovalRule.objects.create(name="first", first_job=True)
    submit = "/api/cloud/jobs/submit?provider=replicate"
    other = {**CONFIG, "hf_token": "hf_Recognisable3Secret4Value5"}
    as_alice.post(submit, {"config": CONFIG, "idempotency_key": "k"})
    assert as_alice.post(submit, {"config": CONFIG, "idempotency_key": "k"}).json()["idempotent_hit"] is True
    assert as_alice.post(submit, {"config": other, "idempotency_key": "k"}).status_code == 409
    approve(client_of(bob))
    approved = Job.objects.get()
    as_alice.post(submit, {"config": other})
    changed = Job.objects.latest("id")
    assert changed.config == approved.config
    Job.objects.filter(pk=approved.pk).update(sealed=changed.sealed)
    QueueEntry.objects.filter(job=changed).delete()
    dispatch.run_pass()
    assert not len(fake.predictions)
    renewed = ApprovalRequest.objects.filter(job=approved).latest("id")
    assert (renewed.status, renewed.reason.endswith("a secret in it has changed.")) == ("pending", True)


def test_what_can_not_be_sealed_may_hold_none(
    as_alice: APIClient, client_of: ClientOf, root: User, replicate_config: ProviderConfig
) -> None:
    token = SECRETS["hf_token"]
    for name in ("config_name", "tracker_run_name"):
        answer = as_alice.post("/api/cloud/jobs/submit", {"config": {}, name: f"run {token}"})
        assert "seems to contain a secret" in answer.json()["errors"][name][0]
    settings = {"webhook_url": "https://train.example.org/?token=recognisable"}
    refused = client_of(root).put("/api/cloud/providers/replicate", settings)
    assert "seems to contain a secret" in refused.json()["errors"]["webhook_url"][0]
    assert as_alice.post("/api/cloud/jobs/submit", {"config": {"tracker_run_name": token}}).status_code == 201
    assert Job.objects.get().config_name == "untitled"
    assert tables_with_a_secret() == []


@pytest.mark.parametrize("known_by", ["external_id", "submission_marker"])
def test_the_last_words_of_a_delivery_are_kept_without_them(make_job: Callable[..., Job], known_by: str) -> None:
    columns = sealed_columns(config=CONFIG, dataloader_config=[])
    marker = "ct-" + "0123456789ab" * 2
    name = {"external_id": "there", "submission_marker": marker}[known_by]
    make_job(provider="replicate", **{known_by: name}, **columns)
    body = {
        "id": "there",
        "status": "failed",
        "error": f"no key={SECRETS['s3_access_key']}, {SECRETS['s3_secret_key']}",
        "logs": f"step 1\nno {SECRETS['s3_secret_key']}\n",
    }
    arrival = inbox.WebhookRequest({"webhook-id": "msg"}, b"", "127.0.0.1", marker)
    delivery = inbox._delivery(arrival, WebhookDelivery.Verdict.ACCEPTED, body)
    inbox._store([inbox.IncomingDelivery(arrival, delivery=delivery)])
    kept = WebhookDelivery.objects.get()
    payload: Any = kept.payload
    assert set(payload["error"].replace("no key=", "")) <= set("*, ")
    assert kept.log.startswith("step 1\nno ***")
    assert tables_with_a_secret() == []
