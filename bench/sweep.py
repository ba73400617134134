"""Look at every page as everybody, in all sizes, light and dark: `make sweep`. The pictures go into screenshots/sweep/.

    python -m bench.sweep [--site empty|one|three] [--people vera,root] [--pages jobs,queue]

The site has no account yet and then nobody but a superuser, or one organization or three, whose people, jobs, tags,
rules and configs have the longest names that are taken, also of Arabic and of emoji. Each page is loaded on a phone and
on a desk, and then made as narrow and as wide as it may become. At fault is what the accessibility checker names
(targets below 24 pixels too), a page that scrolls sideways, one whose parts move while it loads, and what the browser
complains of.
"""

from __future__ import annotations

import argparse
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from bench.browser import chromium, context_of
from bench.pictures import TEAMS, seed
from bench.stack import Stack, running_stack

ROOT = Path(__file__).resolve().parent.parent
PICTURES = ROOT / "screenshots" / "sweep"
AXE = ROOT / "tests" / "browser" / "vendor" / "axe-core-4.14.1" / "axe.min.js"
SITES = ("empty", "one", "three")
#: The width at which a page is loaded, and the one that it gets then.
SIZES = ((390, 320), (1280, 1920))
HEIGHTS = {390: 844, 320: 640, 1280: 900, 1920: 1080}
SHIFT = 0.02
#: A page that has loaded asks for more: the log, the curves, the totals.
SETTLE_MS = 700
#: Charts take the new width in the next frames.
RESIZE_MS = 150
#: Of no organization, and shown these pages alone.
LONER = "lone"
OF_A_LONER = ("jobs", "queue", "approvals", "metrics", "spend", "budgets", "account", "notices", "jobs-new", "machines")
PEOPLE = {"vera": "viewer", "tomas": "researcher", "noor": "lead", "ida": "admin", "root": "superuser"}
#: They are 404 for everybody.
FAILING = ("nowhere", "invitation-ended")
LONG = "Donaudampfschifffahrtselektrizitätenhauptbetriebswerkbauunterbeamtengesellschaft" * 3
ARABIC, EMOJI = "تدريب-النموذج-على-صور-المنتجات-الجديدة-للمتجر", "🦄🎨" * 20

SHIFTED = """() => new Promise((resolve) => {
  let sum = 0;
  const parts = [];
  new PerformanceObserver((list) => list.getEntries().filter((one) => !one.hadRecentInput).forEach((one) => {
    sum += one.value;
    parts.push(...one.sources.map(({ node }) => (node?.outerHTML ?? node?.textContent ?? "").slice(0, 60)));
  })).observe({ type: "layout-shift", buffered: true });
  setTimeout(() => resolve([sum, parts.slice(0, 4)]), 0);
})"""
WIDER = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
WIDEST = """() => [...document.querySelectorAll("body *")].filter((one) => one.checkVisibility())
  .filter((one) => one.getBoundingClientRect().right > document.documentElement.clientWidth + 1)
  .map((one) => one.outerHTML.slice(0, 120)).slice(-2)"""
VIOLATIONS = """async () => (await axe.run(document, { preload: false, rules: { "target-size": { enabled: true } } }))
  .violations.map((one) => `${one.id}: ${one.nodes.length} × ${one.nodes[0].html.slice(0, 160)}`)"""


def name_things() -> None:
    """Give some of everything a name that is as long, or written as differently, as names may be."""
    from django.contrib.auth.models import User
    from django.http import QueryDict

    from approvals.models import ApprovalRule
    from bench.pictures import submit
    from cloudtrain_site.audit.recording import OPERATOR
    from jobs.models import Organization, TrainingConfig
    from jobs.organizations.members import add_member
    from jobs.organizations.saved_lists import save_view
    from jobs.organizations.service_accounts import make_service_account
    from jobs.organizations.tags import add_tag
    from jobs.roles import Role
    from queueing.models import Budget

    studio = Organization.objects.get(name="studio")
    long_person = User.objects.create_user("x" * 130 + "@example.org", "x" * 60 + "@example.org")
    add_member(studio, long_person, Role.RESEARCHER, by=OPERATOR)
    add_member(studio, User.objects.create_user("vera", "vera@example.org"), Role.VIEWER, by=OPERATOR)
    User.objects.create_superuser("root", "root@example.org")
    User.objects.create_user(LONER, "lone@example.org")
    for team in Organization.objects.exclude(pk=studio.pk):
        for name in ("vera", "noor", "ida"):
            add_member(team, User.objects.get(username=name), Role(PEOPLE[name]), by=OPERATOR)
    for name in (LONG, ARABIC, EMOJI):
        submit(long_person, name[:200], "replicate", "gpu-a100-large", {"max_train_steps": 4000, LONG[:100]: LONG})
        add_tag(studio, name[:40].strip(), by=OPERATOR)
        ApprovalRule.objects.create(name=name[:100], organization=studio, config_name="never-*")
        TrainingConfig.objects.create(organization=studio, name=name[:200], config={"max_train_steps": 1})
        save_view(name[:40], QueryDict("status=failed"), by=long_person, organization=studio)
    make_service_account(studio, "a" * 40, Role.RESEARCHER, by=OPERATOR)
    Budget.objects.create(scope="organization", organization=studio, amount=500)


def make(site: str) -> None:
    """Fill the site, unless it stays empty."""
    if site == "empty":
        return
    seed(["studio"] if site == "one" else TEAMS)
    name_things()


def open_pages(site: str) -> dict[str, str]:
    """The pages of those who are not signed in, by what their pictures are called."""
    from cloudtrain_site.accounts.first_link import make_first_link
    from cloudtrain_site.audit.recording import OPERATOR
    from jobs.models import Organization
    from jobs.organizations.invitations import invite
    from jobs.roles import Role

    found = {name: f"/{name.replace('-', '/')}" for name in ("login", "password", "password-sent")}
    if site == "empty":
        return found | {"first-visit": "/", "first-account": make_first_link()}
    _, token = invite(Organization.objects.get(name="studio"), Role.RESEARCHER, by=OPERATOR)
    return found | {"invitation": f"/invitations/{token}", "invitation-ended": "/invitations/ct_ended"}


def pages() -> dict[str, str]:
    """Every page, by what its pictures are called."""
    from django.contrib.auth.models import User

    from approvals.models import ApprovalRule
    from jobs.models import Job, TrainingConfig
    from queueing.models import Budget

    names = ("queue", "approvals", "metrics", "spend", "budgets", "budgets/new", "machines", "account", "notices")
    more = ("jobs/new", "site/organizations", "site/people", "site/audit", "api/docs", "nowhere")
    found = {"jobs": "/", "jobs-failed": "/?status=failed&sort=cost", "jobs-none": "/?search=nothing-like-this"}
    found |= {name.replace("/", "-"): f"/{name}" for name in (*names, *more)}
    found |= {"second-factor": "/account/second-factor", "deliveries": "/notices/deliveries"}
    found |= {"admin": "/admin/"} | admin_pages()
    jobs = Job.objects.filter(organization__name="studio").order_by("-pk")
    if not jobs:
        return found | {"first-organization": "/first-visit/organization"}
    examples = {
        "ended": jobs.filter(status="completed").exclude(provider="local").first(),
        "failed": jobs.filter(status="failed").first(),
        "held": jobs.filter(config_name=LONG[:200]).first(),
        "trained": jobs.filter(provider="local").first(),
    }
    shown = {name: job.pk for name, job in examples.items() if job}
    found |= {f"job-{name}": f"/jobs/{pk}" for name, pk in shown.items()}
    held = shown["held"]
    found |= {f"job-{tab}": f"/jobs/{shown['ended']}/{tab}" for tab in ("log", "curves")}
    found |= {f"job-{tab}": f"/jobs/{held}/{tab}" for tab in ("config", "history")}
    found |= {"run-again": f"/jobs/new?parent={held}", "compare": f"/jobs/compare?id={held}&id={shown['ended']}"}
    of_studio = ("general", "members", "service-accounts", "configs", "tags", "limits", "budgets", "rules", "rules/new")
    base = "/organizations/studio/settings"
    for name in (*of_studio, "results", "notices", "discovered", "history", f"service-accounts/{'a' * 40}"):
        found["settings-" + name.replace("/", "-")[:24]] = f"{base}/{name}"
    found["settings-config"] = f"{base}/configs/{TrainingConfig.objects.first().pk}"  # type: ignore[union-attr]
    found["settings-rule"] = f"{base}/rules/{ApprovalRule.objects.last().pk}"  # type: ignore[union-attr]
    found["budget"] = f"/budgets/{Budget.objects.last().pk}"  # type: ignore[union-attr]
    found["site-organization"] = "/site/organizations/studio"
    found["site-person"] = f"/site/people/{User.objects.order_by('-pk')[0].pk}"
    # The first one of this machine, and the last of all pages: by then it has trained.
    found["job-results"] = f"/jobs/{jobs.filter(provider='local').last().pk}/results"  # type: ignore[union-attr]
    return found


def admin_pages() -> dict[str, str]:
    """The admin's lists, and of each its empty form and its last record."""
    from django.contrib import admin
    from django.contrib.admin.utils import quote

    found = {}
    for model in admin.site._registry:
        name, base = model._meta.model_name, f"/admin/{model._meta.app_label}/{model._meta.model_name}/"
        found |= {f"admin-{name}-list": base, f"admin-{name}-add": f"{base}add/"}
        if last := model._default_manager.order_by("-pk").first():
            found[f"admin-{name}"] = f"{base}{quote(last.pk)}/change/"
    return found


def look(browser: Any, stack: Stack, site: str, name: str, addresses: dict[str, str]) -> Iterator[str]:
    """Take the pictures of one person's pages, and say what is at fault."""
    options = {"timezone_id": "Europe/Berlin", "reduced_motion": "reduce"}
    for first, other in SIZES:
        context = context_of(browser, stack, None if name == "nobody" else name, **options)
        page = context.new_page()
        complaints: list[str] = []
        page.on("console", lambda line: complaints.append(line.text) if line.type in ("error", "warning") else None)  # noqa: B023
        page.on("pageerror", lambda error: complaints.append(str(error)))  # noqa: B023
        for label, address in addresses.items():
            complaints.clear()
            page.emulate_media(color_scheme="light")
            page.set_viewport_size({"width": first, "height": HEIGHTS[first]})
            answer = page.goto(address)
            if answer.status != 200 and label not in FAILING:
                if answer.status not in (403, 404):
                    yield f"{label}: {answer.status}"
                continue
            page.wait_for_timeout(SETTLE_MS)
            where = f"{site} {name} {label}"
            shift, parts = page.evaluate(SHIFTED)
            if shift > SHIFT:
                yield f"{where} {first}: layout shift {shift:.3f} of {parts}"
            folder = PICTURES / site / name
            folder.mkdir(parents=True, exist_ok=True)
            page.evaluate(AXE.read_text())
            for width in (first, other):
                page.set_viewport_size({"width": width, "height": HEIGHTS[width]})
                page.wait_for_timeout(RESIZE_MS)
                if (more := page.evaluate(WIDER)) > 0:
                    yield f"{where} {width}: {more} pixels wider than the window: {page.evaluate(WIDEST)}"
                for scheme in ("light", "dark"):
                    page.emulate_media(color_scheme=scheme)
                    page.screenshot(path=folder / f"{label}-{width}-{scheme}.png", full_page=width < 1000)
                    if width == first:
                        yield from (f"{where} {width} {scheme}: {one}" for one in page.evaluate(VIOLATIONS))
            if label not in FAILING:
                yield from (f"{where} {first}: {complaint[:200]}" for complaint in complaints)
        context.close()


def pages_of(site: str, name: str) -> dict[str, str]:
    """What a person of the site is shown."""
    from django.contrib.auth.models import User

    if name == "nobody":
        return open_pages(site)
    if site == "empty" and name == "root":
        User.objects.create_superuser("root", "root@example.org")
    found = pages() if User.objects.filter(username=name).exists() else {}
    return {label: at for label, at in found.items() if name != LONER or label in OF_A_LONER}


def sweep(site: str, options: argparse.Namespace) -> int:
    people = options.people.split(",") if options.people else ["nobody", LONER, *PEOPLE]
    faults = looked_at = 0
    with running_stack() as stack, chromium() as browser:
        make(site)
        for name in people:
            found = pages_of(site, name)
            addresses = {
                label: at for label, at in found.items() if not options.pages or label in options.pages.split(",")
            }
            if not addresses:
                continue
            looked_at += len(addresses)
            for fault in look(browser, stack, site, name, addresses):
                print(fault, flush=True)
                faults += 1
    print(f"{site}: {looked_at} pages, {faults} faults. The pictures are in {PICTURES / site}.")
    return faults


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--site", choices=SITES)
    parser.add_argument("--people", default="")
    parser.add_argument("--pages", default="")
    options = parser.parse_args()
    if options.site:
        return int(sweep(options.site, options) > 0)
    shutil.rmtree(PICTURES, ignore_errors=True)
    # Django is set up for one site a process.
    return max(
        [subprocess.call([sys.executable, "-m", "bench.sweep", "--site", site, *sys.argv[1:]]) for site in SITES]
    )


if __name__ == "__main__":
    sys.exit(main())
