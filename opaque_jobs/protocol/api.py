"""What the coordinator can be asked, by noun. Each method is a use case of the same name; see `protocol.operations`.

Everything is for members: of what somebody may not know of, the answer is that there is no such thing.
"""

from typing import Any, Final

from opaque_jobs.crypto.key_changes import SignedChange
from opaque_jobs.domain.approval_rule import ApprovalGroup
from opaque_jobs.domain.dataset import Source, TestDataKind
from opaque_jobs.domain.job import Code
from opaque_jobs.domain.lifecycle import JobEvent, JobStatus, RunState
from opaque_jobs.domain.review import ApprovalBundle, Decision
from opaque_jobs.domain.run import RunKind
from opaque_jobs.domain.workspace import MemberEntry, RunPolicy
from opaque_jobs.protocol.documents import (
    FileDocument,
    FollowedList,
    LogEntryDocument,
    LogHeadDocument,
    ProvenEntryDocument,
    UploadDocument,
    WhoAmI,
)
from opaque_jobs.protocol.drafts import JobDraft
from opaque_jobs.protocol.operations import IfMatch, Page, delete, get, post, put
from opaque_jobs.protocol.views import (
    BrokerPush,
    DatasetView,
    JobView,
    LeaseView,
    OrganisationView,
    PinnedQueryView,
    ReaderView,
    ReceiptContext,
    ReviewView,
    RevisionDiff,
    RosterProposal,
    RunView,
    WorkspaceView,
)

__all__ = ["NOUNS", "Datasets", "Jobs", "Keys", "Logs", "People", "Queries", "Reviews", "Runs", "Uploads", "Workspaces"]

Cursor = str | None


class People:
    """Members and organisations: the asker, and those that they share a workspace with."""

    @get("/me")
    def me(self) -> WhoAmI:
        """Tell who is asking."""
        raise NotImplementedError

    @get("/members")
    def members(self, *, name: str | None = None, cursor: Cursor = None, limit: int = 100) -> Page[MemberEntry]:
        """List the members of the asker's organisation and workspaces, by name; or find one to invite by their exact name."""
        raise NotImplementedError

    @get("/organisations")
    def organisations(
        self, *, organisation_id: tuple[str, ...] = (), cursor: Cursor = None, limit: int = 100
    ) -> Page[OrganisationView]:
        """List the asker's organisation and those in their workspaces, by name; or those with the very ids."""
        raise NotImplementedError


class Keys:
    """Changes of members' and organisations' keys. What counts is who signed: see `crypto.key_changes`."""

    @get("/key-changes")
    def signed_changes(self, *, owner_id: tuple[str, ...]) -> tuple[SignedChange, ...]:
        """List the signed changes of keys of members and organisations that the asker knows, in order."""
        raise NotImplementedError

    @post("/members/{member_id}/key")
    def change_member_key(self, member_id: str, *, signed: SignedChange) -> MemberEntry:
        """Register the next signing key of a member of the asker's organisation."""
        raise NotImplementedError

    @post("/organisations/{organisation_id}/sealing-key")
    def change_sealing_key(self, organisation_id: str, *, signed: SignedChange) -> OrganisationView:
        """Register the next sealing key of the asker's organisation."""
        raise NotImplementedError

    @post("/key-changes/{owner_id}/proposals")
    def propose(self, owner_id: str) -> tuple[WorkspaceView, ...]:
        """Propose the next member list wherever one names a key of the asker, or of their organisation, that is not current."""
        raise NotImplementedError


class Workspaces:
    """Workspaces and the member lists that their members sign."""

    @get("/workspaces")
    def list(self, *, archived: bool = False, cursor: Cursor = None, limit: int = 100) -> Page[WorkspaceView]:
        """List the asker's workspaces, by name."""
        raise NotImplementedError

    @get("/workspaces/{workspace_id}")
    def show(self, workspace_id: str) -> WorkspaceView:
        """Show a workspace, by id or name."""
        raise NotImplementedError

    @post("/workspaces")
    def create(
        self,
        *,
        name: str,
        member_ids: tuple[str, ...],
        description: str = "",
        run_policy: RunPolicy = RunPolicy.AUTHOR,
        runners: tuple[str, ...] = (),
        approval_groups: tuple[ApprovalGroup, ...] = (),
    ) -> RosterProposal:
        """Propose a workspace; it becomes active when every member has signed its member list."""
        raise NotImplementedError

    @post("/workspaces/{workspace_id}/proposal")
    def propose_change(
        self,
        workspace_id: str,
        *,
        member_ids: tuple[str, ...] | None = None,
        run_policy: RunPolicy | None = None,
        runners: tuple[str, ...] | None = None,
        approval_groups: tuple[ApprovalGroup, ...] | None = None,
    ) -> RosterProposal:
        """Propose the next member list, with the keys registered now; what is left out stays."""
        raise NotImplementedError

    @delete("/workspaces/{workspace_id}/proposal")
    def cancel(self, workspace_id: str) -> WorkspaceView:
        """Take the waiting member list back."""
        raise NotImplementedError

    @post("/workspaces/{workspace_id}/acceptances")
    def accept(self, workspace_id: str, *, envelope: bytes) -> WorkspaceView:
        """Give the asker's signed acceptance of the waiting member list."""
        raise NotImplementedError

    @get("/workspaces/{workspace_id}/followed-list")
    def followed_list(self, workspace_id: str) -> FollowedList | None:
        """Show the member list that the waiting one says it follows."""
        raise NotImplementedError

    @get("/workspaces/{workspace_id}/statements")
    def broker_push(self, workspace_id: str) -> BrokerPush:
        """Show what brokers are told of the workspace: member lists with acceptances, and withdrawals."""
        raise NotImplementedError

    @post("/workspaces/{workspace_id}/archive")
    def archive(self, workspace_id: str) -> WorkspaceView:
        """Archive: nothing in it may run any more."""
        raise NotImplementedError

    @post("/workspaces/{workspace_id}/unarchive")
    def unarchive(self, workspace_id: str) -> WorkspaceView:
        """Make it active again."""
        raise NotImplementedError


class Datasets:
    """Data sets: their signed versions, and where they are shared."""

    @get("/datasets")
    def list(self, *, workspace_id: str | None = None, cursor: Cursor = None, limit: int = 100) -> Page[DatasetView]:
        """List the data sets of the asker's organisation, or those shared into a workspace."""
        raise NotImplementedError

    @get("/datasets/{dataset_id}")
    def show(self, dataset_id: str) -> DatasetView:
        """Show a data set."""
        raise NotImplementedError

    @post("/datasets")
    def register(
        self, *, upload_id: str, envelope: bytes, source: Source, description: str = "", released: bytes | None = None
    ) -> DatasetView:
        """Register a data set by its signed manifest; its files are an upload's."""
        raise NotImplementedError

    @post("/datasets/{dataset_id}/versions")
    def add_version(self, dataset_id: str, *, upload_id: str, envelope: bytes, released: bytes | None = None) -> DatasetView:
        """Register the next version by its signed manifest; its files are an upload's."""
        raise NotImplementedError

    @put("/datasets/{dataset_id}/test-data")
    def attach_test_data(self, dataset_id: str, *, kind: TestDataKind, upload_id: str | None = None) -> DatasetView:
        """Attach the one test data set, an upload's Parquet files; or none."""
        raise NotImplementedError

    @post("/datasets/{dataset_id}/shares")
    def share(self, dataset_id: str, *, workspace_id: str, envelope: bytes) -> DatasetView:
        """Share it into a workspace, with the owner's signed statement."""
        raise NotImplementedError

    @post("/datasets/{dataset_id}/unshare")
    def unshare(self, dataset_id: str, *, workspace_id: str, envelope: bytes) -> tuple[str, ...]:
        """Take it back, with the owner's signed statement; tells the runs that were closed by it."""
        raise NotImplementedError

    @get("/datasets/{dataset_id}/sharing-check")
    def check_sharing(self, dataset_id: str, *, workspace_id: str, shared: bool) -> None:
        """Check, before anybody signs it, that sharing (or taking back) would be possible."""
        raise NotImplementedError

    @put("/datasets/{dataset_id}/signature")
    def renew_signature(self, dataset_id: str, *, envelope: bytes) -> DatasetView:
        """Replace the signature of a version after its signer's key has changed."""
        raise NotImplementedError

    @put("/datasets/{dataset_id}/released")
    def set_released(self, dataset_id: str, *, envelope: bytes) -> DatasetView:
        """Say which columns jobs may read from now on, as the asker signed it."""
        raise NotImplementedError

    @get("/datasets/{dataset_id}/readers")
    def readers(self, dataset_id: str) -> tuple[ReaderView, ...]:
        """List the jobs under review or accepted that read a data set of the asker's organisation."""
        raise NotImplementedError

    @post("/datasets/{dataset_id}/erasure")
    def record_erasure(self, dataset_id: str, *, envelope: bytes) -> tuple[str, ...]:
        """Enter into the logs that the owner's broker destroyed its keys; tells in which workspaces."""
        raise NotImplementedError

    @get("/datasets/{dataset_id}/deletion-check")
    def check_unused(self, dataset_id: str) -> None:
        """Check that a data set can be deleted."""
        raise NotImplementedError

    @delete("/datasets/{dataset_id}")
    def delete(self, dataset_id: str) -> None:
        """Delete a data set that is shared nowhere."""
        raise NotImplementedError


class Jobs:
    """Jobs and their drafts."""

    @get("/jobs")
    def list(
        self,
        *,
        workspace_id: str | None = None,
        status: tuple[JobStatus, ...] = (),
        author_id: str | None = None,
        archived: bool = False,
        sort: str = "-created_at",
        cursor: Cursor = None,
        limit: int = 100,
    ) -> Page[JobView]:
        """List the jobs of the asker's workspaces. `sort` is `created_at`, `updated_at` or `name`, with `-` last first."""
        raise NotImplementedError

    @get("/jobs/{job_id}")
    def show(self, job_id: str) -> JobView:
        """Show a job with its draft and revisions."""
        raise NotImplementedError

    @post("/workspaces/{workspace_id}/jobs")
    def create_draft(self, workspace_id: str, *, draft: JobDraft) -> JobView:
        """Draft a job; the asker is its author."""
        raise NotImplementedError

    @put("/jobs/{job_id}/draft")
    def edit(self, job_id: str, *, draft: JobDraft, version: IfMatch) -> JobView:
        """Replace a draft's content, if it is still the version that was read."""
        raise NotImplementedError

    @get("/jobs/{job_id}/submission")
    def spec_for_submission(self, job_id: str) -> bytes:
        """Give the document that everybody signs, as the draft gives it now."""
        raise NotImplementedError

    @get("/jobs/{job_id}/diff")
    def diff(self, job_id: str, *, revision: int | None = None) -> RevisionDiff:
        """Compare a revision, or the draft, with the one accepted last before it."""
        raise NotImplementedError

    @get("/jobs/{job_id}/event-check")
    def check_event(self, job_id: str, *, event: JobEvent) -> None:
        """Check, before anybody signs anything for it, that the author may do this now."""
        raise NotImplementedError

    @post("/jobs/{job_id}/revise")
    def revise(self, job_id: str) -> JobView:
        """Return a job to draft; an accepted revision stays in force meanwhile."""
        raise NotImplementedError

    @post("/jobs/{job_id}/archive")
    def archive(self, job_id: str) -> JobView:
        """Hide it from lists and stop it from running."""
        raise NotImplementedError

    @post("/jobs/{job_id}/unarchive")
    def unarchive(self, job_id: str) -> JobView:
        """Show it again."""
        raise NotImplementedError

    @delete("/jobs/{job_id}")
    def delete(self, job_id: str) -> None:
        """Delete a job that has no run."""
        raise NotImplementedError


class Reviews:
    """Reviews: signed votes and withdrawals."""

    @get("/jobs/{job_id}/review")
    def status(self, job_id: str, *, revision: int | None = None) -> ReviewView:
        """Show the review of a revision, the newest if left out."""
        raise NotImplementedError

    @get("/jobs/{job_id}/revisions/{revision}/bundle")
    def bundle(self, job_id: str, revision: int) -> ApprovalBundle:
        """Give everything that proves a revision's consent."""
        raise NotImplementedError

    @post("/jobs/{job_id}/review")
    def submit(
        self, job_id: str, *, spec: bytes, envelope: bytes, test_run_id: str | None = None, no_test_reason: str | None = None
    ) -> ReviewView:
        """Submit the draft with its author's signed approval."""
        raise NotImplementedError

    @post("/jobs/{job_id}/submission-check")
    def check_submission(
        self, job_id: str, *, spec: bytes, test_run_id: str | None = None, no_test_reason: str | None = None
    ) -> None:
        """Check, before its author signs it, what a submission demands of the document's test run and deadline."""
        raise NotImplementedError

    @post("/jobs/{job_id}/votes")
    def vote(self, job_id: str, *, envelope: bytes, comment: str | None = None, withdrawal: bytes | None = None) -> ReviewView:
        """Give the asker's signed vote; a rejection brings a signed withdrawal along."""
        raise NotImplementedError

    @get("/jobs/{job_id}/vote-check")
    def check_vote(self, job_id: str, *, decision: Decision, comment: str | None = None) -> None:
        """Check, before anybody signs it, that a vote would be taken."""
        raise NotImplementedError

    @post("/jobs/{job_id}/review/cancel")
    def cancel_review(self, job_id: str, *, withdrawal: bytes) -> ReviewView:
        """Take a job out of review, with the author's signed withdrawal."""
        raise NotImplementedError

    @post("/jobs/{job_id}/withdrawals")
    def withdraw(self, job_id: str, *, envelope: bytes) -> ReviewView:
        """Give the asker's signed withdrawal of consent to a revision."""
        raise NotImplementedError


class Runs:
    """Runs and what they left."""

    @get("/jobs/{job_id}/runs")
    def history(
        self,
        job_id: str,
        *,
        kind: RunKind | None = None,
        state: tuple[RunState, ...] = (),
        sort: str = "-number",
        cursor: Cursor = None,
        limit: int = 100,
    ) -> Page[RunView]:
        """List a job's runs. `sort` is `number`, with `-` newest first."""
        raise NotImplementedError

    @get("/runs/{run_id}")
    def show(self, run_id: str) -> RunView:
        """Show a run, without its result."""
        raise NotImplementedError

    @post("/runs/{run_id}/cancel")
    def cancel(self, run_id: str) -> RunView:
        """Cancel a queued or running run."""
        raise NotImplementedError

    @get("/runs/{run_id}/receipt")
    def receipt(self, run_id: str) -> ReceiptContext:
        """Give all that verifies a run."""
        raise NotImplementedError

    @get("/runs/{run_id}/files")
    def files(self, run_id: str) -> tuple[FileDocument, ...]:
        """List the files that a run left, sealed (or of a test, plain); each is fetched at `/runs/{run_id}/files/{name}`."""
        raise NotImplementedError

    @get("/jobs/{job_id}/revisions/{revision}/lease")
    def lease(self, job_id: str, revision: int) -> LeaseView:
        """Show what is used and left of the rerun terms of an accepted revision."""
        raise NotImplementedError

    @post("/jobs/{job_id}/start-check")
    def check_start(self, job_id: str, *, revision: int, inputs: dict[str, Any]) -> None:
        """Check, before a run is started, what it demands of the asker, the revision and the inputs."""
        raise NotImplementedError

    @post("/jobs/{job_id}/tests")
    def start_test(self, job_id: str, *, inputs: dict[str, Any]) -> RunView:
        """Make a test run on test data."""
        raise NotImplementedError


class Queries:
    """Queries that a member keeps for themselves in a workspace."""

    @get("/workspaces/{workspace_id}/queries")
    def list(self, workspace_id: str, *, cursor: Cursor = None, limit: int = 100) -> Page[PinnedQueryView]:
        """List the asker's pinned queries."""
        raise NotImplementedError

    @get("/workspaces/{workspace_id}/queries/{name}")
    def show(self, workspace_id: str, name: str) -> PinnedQueryView:
        """Show one."""
        raise NotImplementedError

    @post("/workspaces/{workspace_id}/queries")
    def pin(self, workspace_id: str, *, name: str, code: Code, replace: bool = False) -> PinnedQueryView:
        """Keep one."""
        raise NotImplementedError

    @delete("/workspaces/{workspace_id}/queries/{name}")
    def unpin(self, workspace_id: str, name: str) -> None:
        """Forget one."""
        raise NotImplementedError


class Uploads:
    """Files on their way in. Each is sent in pieces to `/uploads/{upload_id}/files/{name}`, with the header `Upload-Offset`."""

    @post("/uploads")
    def begin(self) -> UploadDocument:
        """Begin an upload."""
        raise NotImplementedError

    @get("/uploads/{upload_id}")
    def show(self, upload_id: str) -> UploadDocument:
        """Tell what has arrived: an upload goes on from there."""
        raise NotImplementedError

    @delete("/uploads/{upload_id}")
    def drop(self, upload_id: str) -> None:
        """Forget an upload."""
        raise NotImplementedError


class Logs:
    """Workspaces' transparency logs: everything that proofs are made of. Nothing here needs to be trusted."""

    @get("/workspaces/{workspace_id}/log")
    def head(self, workspace_id: str) -> LogHeadDocument:
        """Show the newest state."""
        raise NotImplementedError

    @get("/workspaces/{workspace_id}/log/entries")
    def entries(self, workspace_id: str, *, cursor: Cursor = None, limit: int = 100) -> Page[LogEntryDocument]:
        """List the entries, oldest first."""
        raise NotImplementedError

    @get("/workspaces/{workspace_id}/log/proofs")
    def proven(self, workspace_id: str, *, size: int, cursor: Cursor = None, limit: int = 100) -> Page[ProvenEntryDocument]:
        """List the entries with the paths that prove them in the tree of a size."""
        raise NotImplementedError

    @get("/workspaces/{workspace_id}/log/consistency")
    def consistency(self, workspace_id: str, *, first: int, second: int) -> tuple[bytes, ...]:
        """Give the path that proves that the tree of the second size continues that of the first."""
        raise NotImplementedError


NOUNS: Final[dict[str, type]] = {
    "people": People,
    "keys": Keys,
    "workspaces": Workspaces,
    "datasets": Datasets,
    "jobs": Jobs,
    "reviews": Reviews,
    "runs": Runs,
    "queries": Queries,
    "uploads": Uploads,
    "logs": Logs,
}
"""Every noun by its name."""
