"""What Airflow is told about submitted revisions: which need a DAG, what it is made of, and whether its gate is open."""

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy.orm import Session

from opaque_jobs.domain.canonical import canonical_bytes, digest
from opaque_jobs.domain.inputs import parse_datetime
from opaque_jobs.domain.job import parse_job_spec
from opaque_jobs.domain.lifecycle import JobStatus
from opaque_jobs.protocol.views import DagFacts, DeployableRevision
from opaque_jobs.services.context import Context
from opaque_jobs.services.leases import lease_of, leases_over
from opaque_jobs.services.refreshes import due_refreshes
from opaque_jobs.store import jobs as job_rows
from opaque_jobs.store import people
from opaque_jobs.store import workspaces as workspace_rows
from opaque_jobs.store.gate import gate_query, words_of

__all__ = ["Deployments", "gate_words"]


class Deployments:
    """Questions of those that generate DAGs and watch over them. Nothing here changes anything."""

    def __init__(self, context: Context) -> None:
        self._context = context

    def gate_states(self, ids: Sequence[str]) -> dict[str, str]:
        """Tell for run ids or revision ids (`<job id>@<revision>`) whether the gate is `waiting`, `open`, or why it refuses."""
        with self._context.store.read() as session:
            return gate_words(session, ids, self._context.now())

    def deployable(self) -> list[DeployableRevision]:
        """Give the revisions that need a DAG: under review or accepted, not archived; by job and revision."""
        standing = (JobStatus.UNDER_REVIEW, JobStatus.ACCEPTED)
        with self._context.store.read() as session:
            found = job_rows.revisions_in(session, standing, unarchived=True)
            accepted = [each for each in found if each.status is JobStatus.ACCEPTED]
            over = leases_over(session, accepted, now=self._context.now())
        return [
            DeployableRevision(
                job_id=each.job_id,
                revision=each.revision,
                status=each.status,
                marker=digest(canonical_bytes([each.digest, each.status.value, over.get((each.job_id, each.revision), "")])),
            )
            for each in found
        ]

    def dag_facts(self, job_id: str, revision: int) -> DagFacts:
        """Give what the DAG of a revision is made of.

        Raises:
            NotFoundError: No such revision.
        """
        with self._context.store.read() as session:
            record = job_rows.revision(session, job_id, revision)
            spec = parse_job_spec(record.spec)
            lease = lease_of(session, spec, accepted=False, now=self._context.now())
            author = people.member(session, spec.author_id).name
            workspace = workspace_rows.workspace(session, spec.workspace_id).name
        terms = spec.rerun_terms
        tags = ["opaque-jobs", record.status.value.replace("_", "-"), f"workspace: {workspace}", f"author: {author}"]
        return DagFacts(
            job_id=job_id,
            revision=revision,
            digest=record.digest,
            workspace_id=spec.workspace_id,
            status=record.status,
            display_name=spec.name,
            tags=tuple(sorted([*tags, "lease-over"] if lease.over else tags)),
            inputs=tuple(each for each in spec.inputs if each.name in terms.variable_inputs),
            schedule=terms.schedule,
            runs_on_refresh_of=tuple(
                sorted(use.dataset_id for use in spec.datasets if terms.on_refresh and use.alias in terms.follows)
            ),
            accepted_at=record.decided_at if record.status is JobStatus.ACCEPTED else None,
            not_before=parse_datetime(terms.not_before) if terms.not_before else None,
            not_after=parse_datetime(terms.not_after) if terms.not_after else None,
            max_runs=terms.max_runs,
            timeout_s=spec.limits.timeout_s,
            lease_over=lease.over,
            description=spec.description,
            author=author,
            workspace=workspace,
        )

    def due_refreshes(self) -> list[tuple[str, int]]:
        """Give (data set id, version) of the refreshes that should start runs and have not."""
        with self._context.store.read() as session:
            return due_refreshes(session)


def gate_words(session: Session, ids: Sequence[str], now: datetime) -> dict[str, str]:
    """Tell the gate's word of each run id or revision id, within a transaction."""
    found = session.execute(gate_query(list(ids))).mappings()
    return words_of(ids, (dict(row) for row in found), now=now)
