"""Signed consent: acceptances, votes, withdrawals, data set manifests, and the proof that the members agreed.

The one home of "enough approvals by the workspace's rule, at this epoch, none withdrawn". Services, every broker and the agent
call the same functions on the same bytes. All are pure; nothing is believed that is not signed by a key of the roster.
"""

import secrets
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from opaque_jobs.crypto.keys import Signer, VerifyKey
from opaque_jobs.crypto.signing import Statement, claimed_key_id, sign_statement, verify_statement, verify_statement_by
from opaque_jobs.domain.canonical import digest
from opaque_jobs.domain.dataset import DatasetManifest
from opaque_jobs.domain.document import from_json, to_json
from opaque_jobs.domain.job import JobSpec
from opaque_jobs.domain.review import (
    Approval,
    ApprovalBundle,
    Decision,
    NamedJob,
    Withdrawal,
    approval_for,
    approval_refusals,
    rule_refusals,
)
from opaque_jobs.domain.workspace import MemberEntry, Roster, RosterAcceptance
from opaque_jobs.errors import InvalidInputError, OpaqueJobsError, TrustError

__all__ = [
    "APPROVAL",
    "MANIFEST",
    "RECEIPT",
    "ROSTER_ACCEPTANCE",
    "WITHDRAWAL",
    "Consent",
    "check_own_key",
    "consent_in",
    "consent_refusals",
    "roster_refusals",
    "sign_acceptance",
    "sign_manifest",
    "sign_vote",
    "sign_withdrawal",
    "verify_acceptance",
    "verify_manifest",
    "verify_vote",
    "verify_withdrawal",
]

ROSTER_ACCEPTANCE: Final = "urn:opaque-jobs:roster-acceptance:v1"
MANIFEST: Final = "urn:opaque-jobs:dataset-manifest:v1"
APPROVAL: Final = "urn:opaque-jobs:approval:v1"
WITHDRAWAL: Final = "urn:opaque-jobs:withdrawal:v1"
RECEIPT: Final = "urn:opaque-jobs:receipt:v1"


def sign_acceptance(roster: Roster, member: MemberEntry, signer: Signer, *, now: datetime) -> bytes:
    """Sign that a member agrees to be in this roster, with these others.

    Raises:
        TrustError: The key is not the one that the roster names for the member.
    """
    check_own_key(member, signer)
    acceptance = RosterAcceptance(
        workspace_id=roster.workspace_id, epoch=roster.epoch, member_id=member.id, accepted_at=now.isoformat()
    )
    return sign_statement(
        signer,
        predicate_type=ROSTER_ACCEPTANCE,
        subject_name=roster.workspace_id,
        subject_digest=roster.digest,
        predicate=to_json(acceptance),
    )


def verify_acceptance(envelope: bytes, roster: Roster) -> MemberEntry:
    """Verify one acceptance and give the member who made it.

    Raises:
        InvalidInputError: Not an acceptance.
        TrustError: For another roster, by a stranger, or the signature does not hold.
    """
    member, statement = _said_by_member(envelope, roster, ROSTER_ACCEPTANCE)
    acceptance = from_json(RosterAcceptance, statement.predicate, what="acceptance")
    said = (statement.subject_digest, acceptance.workspace_id, acceptance.epoch, acceptance.member_id)
    if said != (roster.digest, roster.workspace_id, roster.epoch, member.id):
        raise TrustError("an acceptance is for another member list", hint="accept the current one")
    return member


def roster_refusals(roster: Roster, acceptances: Iterable[bytes]) -> list[str]:
    """Give the reasons why a roster is not in force; empty if every member in it, and nobody else, signed it."""
    signed = tuple(acceptances)
    if len(signed) < len(roster.members):
        return ["roster-not-accepted-by-all"]  # whatever they are: asked anew as each comes, it is so until the last one
    accepted: set[str] = set()
    for envelope in signed:
        try:
            accepted.add(verify_acceptance(envelope, roster).key_id)
        except OpaqueJobsError:
            return ["acceptance-invalid"]
    return [] if frozenset(accepted) == roster.key_ids else ["roster-not-accepted-by-all"]


def sign_manifest(manifest: DatasetManifest, signer: Signer) -> bytes:
    """Sign a data set's manifest as a member of the owning organisation."""
    return sign_statement(
        signer,
        predicate_type=MANIFEST,
        subject_name=f"{manifest.dataset_id}/{manifest.dataset_version}",
        subject_digest=manifest.digest,
        predicate=to_json(manifest),
    )


def verify_manifest(envelope: bytes, members: Iterable[MemberEntry]) -> DatasetManifest:
    """Verify a manifest against the members that one knows.

    Trust: the signer is a member of the organisation that the manifest names as owner. Whether the version is the approved
    one is the caller's to compare.

    Raises:
        InvalidInputError: Not a manifest.
        TrustError: Signed by nobody known of the owner, or it does not hold.
    """
    claimed = claimed_key_id(envelope)
    for member in members:
        if member.key_id != claimed:
            continue
        statement = verify_statement(envelope, VerifyKey.parse(member.public_key), predicate_type=MANIFEST)
        manifest = DatasetManifest.parse(statement.predicate)
        if manifest.organisation_id != member.organisation_id or statement.subject_digest != manifest.digest:
            break
        return manifest
    raise TrustError("a data set's manifest is not signed by a member of its owner", hint="ask its owner to encrypt it again")


def sign_vote(
    spec: JobSpec, member: MemberEntry, signer: Signer, *, decision: Decision, comment: str | None, seen: str, now: datetime
) -> bytes:
    """Sign a vote over the job digest.

    Args:
        spec: The job, exactly.
        member: Who votes.
        signer: Their key.
        decision: The vote.
        comment: Its text; only its digest is signed.
        seen: The log's checkpoint (`Checkpoint.seen`) that the member's own client has verified.
        now: When.

    Raises:
        TrustError: The key is not the one that the roster names for the member.
    """
    check_own_key(member, signer)
    approval = approval_for(
        spec,
        decision=decision,
        reviewer_id=member.id,
        reviewer_key_id=member.key_id,
        comment_digest=None if comment is None else digest(comment.encode()),
        nonce=secrets.token_hex(16),
        log_checkpoint=seen,
        decided_at=now.isoformat(),
    )
    return sign_statement(
        signer, predicate_type=APPROVAL, subject_name=spec.job_id, subject_digest=spec.digest, predicate=to_json(approval)
    )


def verify_vote(envelope: bytes, spec: JobSpec, roster: Roster) -> Approval:
    """Verify one vote on this job at this epoch.

    Raises:
        InvalidInputError: Not a vote.
        TrustError: For another job or epoch, by a stranger, or the signature does not hold.
    """
    return _verified_vote(envelope, spec, roster, job_digest=spec.digest)


def _verified_vote(envelope: bytes, spec: JobSpec, roster: Roster, *, job_digest: str) -> Approval:
    member, statement = _said_by_member(envelope, roster, APPROVAL)
    approval = from_json(Approval, statement.predicate, what="vote")
    if approval.reviewer_id != member.id or statement.subject_digest != job_digest:
        raise TrustError("a vote is for another job or by another member", hint="review the job as it is now, then vote again")
    reasons = approval_refusals(approval, spec, roster)
    if reasons:
        raise TrustError(
            "a vote does not fit the job as it is now", hint="review it as it is now, then vote again", reasons=",".join(reasons)
        )
    return approval


def sign_withdrawal(job: JobSpec | NamedJob, member: MemberEntry, signer: Signer, *, now: datetime) -> bytes:
    """Sign that a member's consent to this job digest is withdrawn for good.

    Raises:
        TrustError: The key is not the one that the roster names for the member.
    """
    check_own_key(member, signer)
    withdrawal = Withdrawal(
        workspace_id=job.workspace_id,
        reviewer_id=member.id,
        reviewer_key_id=member.key_id,
        nonce=secrets.token_hex(16),
        withdrawn_at=now.isoformat(),
    )
    return sign_statement(
        signer, predicate_type=WITHDRAWAL, subject_name=job.job_id, subject_digest=job.digest, predicate=to_json(withdrawal)
    )


def verify_withdrawal(envelope: bytes, *, job_digest: str, roster: Roster) -> Withdrawal:
    """Verify a withdrawal of consent to a job digest.

    Raises:
        InvalidInputError: Not a withdrawal.
        TrustError: For another job, by a stranger, or the signature does not hold.
    """
    member, statement = _said_by_member(envelope, roster, WITHDRAWAL)
    withdrawal = from_json(Withdrawal, statement.predicate, what="withdrawal")
    said = (statement.subject_digest, withdrawal.workspace_id, withdrawal.reviewer_id, withdrawal.reviewer_key_id)
    if said != (job_digest, roster.workspace_id, member.id, member.key_id):
        raise TrustError("a withdrawal is for another job or by another member", hint="withdraw again for this job")
    return withdrawal


@dataclass(frozen=True, slots=True, kw_only=True)
class Consent:
    """What a bundle proves about a job.

    Args:
        refusals: The reasons why it is not consent by the rule of the bundle's roster; empty if it is.
        votes: Those that were verified, whatever their decision.
    """

    refusals: tuple[str, ...]
    votes: tuple[Approval, ...]


def consent_refusals(bundle: ApprovalBundle, spec: JobSpec) -> list[str]:
    """Give the reasons why a bundle does not prove consent to this job, see `consent_in`; empty if it does."""
    return list(consent_in(bundle, spec).refusals)


def consent_in(bundle: ApprovalBundle, spec: JobSpec) -> Consent:
    """Verify all that a bundle holds, and weigh it by the rule of its roster.

    Trust: proves that all members of the bundle's roster agree on roster and rule, and that the rule is met. Whether that roster
    is the workspace's real and current one is for the caller to know (a broker: pinned keys and the highest epoch seen).
    """
    try:
        roster = bundle.member_list
    except InvalidInputError:
        return Consent(refusals=("roster-invalid",), votes=())
    # 1. Every member is in this roster of their own will.
    reasons = roster_refusals(roster, [text.encode() for text in bundle.acceptances])
    # 2. Every vote is by a member, for exactly this job and epoch; a rejection counts as one.
    job_digest = spec.digest
    votes: list[Approval] = []
    approving: set[str] = set()
    for text in bundle.approvals:
        try:
            approval = _verified_vote(text.encode(), spec, roster, job_digest=job_digest)
        except OpaqueJobsError:
            reasons.append("approval-invalid")
            continue
        votes.append(approval)
        if approval.decision is Decision.APPROVE:
            approving.add(approval.reviewer_key_id)
        else:
            reasons.append("rejected")
    # 3. The approvals are enough: by default equality of sets, never a count; by groups only if all members chose that.
    reasons += rule_refusals(roster, spec, approving)
    # 4. Nothing was withdrawn. An unreadable withdrawal counts as one.
    if bundle.withdrawals:
        reasons.append("consent-withdrawn")
    # 5. The author is a member, and the result goes to their organisation with the key that the roster names, nowhere else.
    reasons += _recipient_refusals(spec, roster)
    return Consent(refusals=tuple(reasons), votes=tuple(votes))


def _recipient_refusals(spec: JobSpec, roster: Roster) -> list[str]:
    authors = [member for member in roster.members if member.id == spec.author_id]
    if not authors:
        return ["author-not-a-member"]
    home = roster.organisation(authors[0].organisation_id)
    allowed = {(home.id, home.sealing_key, home.sealing_key_id)}
    wanted = {(each.organisation_id, each.sealing_key, each.sealing_key_id) for each in spec.recipients}
    return [] if wanted == allowed else ["recipient-not-the-authors-organisation"]


def check_own_key(member: MemberEntry, signer: Signer) -> None:
    """Check that a key is the one by which others know the member.

    Raises:
        TrustError: It is another.
    """
    if signer.public.key_id != member.key_id:
        raise TrustError(
            f"this key is not the one that the workspace knows for '{member.name}'", hint="use the key file of that member"
        )


def _said_by_member(envelope: bytes, roster: Roster, predicate_type: str) -> tuple[MemberEntry, Statement]:
    def key(claimed: str) -> VerifyKey:
        return VerifyKey.parse(_member_by_key(roster, claimed).public_key)

    statement = verify_statement_by(envelope, key, predicate_type=predicate_type)
    return _member_by_key(roster, statement.key_id), statement


def _member_by_key(roster: Roster, wanted: str) -> MemberEntry:
    member = roster.speaker(wanted)
    if member is None:
        raise TrustError("a statement is signed by somebody who is not a member", hint="was the member's key changed?")
    return member
