"""What a member's own client remembers of logs: it demands that each log only grows, and tells what it has verified.

Trust: whose log it is says the member list that this member signed, never the database.
"""

from opaque_jobs.client.memory import own_memory
from opaque_jobs.client.session import Session
from opaque_jobs.client.signed_lists import learn_lists
from opaque_jobs.crypto.checkpoints import Checkpoint, log_origin, verify_checkpoint
from opaque_jobs.crypto.keys import VerifyKey
from opaque_jobs.crypto.merkle import EMPTY, verify_consistency
from opaque_jobs.domain.workspace import MemberEntry
from opaque_jobs.errors import TrustError

__all__ = ["remembered", "signed_log_key", "verified_head", "verified_note"]


def signed_log_key(session: Session, member: MemberEntry, workspace_id: str) -> VerifyKey:
    """Return the key of a workspace's log, from the list that all members signed, or else that this member signed.

    Raises:
        ConfigurationError: What is remembered cannot be read.
        TrustError: This member signed no list of the workspace.
    """
    memory = own_memory(session.settings, member)
    if memory.agreed_list(workspace_id) is None:
        learn_lists(session, member, workspace_id)
    agreed = memory.agreed_list(workspace_id)
    signed = memory.last_signed(workspace_id) if agreed is None else agreed.roster
    if signed is None:
        raise TrustError(
            "you signed no member list of this workspace, so nothing says whose log this is",
            hint="rely on nothing in it; see 'opaque-jobs workspace show'",
        )
    return VerifyKey.parse(signed.log_key)


def verified_head(session: Session, member: MemberEntry, workspace_id: str) -> Checkpoint:
    """Fetch a log's newest signed checkpoint, check that it continues the last one seen, and remember it.

    Raises as `verified_note`.
    """
    return verified_note(session, member, workspace_id)[1]


def verified_note(session: Session, member: MemberEntry, workspace_id: str) -> tuple[str | None, Checkpoint]:
    """Do the same, and give the signed note too; None before the first.

    Raises:
        TrustError: It is not signed by the workspace's log, or the log does not continue what this member has seen.
        NotFoundError: The member is not in this workspace.
        ConfigurationError: What is remembered cannot be read or written.
    """
    memory, key = own_memory(session.settings, member), signed_log_key(session, member, workspace_id)
    while True:
        before = memory.log_head(workspace_id)
        note, newest = _continuing(session, workspace_id, key, before)
        # Another command may have seen more meanwhile: what is shown here has to continue that too.
        if newest.seen == before or (before is None and not newest.size):
            return note, newest
        if memory.advance_log_head(workspace_id, before=before, after=newest.seen):
            return note, newest


def _continuing(session: Session, workspace_id: str, key: VerifyKey, before: str | None) -> tuple[str | None, Checkpoint]:
    """Return the newest note and checkpoint after verifying that it continues one that was seen before."""
    head = session.logs.head(workspace_id)
    empty = Checkpoint(origin=log_origin(workspace_id), size=0, root=EMPTY.root)
    newest = empty if head.checkpoint is None else verify_checkpoint(head.checkpoint, key, workspace_id=workspace_id)
    known = empty if before is None else Checkpoint.parse_seen(before, workspace_id=workspace_id)
    proof = [] if known.size > newest.size else _proof(session, workspace_id, known.size, newest.size)
    if not verify_consistency(first=known.size, first_root=known.root, second=newest.size, second_root=newest.root, path=proof):
        raise TrustError(
            "the workspace's log does not continue what you have seen of it: entries were changed or taken away",
            hint="do not sign anything; compare 'opaque-jobs log checkpoint' with the other members",
            seen=known.size,
            shown=newest.size,
        )
    return head.checkpoint, newest


def remembered(session: Session, member: MemberEntry, workspace_id: str) -> Checkpoint | None:
    """Give the last checkpoint of a log that this member's client has verified; None before the first.

    Raises:
        ConfigurationError: What is remembered cannot be read.
    """
    seen = own_memory(session.settings, member).log_head(workspace_id)
    return None if seen is None else Checkpoint.parse_seen(seen, workspace_id=workspace_id)


def _proof(session: Session, workspace_id: str, first: int, second: int) -> list[bytes]:
    return list(session.logs.consistency(workspace_id, first=first, second=second))
