"""What this room does to several jobs of the list at once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from django.contrib.auth.models import User

from cloudtrain_site.errors import Conflict
from cloudtrain_site.states import Actor, Source
from jobs import extensions, lifecycle
from jobs.dashboard.rows import Row, make_rows
from jobs.extensions import ListAct
from jobs.models import Job
from jobs.tags.tagging import set_tags, tags_by_job

NOT_THEIRS = "Only the submitter, a lead or an admin can change this job."


def _cancel_objections(jobs: Sequence[Job], user: User) -> Mapping[str, str]:
    return {
        row.id: "Already being cancelled." if row.kind == "cancelling" else _objection(row, "The job has ended.")
        for row in make_rows(jobs, user)
        if not row.may_cancel
    }


def _delete_objections(jobs: Sequence[Job], user: User) -> Mapping[str, str]:
    return {
        row.id: _objection(row, "The job has not ended. Cancel it first.")
        for row in make_rows(jobs, user)
        if not row.may_delete
    }


def _tag_objections(jobs: Sequence[Job], user: User) -> Mapping[str, str]:
    lonely = {job.pk: "Jobs without an organization have no tags." for job in jobs if not job.organization_id}
    return {row.id: NOT_THEIRS for row in make_rows(jobs, user) if not row.may_change} | lonely


def _objection(row: Row, of_its_state: str) -> str:
    return of_its_state if row.may_change else NOT_THEIRS


def _cancel(job: Job, user: User, fields: Mapping[str, str]) -> None:
    if not lifecycle.request_cancel(job, actor=Actor.of(user), source=Source.DASHBOARD):
        raise Conflict("The job has ended.")


def _delete(job: Job, user: User, fields: Mapping[str, str]) -> None:
    if not lifecycle.delete(job, actor=Actor.of(user), source=Source.DASHBOARD):
        raise Conflict("The job has not ended, or was deleted.")


def _tag(job: Job, user: User, fields: Mapping[str, str]) -> None:
    name, carried = fields.get("tag", ""), tags_by_job([job]).get(job.pk, [])
    kept = [tag for tag in carried if tag != name]
    set_tags(job, kept if fields.get("remove") else [*kept, name], by=user, source=Source.DASHBOARD)


def register_all() -> None:
    acts = extensions.list_acts
    acts.register(
        "cancel",
        ListAct(
            "Cancel",
            "cancelled",
            _cancel_objections,
            _cancel,
            text="The jobs stop and can’t be resumed. Their cost so far stays.",
            is_dangerous=True,
        ),
        order=10,
    )
    acts.register("tag", ListAct("Tag", "tagged", _tag_objections, _tag, has_tag=True), order=40)
    acts.register(
        "delete",
        ListAct(
            "Delete",
            "deleted",
            _delete_objections,
            _delete,
            text="The jobs disappear from every list. Their logs and files on the server are removed. Their cost stays "
            "counted.",
            is_dangerous=True,
        ),
        order=50,
    )
