"""Whether what a run rests on stands in the workspace's log: no entry, no release.

One home for brokers, agent and receipts. A proof is about *these* bytes: an entry counts only if it names the digest of the very
envelope that was shown, and its own bytes are a leaf under the signed checkpoint.
"""

from collections.abc import Iterable, Sequence

from opaque_jobs.crypto.checkpoints import Checkpoint, verify_checkpoint
from opaque_jobs.crypto.keys import VerifyKey
from opaque_jobs.crypto.merkle import leaf_hash, verify_consistency, verify_inclusion
from opaque_jobs.domain.canonical import digest
from opaque_jobs.domain.log import EntryKind, LogProof, ProvenEntry
from opaque_jobs.domain.review import ApprovalBundle
from opaque_jobs.domain.workspace import Roster
from opaque_jobs.errors import OpaqueJobsError, TrustError

__all__ = ["bundle_checkpoint", "continues", "log_refusals", "proven"]


def bundle_checkpoint(bundle: ApprovalBundle) -> Checkpoint:
    """Give the checkpoint that a bundle's proof is under, verified with the log key of its member list.

    Trust: whether the member list is the right one is `consent_refusals`' and the caller's to know.

    Raises:
        InvalidInputError: Member list or checkpoint does not parse.
        TrustError: There is no proof, or the checkpoint is not signed by this log.
    """
    if bundle.log is None:
        raise TrustError("there is no proof from the log", hint="start a new run")
    roster = bundle.member_list
    return verify_checkpoint(bundle.log.checkpoint, VerifyKey.parse(roster.log_key), workspace_id=roster.workspace_id)


def proven(entry: ProvenEntry, checkpoint: Checkpoint) -> bool:
    """Tell whether an entry is in the tree of a verified checkpoint, at the place that it names."""
    try:
        path = [bytes.fromhex(each) for each in entry.path]
    except ValueError:
        return False
    leaf = leaf_hash(entry.entry.to_bytes())
    return verify_inclusion(leaf, index=entry.entry.seq, size=checkpoint.size, path=path, root=checkpoint.root)


def continues(earlier: Checkpoint, later: Checkpoint, path: Sequence[str]) -> bool:
    """Tell whether hashes (hexadecimal) prove that one state of a log continues another."""
    try:
        hashes = [bytes.fromhex(each) for each in path]
    except ValueError:
        return False
    return earlier.origin == later.origin and verify_consistency(
        first=earlier.size, first_root=earlier.root, second=later.size, second_root=later.root, path=hashes
    )


def log_refusals(bundle: ApprovalBundle, *, run_id: str, job_digest: str, inputs_digest: str) -> list[str]:
    """Give the reasons why the log does not carry a run; empty if it does.

    Args:
        bundle: What is shown for the run.
        run_id: The run.
        job_digest: The job.
        inputs_digest: Digest of its effective input values.

    Trust: proves that the log, as its keeper signed it, holds every acceptance, every vote and this run. Whether this is the one
    log that everybody sees is for those to know who remember it: brokers and members' clients.
    """
    # 1. The checkpoint is signed by the log that the members agreed on.
    try:
        checkpoint = bundle_checkpoint(bundle)
        roster = bundle.member_list
    except OpaqueJobsError:
        return ["log-checkpoint-invalid"]
    proof = bundle.log or LogProof(checkpoint="", entries=())
    # 2. Every entry shown is really in it, once, and of this workspace.
    entries = [each.entry for each in proof.entries]
    if not all(proven(each, checkpoint) and each.entry.workspace_id == roster.workspace_id for each in proof.entries):
        return ["log-proof-invalid"]
    reasons = []
    # 3. The member list, and each acceptance and vote, byte for byte.
    logged = {(entry.kind, entry.statement) for entry in entries}
    if not _needed(bundle, roster) <= logged:
        reasons.append("approval-not-in-log")
    # 4. Exactly one run: this one, of this job, with these values.
    runs = [
        (entry.subject, entry.facts.get("job_digest"), entry.facts.get("inputs_digest"))
        for entry in entries
        if entry.kind is EntryKind.RUN
    ]
    if runs != [(run_id, job_digest, inputs_digest)]:
        reasons.append("run-not-in-log")
    return reasons


def _needed(bundle: ApprovalBundle, roster: Roster) -> set[tuple[EntryKind, str | None]]:
    def named(kind: EntryKind, texts: Iterable[str]) -> set[tuple[EntryKind, str | None]]:
        return {(kind, digest(text.encode())) for text in texts}

    return (
        {(EntryKind.ROSTER, roster.digest)}
        | named(EntryKind.ACCEPTANCE, bundle.acceptances)
        | named(EntryKind.VOTE, bundle.approvals)
    )
