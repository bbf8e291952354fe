"""What the services return: frozen values that clients, Airflow and the pages show. No rows of the database, no paths.

A view holds only what the role of the person who asked may see. Times are aware UTC.
"""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from opaque_jobs.domain.approval_rule import ApprovalRule
from opaque_jobs.domain.dataset import Column, DatasetManifest, Source, TestDataKind
from opaque_jobs.domain.inputs import InputVariable
from opaque_jobs.domain.job import Code, TeeKind
from opaque_jobs.domain.lifecycle import JobStatus, RunState, WorkspaceStatus
from opaque_jobs.domain.review import Decision
from opaque_jobs.domain.run import RunKind, Trigger
from opaque_jobs.domain.workspace import MemberEntry, OrganisationEntry, Roster
from opaque_jobs.protocol.documents import FileDocument
from opaque_jobs.protocol.drafts import JobDraft

__all__ = [
    "BrokerPush",
    "BrokerTarget",
    "ClosedRun",
    "DagFacts",
    "DatasetVersionView",
    "DatasetView",
    "DeployableRevision",
    "JobView",
    "NeededApprovals",
    "OrganisationView",
    "PinnedQueryView",
    "ReceiptContext",
    "ReviewView",
    "RevisionDiff",
    "RevisionView",
    "RosterProposal",
    "RunView",
    "VoteView",
    "WorkspaceView",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class OrganisationView:
    """An organisation, and where its broker answers."""

    entry: OrganisationEntry
    broker_address: str


@dataclass(frozen=True, slots=True, kw_only=True)
class BrokerTarget:
    """One broker to talk to; `address` is an `http(s)://host:port`."""

    organisation_id: str
    address: str


@dataclass(frozen=True, slots=True, kw_only=True)
class BrokerPush:
    """Statements that the caller sends to brokers (by the broker client). Each is verified by the broker itself.

    Args:
        targets: Brokers of all organisations in the workspace.
        roster: Roster bytes in force.
        acceptances: Envelopes, one by each member.
        earlier: Roster bytes of the epochs before, each with its acceptances.
        withdrawals: Envelopes of this epoch that hold.
    """

    targets: tuple[BrokerTarget, ...]
    roster: bytes
    acceptances: tuple[bytes, ...]
    earlier: tuple[tuple[bytes, tuple[bytes, ...]], ...]
    withdrawals: tuple[bytes, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class RosterProposal:
    """A roster that waits for signatures: each member signs it with `consent.sign_acceptance(roster, ...)`.

    Args:
        workspace_id: The workspace.
        roster: The roster.
        roster_bytes: Its canonical bytes.
        waiting_for: Ids of members who have not signed yet.
    """

    workspace_id: str
    roster: Roster
    roster_bytes: bytes
    waiting_for: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkspaceView:
    """A workspace.

    Args:
        id: Its id.
        name: Its name.
        description: Up to 150 characters.
        status: See `WorkspaceStatus`.
        roster: The roster in force; None while pending.
        proposal: The roster that waits for signatures; None if there is none.
        dataset_ids: Data sets shared into it.
        created_at: When it was made.
    """

    id: str
    name: str
    description: str
    status: WorkspaceStatus
    roster: Roster | None
    proposal: RosterProposal | None
    dataset_ids: tuple[str, ...]
    created_at: datetime

    @property
    def members(self) -> tuple[MemberEntry, ...]:
        """Members in force, else those proposed."""
        roster = self.roster or (self.proposal.roster if self.proposal else None)
        return roster.members if roster else ()


@dataclass(frozen=True, slots=True, kw_only=True)
class DatasetVersionView:
    """One version of a data set; `envelope` is the signed manifest, which names its files."""

    version: int
    manifest: DatasetManifest
    envelope: bytes
    registered_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class ReaderView:
    """A job that reads a data set.

    Args:
        job_id: The job.
        name: Its name.
        revision: Its revision.
        status: `under_review` or `accepted`.
        workspace_id: Where.
        author_id: By whom.
        version: The data set's version that it names.
        on_refresh: It runs by itself on a next version.
        columns: That it reads.
    """

    job_id: str
    name: str
    revision: int
    status: JobStatus
    workspace_id: str
    author_id: str
    version: int
    on_refresh: bool
    columns: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class DatasetView:
    """A data set.

    Args:
        id: Its id.
        name: Identifier used in code.
        organisation_id: Its owner.
        description: For people.
        source: Where it came from.
        versions: Ascending; the last is the current one.
        columns: Of the current version.
        released: Those of them that its owner says to release to jobs.
        test_data_kind: What stands in for it in tests.
        test_files: Plaintext Parquet files that stand in for it in tests; none without test data.
        workspace_ids: Where it is shared (of those the asker may see).
        size_bytes: Of the current version, encrypted.
        created_at: When it was registered.
    """

    id: str
    name: str
    organisation_id: str
    description: str
    source: Source
    versions: tuple[DatasetVersionView, ...]
    columns: tuple[Column, ...]
    released: tuple[Column, ...]
    test_data_kind: TestDataKind
    test_files: tuple[FileDocument, ...]
    workspace_ids: tuple[str, ...]
    size_bytes: int
    created_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class PinnedQueryView:
    """A query that the asker keeps in a workspace."""

    workspace_id: str
    name: str
    code: Code
    pinned_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class RevisionView:
    """One submitted revision; immutable but for its status."""

    job_id: str
    revision: int
    status: JobStatus
    spec_bytes: bytes
    digest: str
    submitted_at: datetime
    decided_at: datetime | None
    deadline: datetime | None
    test_run_id: str | None
    no_test_reason: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class RevisionDiff:
    """What changed since a revision that members accepted.

    Args:
        against: That revision; None if none was accepted, and then all of it is added.
        text: Unified diff of the code, then of the JSON of everything else.
    """

    against: int | None
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class JobView:
    """A job as its workspace's members see it.

    Args:
        id: Its id.
        workspace_id: The workspace.
        author_id: Who wrote it.
        status: Status of its current revision.
        stage: Draft, Review, Execution or Outcome.
        archived: Hidden from lists by default.
        next_revision: Number that the next submission gets.
        accepted_revision: Revision that may run now, if any.
        draft: Content of the draft, or of the current revision.
        revisions: All submitted revisions, ascending.
        rerun_label: "Request approval for reruns", "Awaiting approval", "Approved for rerun", or empty.
        version: For compare-and-set edits.
        created_at: When it was made.
        updated_at: When it last changed.
    """

    id: str
    workspace_id: str
    author_id: str
    status: JobStatus
    stage: str
    archived: bool
    next_revision: int
    accepted_revision: int | None
    draft: JobDraft
    revisions: tuple[RevisionView, ...]
    rerun_label: str
    version: int
    created_at: datetime
    updated_at: datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class VoteView:
    """One verified vote."""

    member_id: str
    decision: Decision
    comment: str | None
    voted_at: datetime
    envelope: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class NeededApprovals:
    """Approvals that are still missing.

    Args:
        name: Of whom: a group, a data owner, the author, or every member.
        missing: How many.
        member_ids: Who of them has not voted.
    """

    name: str
    missing: int
    member_ids: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ReviewView:
    """State of the review of one revision.

    Args:
        job_id: The job.
        revision: The revision.
        status: Its status.
        digest: The job digest under vote.
        spec_bytes: What is signed; `parse_job_spec` gives the spec for `consent.sign_vote`.
        votes: In order of arrival; the author's is the submission.
        approval_rule: Whose approvals are enough.
        still_needed: What is missing for that; nothing once it is accepted.
        waiting_for: Ids of members who have not voted and whose approval would help.
        deadline: When it expires; None for never.
        test_run_id: The successful test run shown to reviewers.
        no_test_reason: The author's reason for none.
    """

    job_id: str
    revision: int
    status: JobStatus
    digest: str
    spec_bytes: bytes
    votes: tuple[VoteView, ...]
    approval_rule: ApprovalRule
    still_needed: tuple[NeededApprovals, ...]
    waiting_for: tuple[str, ...]
    deadline: datetime | None
    test_run_id: str | None
    no_test_reason: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class RunView:
    """A run, without its result.

    Args:
        id: Its id.
        job_id: The job.
        revision: The revision; for a test the number that the draft would get.
        number: 1, 2, ... within the job, by time of opening.
        kind: Real or test.
        trigger: How it came about.
        actor: Who asked for it; None if a schedule did.
        state: See `RunState`.
        reason: Closed word that says why it failed or was cancelled; None otherwise.
        reasons: A broker's refusal codes.
        progress: Last status word of the enclave, while running.
        job_digest: Digest of what it runs.
        inputs: Effective input values.
        dataset_versions: Data set id -> version; those that the run reads, from when it begins.
        dag_run_id: Airflow's name for it; empty for tests.
        attempt: Airflow's try.
        trust_label: Of the receipt; None before it, and for tests.
        created_at: When it was opened.
        started_at: When the enclave task began.
        finished_at: When it was closed.
        duration_s: Seconds from start to end.
    """

    id: str
    job_id: str
    revision: int
    number: int
    kind: RunKind
    trigger: Trigger
    actor: str | None
    state: RunState
    reason: str | None
    reasons: tuple[str, ...]
    progress: str | None
    job_digest: str
    inputs: dict[str, Any]
    dataset_versions: dict[str, int]
    dag_run_id: str
    attempt: int
    trust_label: TeeKind | None
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    duration_s: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ReceiptContext:
    """All that one needs to verify a run's receipt offline; every member may have it.

    Args:
        run_id: The run.
        receipt: The receipt's envelope.
        spec_bytes: The approved job.
        bundle_bytes: The approvals.
        inputs: Effective input values.
        refreshed: Data set's name -> manifest envelope, of those that were newer than the job names.
        files: Of the sealed result, whose digests the receipt names.
    """

    run_id: str
    receipt: bytes
    spec_bytes: bytes
    bundle_bytes: bytes
    inputs: dict[str, Any]
    refreshed: dict[str, str]
    files: tuple[FileDocument, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ClosedRun:
    """A run that `Runs.reconcile` closed, and why."""

    run_id: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class DeployableRevision:
    """A revision that needs a DAG; `marker` changes whenever its DAG must be written again."""

    job_id: str
    revision: int
    status: JobStatus
    marker: str


@dataclass(frozen=True, slots=True, kw_only=True)
class LeaseView:
    """What is used and left of the rerun terms that members approve.

    Args:
        max_runs: Runs in all.
        used: Runs that asked for keys.
        left: Runs that may still come; 0 once the lease is over.
        until: Last moment, or None.
        next_run: Next tick of the schedule, or None.
        over: Code why there is no further run for good, or None.
    """

    max_runs: int
    used: int
    left: int
    until: datetime | None
    next_run: datetime | None
    over: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class DagFacts:
    """What a DAG is made of: ids, names, the job's description, declarations and times; never code or data.

    Args:
        job_id: The job.
        revision: The revision.
        digest: The job digest, which the operator compares.
        workspace_id: The workspace.
        status: `under_review` or `accepted`.
        display_name: The job's name.
        tags: Sorted.
        inputs: Declarations of the variables that a runner may set, for Airflow Params.
        schedule: Cron expression from the rerun terms, or None.
        runs_on_refresh_of: Ids of the data sets of which a newer version starts a run.
        accepted_at: When it was accepted; None while it is under review.
        not_before: First moment of the lease, or None.
        not_after: Last moment of the lease, or None.
        max_runs: Runs in all.
        timeout_s: Wall time of one run.
        lease_over: Code why no further run is allowed for good, or None; nothing is scheduled then.
        description: What the job is for, in its author's words.
        author: The author's name.
        workspace: The workspace's name.
    """

    job_id: str
    revision: int
    digest: str
    workspace_id: str
    status: JobStatus
    display_name: str
    tags: tuple[str, ...]
    inputs: tuple[InputVariable, ...]
    schedule: str | None
    runs_on_refresh_of: tuple[str, ...]
    accepted_at: datetime | None
    not_before: datetime | None
    not_after: datetime | None
    max_runs: int
    timeout_s: int
    lease_over: str | None
    description: str
    author: str
    workspace: str
