"""Jobs: drafts, and the one document that is made of a draft when it is submitted."""

import difflib
import json
from collections.abc import Mapping
from datetime import datetime

from sqlalchemy.orm import Session

from opaque_jobs.domain.document import from_bytes, to_bytes
from opaque_jobs.domain.ids import new_id
from opaque_jobs.domain.inputs import parse_datetime
from opaque_jobs.domain.job import JobSpec, parse_job_spec
from opaque_jobs.domain.lifecycle import JOB, RUN, JobEvent, JobStatus
from opaque_jobs.domain.rerun_terms import RerunTerms
from opaque_jobs.domain.roles import Action
from opaque_jobs.errors import ConflictError, InvalidInputError
from opaque_jobs.protocol.drafts import JobDraft
from opaque_jobs.protocol.views import JobView, RevisionDiff, RevisionView
from opaque_jobs.services.access import JobAccess, access_to_job, check_active, member_workspace
from opaque_jobs.services.context import Context
from opaque_jobs.services.schedules import parse_schedule
from opaque_jobs.services.specs import build_spec
from opaque_jobs.store import events
from opaque_jobs.store import jobs as rows
from opaque_jobs.store import runs as run_rows
from opaque_jobs.store import workspaces as workspace_rows
from opaque_jobs.store.records import EventRecord, JobRecord, RevisionRecord

__all__ = ["Jobs", "spec_of_draft"]

_RERUN_LABELS: Mapping[JobStatus, str] = {
    JobStatus.DRAFT: "Request approval for reruns",
    JobStatus.UNDER_REVIEW: "Awaiting approval",
    JobStatus.ACCEPTED: "Approved for rerun",
}


class Jobs:
    """Use cases about jobs and their drafts."""

    def __init__(self, context: Context) -> None:
        self._context = context

    def create_draft(self, *, actor: str, workspace_id: str, draft: JobDraft) -> JobView:
        """Make a job; the actor is its author.

        Raises:
            NotFoundError: The actor is not a member of the workspace.
            ConflictError: The workspace is not active.
            InvalidInputError: Its rerun terms are over already, or its schedule is no schedule.
        """
        now = self._context.now()
        _check_terms(draft.rerun_terms, now)
        record = JobRecord(
            id=new_id("job"),
            workspace_id=workspace_id,
            author_id=actor,
            status=JobStatus.DRAFT,
            archived=False,
            next_revision=1,
            draft=to_bytes(draft),
            version=1,
            created_at=now,
            updated_at=now,
        )
        with self._context.store.write() as session:
            workspace, _ = member_workspace(session, workspace_id, actor)
            check_active(workspace)
            rows.add_job(session, record)
            events.append(session, noun="job", subject_id=record.id, event="create", actor=actor, now=now)
            return _view(session, access_to_job(session, record.id, actor))

    def edit(self, *, actor: str, job_id: str, draft: JobDraft, version: int | None = None) -> JobView:
        """Replace a draft's content.

        Args:
            actor: The author.
            job_id: The job, in `draft`.
            draft: The new content.
            version: `JobView.version` that was edited; None overwrites.

        Raises:
            ConflictError: Not a draft, or changed meanwhile.
            DeniedError: Not the author.
            InvalidInputError: The new rerun terms are over already, or the schedule is no schedule.
        """
        _check_terms(draft.rerun_terms, self._context.now())
        with self._context.store.write() as session:
            access = access_to_job(session, job_id, actor, Action.EDIT)
            if access.job.status is not JobStatus.DRAFT:
                raise ConflictError(
                    "only a draft can be edited", hint="cancel the review, or revise the job", status=access.job.status.value
                )
            if version not in (None, access.job.version):
                raise ConflictError("somebody else changed this meanwhile", hint="look at it again, then repeat")
            rows.set_job(session, access.job, event="edit", actor=actor, now=self._context.now(), draft=to_bytes(draft))
            return _view(session, access_to_job(session, job_id, actor))

    def spec_for_submission(self, job_id: str, *, actor: str) -> JobSpec:
        """Pin data set versions, members, recipients and runtime into the document that everybody signs.

        The same draft gives the same bytes until something that it depends on changes.

        Raises:
            ConflictError: Not a draft, or a data set is not shared into the workspace.
            InvalidInputError: The draft is not complete or contradicts itself, or its rerun terms are over by now.
            ConfigurationError: No enclave runtime is built.
        """
        measurement = self._context.runtime().measurement
        with self._context.store.read() as session:
            spec = spec_of_draft(session, access_to_job(session, job_id, actor), measurement)
        _check_terms(spec.rerun_terms, self._context.now())
        return spec

    def check_event(self, job_id: str, event: JobEvent, *, actor: str) -> None:
        """Check, before anybody signs anything for it, that the author may do this now.

        Raises:
            ConflictError: Its state does not allow it.
            DeniedError: Not the author.
        """
        with self._context.store.read() as session:
            JOB.next(access_to_job(session, job_id, actor, Action.EDIT).job.status, event)

    def revise(self, *, actor: str, job_id: str) -> JobView:
        """Return an accepted, expired, withdrawn or superseded job to draft; an accepted revision stays in force meanwhile.

        Raises:
            ConflictError: It is in none of these states.
            DeniedError: Not the author.
        """
        with self._context.store.write() as session:
            access = access_to_job(session, job_id, actor, Action.EDIT)
            rows.apply_job_event(session, access.job, JobEvent.REVISE, actor=actor, now=self._context.now())
            return _view(session, access_to_job(session, job_id, actor))

    def archive(self, job_id: str, *, actor: str) -> JobView:
        """Hide it from lists and stop it from running.

        Raises:
            DeniedError: Not the author.
        """
        return self._mark(job_id, actor=actor, archived=True)

    def unarchive(self, job_id: str, *, actor: str) -> JobView:
        """Show it again.

        Raises:
            DeniedError: Not the author.
        """
        return self._mark(job_id, actor=actor, archived=False)

    def _mark(self, job_id: str, *, actor: str, archived: bool) -> JobView:
        event = "archive" if archived else "unarchive"
        with self._context.store.write() as session:
            access = access_to_job(session, job_id, actor, Action.EDIT)
            rows.set_job(session, access.job, event=event, actor=actor, now=self._context.now(), archived=archived)
            return _view(session, access_to_job(session, job_id, actor))

    def delete(self, job_id: str, *, actor: str) -> None:
        """Delete a job that has no run.

        Raises:
            ConflictError: It has a run (archive it instead), or members are voting on it.
            DeniedError: Not the author.
        """
        with self._context.store.write() as session:
            access = access_to_job(session, job_id, actor, Action.EDIT)
            if run_rows.runs_of_job(session, job_id):
                raise ConflictError("a job that has a run cannot be deleted", hint="archive it instead")
            if access.job.status is JobStatus.UNDER_REVIEW:
                raise ConflictError("a job under review cannot be deleted", hint="cancel the review first")
            rows.remove_job(session, job_id)
            events.append(session, noun="job", subject_id=job_id, event="delete", actor=actor, now=self._context.now())

    def show(self, job_id: str, *, actor: str) -> JobView:
        """Give a job to a member of its workspace.

        Raises:
            NotFoundError: None, or the actor may not know of it.
        """
        with self._context.store.read() as session:
            return _view(session, access_to_job(session, job_id, actor))

    def list(self, *, actor: str, workspace_id: str | None = None, archived: bool = False) -> list[JobView]:
        """Give the jobs of the actor's workspaces, newest first.

        Raises:
            NotFoundError: The actor is not a member of the workspace.
        """
        with self._context.store.read() as session:
            wanted = workspace_rows.member_of(session, actor) if workspace_id is None else [workspace_id]
            if workspace_id is not None:
                member_workspace(session, workspace_id, actor)
            found = [each for each in rows.jobs_in(session, wanted) if archived or not each.archived]
            return [_view(session, access_to_job(session, each.id, actor)) for each in found]

    def diff(self, job_id: str, *, actor: str, revision: int | None = None) -> RevisionDiff:
        """Compare a revision with the one accepted last before it; None takes the draft, or else the current revision.

        Raises:
            InvalidInputError: The draft is not complete.
            NotFoundError: No such job or revision, or the actor may not know of it.
        """
        with self._context.store.read() as session:
            access = access_to_job(session, job_id, actor)
            revisions = rows.revisions(session, job_id)
            if revision is not None:
                current = parse_job_spec(rows.revision(session, job_id, revision).spec)
            elif access.job.status is JobStatus.DRAFT:
                current = spec_of_draft(session, access, self._context.runtime().measurement)
            else:
                current = parse_job_spec(revisions[-1].spec)
            accepted = {each.facts["revision"] for each in events.events_of(session, job_id) if _is_acceptance(each)}
            earlier = [each for each in revisions if each.revision in accepted and each.revision < current.revision]
            before = parse_job_spec(earlier[-1].spec) if earlier else None
        return RevisionDiff(against=before.revision if before else None, text=_diff(before, current))


def _check_terms(terms: RerunTerms, now: datetime) -> None:
    """Check that members are not asked for runs that no approval could allow any more, or that Airflow could not start."""
    if terms.schedule is not None:
        parse_schedule(terms.schedule)
    if terms.not_after and now > parse_datetime(terms.not_after):
        raise InvalidInputError(
            "the last day of the job's rerun terms is over already", hint="give a day from today on (UTC) with --until"
        )


def _is_acceptance(record: EventRecord) -> bool:
    return (record.noun, record.event) == ("revision", JobEvent.ACCEPT.value)


def spec_of_draft(session: Session, access: JobAccess, measurement: str) -> JobSpec:
    """Build the spec of a job that is in draft.

    Raises:
        ConflictError: It is not, or its workspace is not active.
    """
    if access.job.status is not JobStatus.DRAFT:
        raise ConflictError("the job is not a draft", hint="cancel the review, or revise the job", status=access.job.status.value)
    check_active(access.workspace)
    return build_spec(session, access.job, _draft(access.job), access.roster, measurement=measurement)


def _draft(record: JobRecord) -> JobDraft:
    return from_bytes(JobDraft, record.draft, what="draft")


def _diff(before: JobSpec | None, after: JobSpec) -> str:
    old = "nothing accepted" if before is None else f"revision {before.revision}"
    new = f"revision {after.revision}"
    lines: list[str] = []
    for what in ("code", "everything else"):
        pair = ([] if before is None else _lines(before, what), _lines(after, what))
        lines += difflib.unified_diff(*pair, f"{what}, {old}", f"{what}, {new}", lineterm="")
    return "\n".join(lines)


def _lines(spec: JobSpec, what: str) -> list[str]:
    if what == "code":
        return spec.code.text.splitlines()
    document = spec.to_json() | {"code": {"language": spec.code.language.value}}
    return json.dumps(document, indent=2, sort_keys=True, ensure_ascii=False).splitlines()


def _view(session: Session, access: JobAccess) -> JobView:
    job = access.job
    draft = _draft(job)
    revisions = rows.revisions(session, job.id)
    accepted = next((each.revision for each in revisions if each.status is JobStatus.ACCEPTED), None)
    reruns = draft.rerun_terms.max_runs > 1 and len(access.roster.members) > 1
    return JobView(
        id=job.id,
        workspace_id=job.workspace_id,
        author_id=job.author_id,
        status=job.status,
        stage=_stage(session, job),
        archived=job.archived,
        next_revision=job.next_revision,
        accepted_revision=accepted,
        draft=draft,
        revisions=tuple(_revision_view(each) for each in revisions),
        rerun_label=_RERUN_LABELS.get(job.status, "") if reruns else "",
        version=job.version,
        created_at=job.created_at,
        updated_at=job.updated_at,
    )


def _stage(session: Session, job: JobRecord) -> str:
    if job.status is JobStatus.DRAFT:
        return "Draft"
    if job.status is not JobStatus.ACCEPTED:
        return "Review"
    revision = job.next_revision - 1
    ran = any(RUN.terminal(run.state) for run in run_rows.runs_of_revisions(session, [(job.id, revision)]))
    return "Outcome" if ran else "Execution"


def _revision_view(record: RevisionRecord) -> RevisionView:
    return RevisionView(
        job_id=record.job_id,
        revision=record.revision,
        status=record.status,
        spec_bytes=record.spec,
        digest=record.digest,
        submitted_at=record.submitted_at,
        decided_at=record.decided_at,
        deadline=record.deadline,
        test_run_id=record.test_run_id,
        no_test_reason=record.no_test_reason,
    )
