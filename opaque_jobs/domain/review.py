"""Votes, withdrawals, the bundle that proves consent, and the rule by which approvals are enough.

Signatures over these documents are checked in `crypto.consent`; what they must say is checked here.
"""

from collections.abc import Collection
from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property

from opaque_jobs.domain.approval_rule import ApprovalRule, Demand
from opaque_jobs.domain.canonical import digest
from opaque_jobs.domain.document import from_bytes, to_bytes
from opaque_jobs.domain.inputs import parse_datetime
from opaque_jobs.domain.job import JobSpec
from opaque_jobs.domain.log import LogProof
from opaque_jobs.domain.workspace import Roster, parse_roster

__all__ = [
    "Approval",
    "ApprovalBundle",
    "Decision",
    "NamedJob",
    "Withdrawal",
    "approval_for",
    "approval_refusals",
    "demands",
    "parse_bundle",
    "rule_refusals",
    "unanimous",
]


class Decision(StrEnum):
    """A vote."""

    APPROVE = "approve"
    REJECT = "reject"


@dataclass(frozen=True, slots=True, kw_only=True)
class Approval:
    """Predicate of a vote; its subject is the job digest.

    Args:
        workspace_id: The workspace.
        workspace_genesis: Digest of its first roster.
        epoch: Membership epoch.
        roster_digest: Digest of that epoch's roster.
        decision: The vote.
        reviewer_id: Member id.
        reviewer_key_id: Id of the member's key.
        output_policy_digest: Digest of the output policy.
        max_runs: From the rerun terms.
        not_before: From the rerun terms.
        not_after: From the rerun terms.
        comment_digest: Digest of the comment's UTF-8 bytes, or None.
        nonce: 128 random bits, hex.
        log_checkpoint: Checkpoint (`Checkpoint.seen`) that the reviewer had verified; brokers compare it with the log they see.
        decided_at: UTC, RFC 3339.
    """

    workspace_id: str
    workspace_genesis: str
    epoch: int
    roster_digest: str
    decision: Decision
    reviewer_id: str
    reviewer_key_id: str
    output_policy_digest: str
    max_runs: int
    not_before: str | None
    not_after: str | None
    comment_digest: str | None
    nonce: str
    log_checkpoint: str
    decided_at: str


@dataclass(frozen=True, slots=True, kw_only=True)
class NamedJob:
    """What a withdrawal has to name of a job; enough where the document itself is not at hand any more.

    Args:
        workspace_id: The workspace.
        job_id: The job.
        digest: Digest of the document that was approved.
    """

    workspace_id: str
    job_id: str
    digest: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Withdrawal:
    """Predicate of a withdrawal of consent; its subject is the job digest. It is final for that digest.

    Args:
        workspace_id: The workspace.
        reviewer_id: Member id.
        reviewer_key_id: Id of the member's key.
        nonce: 128 random bits, hex.
        withdrawn_at: UTC, RFC 3339.
    """

    workspace_id: str
    reviewer_id: str
    reviewer_key_id: str
    nonce: str
    withdrawn_at: str


@dataclass(frozen=True, kw_only=True)
class ApprovalBundle:
    """All that a broker needs to see that everybody consented.

    Args:
        v: Format version, 1.
        roster: Canonical JSON text of the roster.
        acceptances: DSSE envelopes (JSON texts), one by each member.
        approvals: DSSE envelopes (JSON texts), one by each member.
        withdrawals: DSSE envelopes (JSON texts), none in a bundle that still stands.
        log: Proof that all of it, and the run that it is shown for, stand in the workspace's log; None before a run.
    """

    v: int
    roster: str
    acceptances: tuple[str, ...]
    approvals: tuple[str, ...]
    withdrawals: tuple[str, ...]
    log: LogProof | None

    @cached_property
    def member_list(self) -> Roster:
        """The roster of that text, parsed once: neither the text nor what is in a roster can be changed.

        Trust: nothing is verified.

        Raises:
            InvalidInputError: It is not a roster.
        """
        return parse_roster(self.roster.encode())

    def to_bytes(self) -> bytes:
        """Give the canonical bytes."""
        return to_bytes(self)

    @property
    def digest(self) -> str:
        """Digest of the canonical bytes."""
        return digest(self.to_bytes())


def parse_bundle(data: bytes) -> ApprovalBundle:
    """Parse untrusted bytes.

    Raises:
        InvalidInputError: Not a bundle.
    """
    return from_bytes(ApprovalBundle, data, what="approval bundle")


def approval_for(
    spec: JobSpec,
    *,
    decision: Decision,
    reviewer_id: str,
    reviewer_key_id: str,
    comment_digest: str | None,
    nonce: str,
    log_checkpoint: str,
    decided_at: str,
) -> Approval:
    """Give the predicate that a reviewer signs for this job."""
    return Approval(
        workspace_id=spec.workspace_id,
        workspace_genesis=spec.workspace_genesis,
        epoch=spec.epoch,
        roster_digest=spec.roster_digest,
        decision=decision,
        reviewer_id=reviewer_id,
        reviewer_key_id=reviewer_key_id,
        output_policy_digest=spec.output_policy_digest,
        max_runs=spec.rerun_terms.max_runs,
        not_before=spec.rerun_terms.not_before,
        not_after=spec.rerun_terms.not_after,
        comment_digest=comment_digest,
        nonce=nonce,
        log_checkpoint=log_checkpoint,
        decided_at=decided_at,
    )


def approval_refusals(approval: Approval, spec: JobSpec, roster: Roster) -> list[str]:
    """Give the reasons why a vote is not one for this job at this epoch; empty if it is. The signature is not looked at."""
    reasons = []
    expected = approval_for(
        spec,
        decision=approval.decision,
        reviewer_id=approval.reviewer_id,
        reviewer_key_id=approval.reviewer_key_id,
        comment_digest=approval.comment_digest,
        nonce=approval.nonce,
        log_checkpoint=approval.log_checkpoint,
        decided_at=approval.decided_at,
    )
    if approval != expected:
        reasons.append("approval-for-something-else")
    if (spec.workspace_id, spec.workspace_genesis, spec.epoch, spec.roster_digest) != (
        roster.workspace_id,
        roster.genesis_digest,
        roster.epoch,
        roster.digest,
    ):
        reasons.append("approval-for-another-epoch")
    speaker = roster.speaker(approval.reviewer_key_id)
    if speaker is None or speaker.id != approval.reviewer_id:
        reasons.append("approval-by-a-stranger")
    try:
        late = spec.review_over(parse_datetime(approval.decided_at))
    except ValueError:
        late = True
    return [*reasons, "approval-too-late"] if late else reasons


def unanimous(roster: Roster, approving_key_ids: Collection[str]) -> bool:
    """Tell whether exactly the members of the roster approved: equality of sets, never a count."""
    return frozenset(approving_key_ids) == roster.key_ids


def demands(roster: Roster, spec: JobSpec) -> tuple[Demand, ...]:
    """Give whose approvals this job needs by the workspace's rule.

    With groups, those of each group, and besides: the author's, who stands for what is asked, and one by every organisation
    whose data the job reads. An owner without a member here can give none, so such a job is never consented to.
    """
    if roster.approval_rule is ApprovalRule.UNANIMOUS:
        everybody = frozenset(member.id for member in roster.members)
        return (Demand(refusal="not-unanimous", name="every member", threshold=len(everybody), member_ids=everybody),)
    author = Demand(refusal="author-not-approving", name="the author", threshold=1, member_ids=frozenset({spec.author_id}))
    groups = [
        Demand(refusal="group-below-threshold", name=each.name, threshold=each.threshold, member_ids=frozenset(each.member_ids))
        for each in roster.approval_groups
    ]
    people = {
        owner: frozenset(member.id for member in roster.members if member.organisation_id == owner)
        for owner in sorted({use.organisation_id for use in spec.datasets})
    }
    names = {organisation.id: organisation.name for organisation in roster.organisations}
    owners = [
        Demand(
            refusal="data-owner-not-approving",
            name=f"{names.get(owner, owner)}, whose data it reads",
            threshold=1,
            member_ids=members,
        )
        for owner, members in people.items()
    ]
    return (author, *groups, *owners)


def rule_refusals(roster: Roster, spec: JobSpec, approving_key_ids: Collection[str]) -> list[str]:
    """Give the reasons why these approvals are not enough by the workspace's rule; empty if they are.

    Args:
        roster: The roster in force.
        spec: The job.
        approving_key_ids: Key ids of those who approved, as their signatures show.
    """
    if roster.approval_rule is ApprovalRule.UNANIMOUS:
        return [] if unanimous(roster, approving_key_ids) else ["not-unanimous"]
    approving = frozenset(member.id for member in roster.members if member.key_id in approving_key_ids)
    reasons = [each.refusal for each in demands(roster, spec) if each.missing(approving)]
    if not frozenset(approving_key_ids) <= roster.key_ids:
        reasons.append("approval-by-a-stranger")
    return list(dict.fromkeys(reasons))
