"""What a reviewer sees before signing, collected; `review_print` prints it.

Keys are shown by the organisation's name and the beginning of their id; the JSON form holds the whole signed document.

Trust: what is shown is the document whose digest is shown. Names of people and organisations are those in the member list that
the reader signed, names of data sets those in manifests that people of that list signed; without, ids stand in their place. That
somebody voted, that a test ran and what it gave, and which revision was accepted before, the database says.
"""

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from opaque_jobs.attestation.policy_gaps import gaps_by_kind
from opaque_jobs.cli.documents import review_document, run_document
from opaque_jobs.cli.export import plain_value
from opaque_jobs.cli.template import find_template
from opaque_jobs.client.kept_policies import kept_policy
from opaque_jobs.client.results import open_test_result
from opaque_jobs.client.session import Session
from opaque_jobs.client.showing import fingerprint
from opaque_jobs.client.signed_lists import signed_list
from opaque_jobs.crypto.consent import verify_manifest
from opaque_jobs.domain.approval_rule import ApprovalRule
from opaque_jobs.domain.attested import ATTESTED
from opaque_jobs.domain.canonical import digest
from opaque_jobs.domain.dataset import DatasetManifest
from opaque_jobs.domain.document import to_json
from opaque_jobs.domain.job import DatasetUse, JobSpec, parse_job_spec
from opaque_jobs.domain.lifecycle import JobStatus
from opaque_jobs.domain.review import Decision, demands
from opaque_jobs.domain.workspace import MemberEntry, Roster
from opaque_jobs.errors import ConflictError, NotFoundError, OpaqueJobsError, TrustError
from opaque_jobs.protocol.views import NeededApprovals, ReviewView, RevisionDiff, RunView

__all__ = ["SHORT", "ReviewPage", "draft_page", "read_page", "template_here", "under_review"]

_TEST_ROWS: Final = 5
SHORT: Final = len("sha256:") + 12
"""So much of a digest is shown where it only tells one from another."""
_NOT_SIGNED: Final = (
    "status", "votes", "approval_rule", "still_needed", "waiting_for", "deadline", "test_run_id", "no_test_reason",
    "against_revision", "diff", "test_run", "test_rows",
)  # fmt: skip
"""What the database says beside the signed document: nobody signed it as it is shown."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReviewPage:
    """All that belongs to one review.

    Args:
        review: Its state.
        spec: The signed document.
        changes: Against the revision last accepted.
        roster: The job's member list, which the reader and all in it signed; None if it is not here.
        manifests: Of the data sets that it reads, by id: as signed, and as the document demands. What is not here is left out.
        own_policies: Names of those data sets of the reader's organisation that are released by a rule that is kept here.
        template_here: Whether the reader's own catalogue has the very template that the document names; None without one.
        test: The test run that the author shows; None without one.
        test_rows: First rows of its result; None if its files are not in this home.
    """

    review: ReviewView
    spec: JobSpec
    changes: RevisionDiff
    roster: Roster | None
    manifests: Mapping[str, DatasetManifest]
    own_policies: frozenset[str]
    template_here: bool | None
    test: RunView | None
    test_rows: list[dict[str, Any]] | None

    def member(self, member_id: str) -> str:
        """Give a member's name and organisation."""
        for entry in self.roster.members if self.roster else ():
            if entry.id == member_id:
                return f"{entry.name} ({self.organisation(entry.organisation_id)})"
        return member_id

    def organisation(self, organisation_id: str) -> str:
        """Give an organisation's name."""
        listed = self.roster.organisations if self.roster else ()
        return next((each.name for each in listed if each.id == organisation_id), organisation_id)

    def dataset(self, dataset_id: str) -> str | None:
        """Give the name that a data set's owner signed."""
        return self.manifests[dataset_id].name if dataset_id in self.manifests else None

    def rule(self, use: DatasetUse) -> str:
        """Give by what its owner limits a data set's rows and columns, as far as the reader can tell."""
        manifest = self.manifests.get(use.dataset_id)
        if manifest is not None and manifest.policy_commitment != use.policy_commitment:
            return "NOT by the rule that its owner signed: no broker releases anything for this"
        whose = "your own rule, as kept here" if use.alias in self.own_policies else "its owner's rule"
        return f"limited by {whose}, commitment {use.policy_commitment[:SHORT]}"

    def to_json(self) -> dict[str, Any]:
        """Give it all, with the whole signed document."""
        names = {entry.id: entry.name for entry in self.roster.members} if self.roster else {}
        left_open = gaps_by_kind(self.spec.tee_policies)
        return {
            **review_document(self.review, names),
            "spec": self.spec.to_json(),
            "not_demanded": {kind: [to_json(each) for each in found] for kind, found in left_open.items()},
            "workspace": {"id": self.spec.workspace_id, "name": self.roster.name if self.roster else None},
            "fingerprint": fingerprint(self.review.digest),
            "sensitive_inputs": [each.name for each in self.spec.inputs if each.sensitive],
            "template_here": self.template_here,
            "not_signed": list(_NOT_SIGNED),
            "attested": {kind.value: ATTESTED[kind] for kind in self.spec.tee_kinds},
            "names_signed": self.roster is not None,
            "datasets": [
                {
                    "alias": use.alias,
                    "name": self.dataset(use.dataset_id),
                    "dataset_id": use.dataset_id,
                    "policy_commitment": use.policy_commitment,
                    "own_policy_kept_here": use.alias in self.own_policies,
                }
                for use in self.spec.datasets
            ],
            "recipients": [
                {"organisation": self.organisation(each.organisation_id), "key_id": each.sealing_key_id}
                for each in self.spec.recipients
            ],
            "against_revision": self.changes.against,
            "diff": self.changes.text,
            "test_run": run_document(self.test) if self.test else None,
            "test_rows": self.test_rows,
        }


def under_review(session: Session, job_id: str) -> tuple[ReviewView, JobSpec]:
    """Return the latest review of a job, and the document that it is about.

    Raises:
        ConflictError: The job was never submitted.
        NotFoundError: The actor may not know of it.
        TrustError: The document is not the one whose digest is written beside it, or is another job's.
    """
    review = session.reviews.status(job_id)
    if digest(review.spec_bytes) != review.digest:
        raise TrustError("the job under review has another digest than is written for it", hint="do not vote on it")
    spec = parse_job_spec(review.spec_bytes)
    if spec.job_id != job_id:
        raise TrustError("the document under review is another job's", hint="do not vote on it: was the database changed?")
    return review, spec


def read_page(session: Session, actor: MemberEntry, job_id: str) -> ReviewPage:
    """Collect what belongs to the latest review of a job. Raises as `under_review`."""
    (review, spec), signed = under_review(session, job_id), None
    with contextlib.suppress(OpaqueJobsError):
        bundle = session.reviews.bundle(review.job_id, review.revision)
        signed = bundle.roster.encode(), [each.encode() for each in bundle.acceptances]
    changes = session.jobs.diff(job_id, revision=review.revision)
    return _page(session, actor, review, spec, changes=changes, signed=signed)


def draft_page(
    session: Session, author: MemberEntry, spec: JobSpec, *, test_run_id: str | None, no_test_reason: str | None
) -> ReviewPage:
    """Collect what belongs to a draft that is to be submitted, as reviewers will see it.

    Raises:
        NotFoundError: The author may not know of it.
    """
    review = ReviewView(
        job_id=spec.job_id,
        revision=spec.revision,
        status=JobStatus.DRAFT,
        digest=spec.digest,
        spec_bytes=spec.to_bytes(),
        votes=(),
        approval_rule=ApprovalRule.UNANIMOUS,
        still_needed=(),
        waiting_for=(),
        deadline=None,
        test_run_id=test_run_id,
        no_test_reason=no_test_reason,
    )
    told = session.workspaces.broker_push(spec.workspace_id)
    changes = session.jobs.diff(spec.job_id)
    return _page(session, author, review, spec, changes=changes, signed=(told.roster, told.acceptances))


def _page(
    session: Session,
    actor: MemberEntry,
    review: ReviewView,
    spec: JobSpec,
    *,
    changes: RevisionDiff,
    signed: tuple[bytes, Sequence[bytes]] | None,
) -> ReviewPage:
    test = session.runs.show(review.test_run_id) if review.test_run_id else None
    roster = _signed_list(session, actor, spec, *signed) if signed else None
    return ReviewPage(
        review=replace(review, still_needed=_still_needed(review, spec, roster)),
        spec=spec,
        changes=changes,
        roster=roster,
        manifests=dict(_manifests(session, spec, roster)),
        own_policies=frozenset(_own_policies(session, actor, spec)),
        template_here=template_here(spec),
        test=test,
        test_rows=_test_rows(session, test),
    )


def _signed_list(session: Session, actor: MemberEntry, spec: JobSpec, data: bytes, acceptances: Sequence[bytes]) -> Roster | None:
    with contextlib.suppress(OpaqueJobsError):
        roster = signed_list(session.settings, actor, data, acceptances)
        return roster if roster.digest == spec.roster_digest else None
    return None


def _manifests(session: Session, spec: JobSpec, roster: Roster | None) -> Iterator[tuple[str, DatasetManifest]]:
    for use in spec.datasets if roster else ():
        with contextlib.suppress(OpaqueJobsError):
            for each in session.datasets.show(use.dataset_id).versions:
                if each.version == use.dataset_version:
                    manifest = verify_manifest(each.envelope, roster.members if roster else ())
                    if (manifest.digest, manifest.organisation_id) == (use.manifest_digest, use.organisation_id):
                        yield manifest.dataset_id, manifest


def _own_policies(session: Session, actor: MemberEntry, spec: JobSpec) -> Iterator[str]:
    settings, own = session.settings, actor.organisation_id
    for use in spec.datasets:
        if use.organisation_id == own and kept_policy(settings, own, use.dataset_id, use.policy_commitment) is not None:
            yield use.alias


def template_here(spec: JobSpec) -> bool | None:
    """Tell whether the own catalogue has the very template that a document names; None if it names none."""
    if spec.template is None:
        return None
    try:
        return find_template(f"{spec.template.name}@{spec.template.version}").digest == spec.template.digest
    except OpaqueJobsError:
        return False


def _still_needed(review: ReviewView, spec: JobSpec, roster: Roster | None) -> tuple[NeededApprovals, ...]:
    """Give whose approvals are missing, by the rule and the names in the signed list; nothing once it is accepted."""
    if roster is None or not review.still_needed:
        return tuple(replace(each, name="somebody") for each in review.still_needed)
    voted = {vote.member_id for vote in review.votes}
    approving = frozenset(vote.member_id for vote in review.votes if vote.decision is Decision.APPROVE)
    return tuple(
        NeededApprovals(name=each.name, missing=each.missing(approving), member_ids=tuple(sorted(each.member_ids - voted)))
        for each in demands(roster, spec)
        if each.missing(approving)
    )


def _test_rows(session: Session, test: RunView | None) -> list[dict[str, Any]] | None:
    if test is None:
        return None
    try:
        with session.files.run_files(test.id) as folder:
            found = open_test_result(folder).first(_TEST_ROWS)
    except (ConflictError, NotFoundError):
        return None
    return [plain_value(row) for row in found]
