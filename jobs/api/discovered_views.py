"""An organization's discovered jobs over HTTP: those that are nobody's yet, and whose they are to be."""

from __future__ import annotations

from django.http import Http404
from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.request import Request
from rest_framework.response import Response

from cloudtrain_site.accounts.scopes import needs
from cloudtrain_site.api import StrictSerializer, checked, current_user, raises, rendered
from cloudtrain_site.errors import Conflict
from cloudtrain_site.models import Scope
from cloudtrain_site.strict_views import StrictViewSet
from jobs.api.organization_views import find_administered
from jobs.api.serializers import JobDetailSerializer, JobListSerializer, with_facets
from jobs.models import Job
from jobs.organizations.discovered import give_to_member, take_job, unowned_jobs
from jobs.organizations.members import find_member
from jobs.permissions import is_superuser

MOST = 500


class AssignBody(StrictSerializer):
    """The member who will own the job. A superuser may leave it out to give the job to the organization alone."""

    user = serializers.CharField(max_length=150, default="", allow_blank=True)


class DiscoveredViewSet(StrictViewSet):
    """The discovered jobs of an organization that are nobody's yet, for its admins."""

    @extend_schema(operation_id="discovered_list", responses=JobListSerializer)
    @needs(Scope.ADMINISTER)
    def list(self, request: Request, organization: str) -> Response:
        """List discovered jobs without an owner.

        At most the newest 500.
        """
        found = find_administered(request, organization)
        jobs = unowned_jobs(found)
        shown = with_facets(list(jobs.select_related("submitted_by").with_beginnings()[:MOST]), request.user)
        return rendered(JobListSerializer, {"jobs": shown, "total": jobs.count(), "next_cursor": None})

    @extend_schema(request=AssignBody, responses=JobDetailSerializer)
    @raises(Conflict)
    @needs(Scope.ADMINISTER)
    def create(self, request: Request, organization: str, job_id: str) -> Response:
        """Assign a discovered job to a member.

        For a superuser this works for a job without an organization too: it is given to this one.
        """
        found, by = find_administered(request, organization), current_user(request)
        name = checked(AssignBody, request.data or {})["user"]
        member = find_member(found, name).user if name else None
        job = _find(job_id, [found.pk, None] if is_superuser(by) else [found.pk])
        if job.organization is None:
            take_job(job, found, by=by)
        if member is not None:
            give_to_member(job, member, by=by)
        [shown] = with_facets([job], by)
        return rendered(JobDetailSerializer, {"job": shown})


def _find(job_id: str, organizations: list[int | None]) -> Job:
    jobs = Job.objects.kept().filter(metadata__discovered=True).select_related("organization", "submitted_by")
    job = None if "\x00" in job_id else jobs.filter(pk=job_id.lower()).first()
    if job is None or job.organization_id not in organizations:
        raise Http404
    return job
