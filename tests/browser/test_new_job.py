"""The page of a new job, as people use it: in a real browser, against the real API."""

from __future__ import annotations

import io
import json
import re
import zipfile
from collections.abc import Callable
from random import Random

import pytest
from django.contrib.auth.models import User
from django.contrib.sessions.models import Session
from playwright.sync_api import FilePayload, Locator, Page, Route, expect

from approvals.models import ApprovalRule
from cloudtrain_site.audit.recording import OPERATOR
from jobs.configs.examples import EXAMPLES
from jobs.configs.store import store_config
from jobs.models import DatasetUpload, Job, Membership, Organization, ProviderConfig
from jobs.organizations.tags import add_tag
from jobs.providers.clusters.view import ClusterView
from jobs.sync import clusters
from jobs.tags.tagging import tags_by_job
from tests.accounts import Accounts, declared
from tests.browser.conftest import (
    Browse,
    forgive,
    is_live,
    is_wider_than_the_window,
    keep,
    sign_in,
    sticking_out,
    violations,
)
from tests.browser.editors import text_of
from tests.configuration import WriteConfig
from tests.limits import SetLimits
from tests.providers import ClusterProvider, node

pytestmark = [pytest.mark.browser, pytest.mark.slow, pytest.mark.long]

BROKEN = '{\n  "model_family": "flux",\n  "max_train_steps": 1000;\n  "learning_rate": 0.0001\n}'
WHOLE = BROKEN.replace(";", ",")


@pytest.fixture(autouse=True)
def prices(db: None) -> None:
    """A second on this machine costs a tenth of a cent, and a step takes one."""
    ProviderConfig.objects.update_or_create(
        name="local", defaults={"cost_per_second": {"cpu": 0.001}, "seconds_per_step": 1}
    )


def tab_to(page: Page, target: Locator, key: str = "Tab") -> None:
    """Go there as one does without a mouse. In an editor, Tab leaves after Escape."""
    for _ in range(40):
        if target.evaluate("element => element === document.activeElement"):
            return
        page.keyboard.press("Escape")
        page.keyboard.press(key)
    raise AssertionError(f"the keyboard doesn't get to {target}")


def refused(complaints: list[str]) -> None:
    """The browser notes each answer that is a refusal: that alone is as it should be."""
    assert all("400" in complaint or "ERR_FAILED" in complaint for complaint in complaints), complaints
    complaints.clear()


def lose_first_answer(page: Page) -> None:
    """Lose the answer to the first submission on its way back. A dry run, which asks whenever it is due, is none."""
    lost: list[str] = []

    def answer(route: Route) -> None:
        body = route.request.post_data or ""
        if "idempotency_key" not in body or lost:
            return route.continue_()
        lost.append(body)
        route.fetch()
        return route.abort()

    page.route("**/submit?provider=local", answer)


def archive(size: int) -> bytes:
    """A zip of pictures that can't be packed any tighter."""
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as zipped:
        zipped.writestr("one.png", Random(1).randbytes(size))
    return packed.getvalue()


def zipped(content: bytes) -> FilePayload:
    return {"name": "cats.zip", "mimeType": "application/zip", "buffer": content}


def drop(page: Page, target: str, name: str, content: str) -> None:
    """Let go of a file above an element."""
    page.evaluate(
        """([target, name, content]) => {
          const data = new DataTransfer();
          data.items.add(new File([content], name));
          const options = {dataTransfer: data, bubbles: true, cancelable: true};
          const element = document.querySelector(target);
          for (const type of ["dragover", "drop"]) element.dispatchEvent(new DragEvent(type, options));
        }""",
        [target, name, content],
    )


def test_a_config_is_mended_held_by_a_rule_and_submitted_by_keyboard_alone(
    browse: Browse, alice: User, hold_everything: ApprovalRule, complaints: list[str]
) -> None:
    page = is_live(browse(alice))
    tab_to(page, page.get_by_role("link", name="New job").first)
    page.keyboard.press("Enter")
    expect(page).to_have_title("New job · cloudtrain")
    expect(page.get_by_label("Hardware")).to_contain_text("CPU · $3.60 an hour")
    editor = page.get_by_role("textbox", name="JSON")
    tab_to(page, editor)
    page.keyboard.insert_text(BROKEN)
    problem = page.locator("#config-problem")
    expect(problem).to_have_text("Line 3, column 26:Expected a comma or } before this.")
    expect(page.locator("#config .cm-lintRange-error")).to_have_text(";")
    expect(page.get_by_text("Fix the config errors first.")).to_be_visible()
    keep(page, "new-job-broken")
    tab_to(page, problem.get_by_role("button"))
    page.keyboard.press("Enter")
    expect(editor).to_be_focused()
    page.keyboard.insert_text(",")  # over what is wrong, which is selected
    expect(problem).to_be_hidden()
    expect(text_of(page)).to_have_value(WHOLE)
    forecast = page.locator("#forecast")
    expect(forecast).to_contain_text("Needs 1 approval by leads and admins (rule “costly”).")
    expect(page.locator("#forecast-cost")).to_have_text("about $1.00")
    expect(page.locator("#forecast-start")).to_have_text("when it is approved")

    tab_to(page, page.get_by_label("Name of the job"))
    page.keyboard.insert_text("a/b")
    expect(page.locator("#name-error")).to_contain_text("control characters or slashes")
    page.keyboard.press("Control+A")
    page.keyboard.insert_text("🚂 שלום")
    expect(page.locator("#name-error")).to_be_hidden()
    tab_to(page, page.get_by_role("button", name="Submit the job"))
    page.keyboard.press("Enter")
    expect(page).to_have_url(re.compile(r"/jobs/[0-9a-z]{26}$"))
    job = Job.objects.get()
    assert page.url.endswith(job.pk)
    assert (job.config_name, job.config["learning_rate"], job.submitted_by) == ("🚂 שלום", 0.0001, alice)
    refused(complaints)


def test_a_cost_that_is_not_known_says_why(browse: Browse, alice: User) -> None:
    ProviderConfig.objects.update_or_create(name="local", defaults={"cost_per_second": {}})
    page = is_live(browse(alice, "/jobs/new"))
    drop(page, "#config", "night-run.json", json.dumps({"max_train_steps": 60}))
    expect(page.locator("#forecast-cost")).to_have_text("not known: there is no price for CPU.")


def test_a_file_is_dropped_a_dataset_uploaded_and_a_second_click_makes_no_second_job(
    browse: Browse, alice: User, complaints: list[str]
) -> None:
    page = is_live(browse(alice, "/jobs/new"))
    drop(page, "#config", "night-run.json", "[1, 2]")
    expect(page.locator("#config-problem")).to_contain_text("A config is a JSON object")
    drop(page, "#config", "night-run.json", json.dumps({"max_train_steps": 60}))
    expect(page.get_by_label("Name of the job")).to_have_value("night-run")
    expect(page.locator("#forecast-time")).to_have_text("about 1 min")
    expect(page.locator("#forecast-start")).to_contain_text("Starts in a moment.")

    chooser = page.get_by_label("Upload a dataset")
    with page.expect_response("**/submit?provider=local"):  # a dry run, which has nothing against a job without it
        chooser.set_input_files(zipped(b"no zip at all"))
    expect(page.locator("#forecast:not([data-old])")).to_be_visible()
    expect(page.locator("#dataset-error")).to_contain_text("zip")
    network = page.context.new_cdp_session(page)
    conditions = {"offline": False, "latency": 0, "downloadThroughput": -1}
    network.send("Network.emulateNetworkConditions", {**conditions, "uploadThroughput": 100_000})
    cats = zipped(archive(400_000))
    chooser.set_input_files(cats)
    expect(page.locator("#dataset-percent")).to_have_text(re.compile("^[1-9][0-9]? %$"))
    expect(page.get_by_text("The dataset is still uploading.")).to_be_visible()
    keep(page, "new-job-upload")
    page.get_by_role("button", name="Cancel the upload").click()
    expect(chooser).to_be_focused()
    assert not DatasetUpload.objects.exists()

    # As slow as before: if it were let go, the rest of the cancelled one could leave with it.
    chooser.set_input_files(cats)
    expect(page.locator("#dataset-done")).to_contain_text("cats.zip 400 kB, 1 file")
    expect(page.locator("#forecast-time")).to_have_text("about 1 min")
    lose_first_answer(page)
    page.get_by_role("button", name="Submit the job").click()
    expect(page.locator("#form-error")).to_contain_text("The server can’t be reached")
    page.get_by_role("button", name="Submit the job").click()
    expect(page).to_have_url(re.compile(r"/jobs/[0-9a-z]{26}$"))
    assert Job.objects.get().dataset == DatasetUpload.objects.get()
    refused(complaints)


def test_a_stored_config_is_looked_at_copied_and_nobody_meets_a_barrier(
    browse: Browse, alice: User, acme: Organization, hold_everything: ApprovalRule, complaints: list[str]
) -> None:
    second = Organization.objects.create(name="second")
    Membership.objects.create(user=alice, organization=second, role="researcher")
    secret = {"max_train_steps": 3000, "model_family": "flux", "hub_token": "hush"}
    store_config(alice, second, "night run", secret, [{"id": "cats"}])
    page = is_live(browse(alice, "/jobs/new", reduced_motion="reduce"))
    expect(page.get_by_label("Start from").locator("option")).to_have_count(1 + len(EXAMPLES))
    page.get_by_label("For the organization").select_option("second")
    page.get_by_label("Start from").select_option("stored:night run")
    editor = page.get_by_role("textbox", name="JSON").first
    expect(editor).not_to_be_editable()
    assert "hush" not in page.content() and "hush" not in text_of(page).input_value()
    expect(page.locator("#forecast-cost")).to_have_text("about $3.00")
    for scheme in ("light", "dark"):
        page.emulate_media(color_scheme=scheme)
        assert violations(page) == [], scheme
        keep(page, f"new-job-{scheme}")
    page.set_viewport_size({"width": 360, "height": 740})
    assert not is_wider_than_the_window(page)
    assert violations(page) == [], "on a phone"
    keep(page, "new-job-phone")

    page.get_by_role("button", name="Edit a copy").click()
    expect(editor).to_be_editable()
    expect(page.get_by_label("Name of the job")).to_have_value("night run")
    expect(text_of(page, "dataloader")).to_have_value('[\n  {\n    "id": "cats"\n  }\n]')
    # Its secret stays on the server: the copy has to be given one.
    expect(page.locator("#config-problem")).to_contain_text('hub_token: "***" is a masked secret')
    expect(page.locator("#forecast-text")).to_have_text(re.compile("^Fix the errors at the fields"))
    assert violations(page) == [], "with a mask"
    assert sticking_out(page) == []
    keep(page, "new-job-masked")
    refused(complaints)


def test_what_is_written_outlasts_the_session(browse: Browse, alice: User, complaints: list[str]) -> None:
    page = is_live(browse(alice, "/jobs/new"))
    editor = page.get_by_role("textbox", name="JSON")
    editor.fill(WHOLE)
    expect(page.locator("#forecast-time")).to_have_text("about 15 min")
    Session.objects.all().delete()
    page.get_by_role("button", name="Submit the job").click()
    expect(page.get_by_role("alert")).to_contain_text("what you have written stays here")
    with page.expect_popup() as popup:
        page.get_by_role("link", name="Sign in again").click()
    sign_in(popup.value, alice)
    is_live(popup.value)
    is_live(page)
    expect(page.get_by_role("alert")).to_be_hidden()
    expect(text_of(page)).to_have_value(WHOLE)
    assert not Job.objects.exists()
    page.get_by_role("button", name="Submit the job").click()
    expect(page).to_have_url(re.compile(r"/jobs/[0-9a-z]{26}$"))
    assert Job.objects.get().submitted_by == alice
    forgive(popup.value, complaints, "401")
    forgive(page, complaints, "401")


def test_who_is_at_a_limit_reads_which_one_and_what_to_do(
    browse: Browse, alice: User, make_job: Callable[..., Job], set_limits: SetLimits, complaints: list[str]
) -> None:
    set_limits(open_jobs=1, upload_bytes=1)
    make_job()
    sentence = "You have 1 open job, the maximum per user. Cancel some, or wait until one ends."
    page = is_live(browse(alice, "/jobs/new"))
    page.get_by_role("textbox", name="JSON").fill(WHOLE)
    expect(page.locator("#forecast-warnings")).to_have_text(sentence)
    expect(page.get_by_role("button", name="Submit the job")).to_be_disabled()
    page.get_by_label("Upload a dataset").set_input_files(zipped(archive(10)))
    expect(page.locator("#dataset-error")).to_contain_text("more than 1, the maximum per user")
    assert Job.objects.count() == 1
    forgive(page, complaints, "429")


NUMBERS = '{"max_train_steps": 10, "seed": 12345678901234567890, "lr": 1.0, "rate": 1e-4, "tiny": 0.1000}'


def test_each_number_arrives_as_it_is_written(browse: Browse, alice: User, acme: Organization) -> None:
    config = json.loads(NUMBERS)
    store_config(alice, acme, "exact", config, [{"id": "cats", "repeats": 12345678901234567890, "crop": 1.0}])
    page = browse(alice, "/jobs/new")
    sent: list[str] = []
    page.on("request", lambda request: sent.append(request.post_data or "") if "submit" in request.url else None)
    page.get_by_label("JSON", exact=True).fill(NUMBERS)
    page.get_by_text("Dataloader config").click()
    page.get_by_label("JSON, a list of datasets").fill('[{"id": "cats", "scale": 1.0, "size": 1e2}]')
    expect(page.locator("#forecast-source")).to_have_text("by the operator's figure")
    page.get_by_role("button", name="Submit the job").click()
    page.wait_for_url(re.compile("/jobs/01"))
    assert f'"config":{NUMBERS}' in sent[-1]
    assert '"scale": 1.0, "size": 1e2' in sent[-1]
    job = Job.objects.get()
    assert json.dumps(job.config) == (
        '{"max_train_steps": 10, "seed": 12345678901234567890, "lr": 1.0, "rate": 0.0001, "tiny": 0.1}'
    )
    page.goto(page.url.replace(job.pk, "new"))
    page.get_by_label("Start from").select_option("stored:exact")
    page.get_by_role("button", name="Edit a copy").click()
    expect(page.get_by_label("JSON", exact=True)).to_be_editable()
    written = text_of(page).input_value()
    assert [line.strip(" ,") for line in written.splitlines()[1:-1]] == [
        *('"max_train_steps": 10', '"seed": 12345678901234567890', '"lr": 1.0', '"rate": 0.0001', '"tiny": 0.1'),
    ]
    assert '"repeats": 12345678901234567890' in text_of(page, "dataloader").input_value()


def test_a_profile_that_no_node_can_run_says_so_before_it_is_submitted(
    browse: Browse, alice: User, lab: ClusterProvider, complaints: list[str]
) -> None:
    lab.view = ClusterView("1.0", (node(),), unrunnable={"gpu": "No node has 8 GPUs; the largest has 2."})
    clusters.look_now("lab")
    page = is_live(browse(alice, "/jobs/new"))
    page.get_by_label("JSON", exact=True).fill('{"max_train_steps": 10}')
    page.get_by_label("Provider").select_option("lab")
    choices = page.get_by_label("Hardware").locator("option")
    expect(choices.nth(1)).to_contain_text("gpu · price not known · no node can run it")
    expect(choices.nth(0)).not_to_contain_text("no node")
    page.get_by_label("Hardware").select_option("gpu")
    expect(page.get_by_text("No node has 8 GPUs; the largest has 2.")).to_be_visible()
    keep(page, "new-job-unrunnable")
    assert violations(page) == []
    page.get_by_label("Hardware").select_option("cpu")
    expect(page.get_by_text("No node has 8 GPUs; the largest has 2.")).to_be_hidden()
    forgive(page, complaints, "400")


def test_a_declared_provider_can_be_chosen_and_its_hardware_says_what_it_costs(
    browse: Browse, alice: User, accounts: Accounts, write_config: WriteConfig
) -> None:
    write_config(declared(accounts["studio"], "    cost_per_second: {h100: 0, l40s: 0.001}\n"))
    page = is_live(browse(alice, "/jobs/new"))
    page.get_by_label("Provider").select_option(label="The studio's account (replicate)")
    hardware = page.get_by_label("Hardware")
    expect(hardware).to_contain_text("h100 · own hardware")
    expect(hardware).to_contain_text("l40s · $3.60 an hour")
    expect(hardware).to_contain_text("h100-x2 · price not known")
    page.get_by_role("textbox", name="JSON").fill('{"model_type": "lora", "max_train_steps": 100}')
    expect(page.locator("#forecast-cost")).to_have_text("$0.00")
    keep(page, "new-job-declared-provider")


def test_what_is_typed_and_chosen_before_the_script_runs_is_kept(
    browse: Browse, alice: User, acme: Organization
) -> None:
    add_tag(acme, "ablation", by=OPERATOR)
    held: list[Route] = []
    page = browse(alice)
    page.route("**/new_job*.js", lambda route: held.append(route))
    page.goto("/jobs/new", wait_until="commit")
    page.get_by_role("textbox", name="JSON").fill(WHOLE)
    page.get_by_label("Name of the job").fill("early")
    page.get_by_label("ablation").check()
    page.locator("#dataset-file").set_input_files(zipped(archive(1000)))
    page.get_by_label("Name of the job").press("Enter")
    expect(page.get_by_role("button", name="Submit the job")).to_be_disabled()
    held[0].continue_()
    expect(page.locator("#dataset-facts")).to_contain_text("1 file")
    expect(page.locator("#config .cm-line")).to_have_count(5)
    expect(text_of(page)).to_have_value(WHOLE)
    page.get_by_role("button", name="Submit the job").click()
    page.wait_for_url(re.compile("/jobs/[0-9a-z]{26}"))
    job = Job.objects.get()
    assert (job.config_name, job.dataset is not None, tags_by_job([job])[job.pk]) == ("early", True, ["ablation"])
    expect(page.get_by_role("list", name="Tags")).to_have_text("ablation")


def test_an_example_that_was_chosen_before_the_script_ran_is_taken(browse: Browse, alice: User) -> None:
    held: list[Route] = []
    page = browse(alice)
    page.route("**/new_job*.js", lambda route: held.append(route))
    page.goto("/jobs/new", wait_until="commit")
    page.get_by_label("Start from").select_option(index=1)
    expect(page.get_by_role("button", name="Submit the job")).to_be_disabled()
    held[0].continue_()
    expect(text_of(page)).not_to_have_value("")
    page.get_by_role("button", name="Submit the job").click()
    page.wait_for_url(re.compile("/jobs/[0-9a-z]{26}"))
