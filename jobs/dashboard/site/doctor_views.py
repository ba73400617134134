"""The checks of the deployment, run when a superuser asks for it."""

from __future__ import annotations

from django.http import HttpResponse

from cloudtrain_site.doctor.apart import run_apart
from cloudtrain_site.extensions import doctor_checks
from jobs.dashboard.site.frame import SitePage, site_page

SECTION = "site-doctor"


@site_page(SECTION)
def doctor(page: SitePage) -> HttpResponse:
    """List the questions; after the button was pressed, with their answers."""
    if not page.is_post:
        return page.render("site/doctor.html", {"questions": [check.question for check in doctor_checks.values()]})
    answer = run_apart()
    return page.render("site/doctor.html", {"status": answer["status"], "checks": answer["checks"]})
