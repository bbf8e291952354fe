"""Following the log of a workspace, entry by entry: a broker believes no summary of what it has not read itself.

Whoever carries the messages brings the entries since the broker looked last. The broker computes the tree over them, so nothing
before can have changed and nothing can be left out, and compares it with the checkpoint that the log signed. On the way it learns
what concerns it: member lists in force, withdrawals, its owner's sharing, and its own releases. A release of its own that it
does not remember means that its memory is an older copy: from then on it releases nothing until its owner looks.
"""

from collections.abc import Callable
from typing import Final

from opaque_jobs.broker.release import Broker
from opaque_jobs.broker.store import Transaction
from opaque_jobs.broker.taking import take_roster, take_sharing
from opaque_jobs.crypto.checkpoints import Checkpoint, log_origin, verify_checkpoint
from opaque_jobs.crypto.keys import VerifyKey
from opaque_jobs.crypto.log_documents import check_document
from opaque_jobs.crypto.merkle import leaf_hash
from opaque_jobs.crypto.release import verify_release
from opaque_jobs.crypto.signing import claimed_subject
from opaque_jobs.domain.canonical import digest
from opaque_jobs.domain.log import EntryKind, LoggedEntry, LogPage, parse_page
from opaque_jobs.domain.workspace import parse_roster
from opaque_jobs.errors import ConflictError, OpaqueJobsError, TrustError

__all__ = ["accept_page", "followed_to"]


def followed_to(broker: Broker, workspace_id: str) -> int:
    """Give how many entries of a workspace's log this broker has followed."""
    with broker.store.transaction() as memory:
        return memory.tree(workspace_id).size


def accept_page(broker: Broker, body: bytes) -> int:
    """Follow a log over the next entries; all or nothing. Gives how many were followed in all.

    Raises:
        InvalidInputError: It is not a page of a log.
        ConflictError: It does not begin where this broker stands.
        TrustError: An entry is not what it names, the log has another tree than it signed, or nobody vouches for its key.
    """
    page = parse_page(body)
    with broker.store.transaction() as memory:
        tree = memory.tree(page.workspace_id)
        if page.first != tree.size:
            raise ConflictError("the entries do not begin where this broker stands", hint="ask it again", size=tree.size)
        known = memory.roster(page.workspace_id)
        log_key = _first_key(page) if known is None else known.log_key
        roots: list[bytes] = []
        for logged in page.entries:
            entry = logged.entry
            # 1. It is the next entry of this log, and comes with what somebody signed.
            named = None if logged.document is None else digest(logged.document.encode())
            if (entry.workspace_id, entry.seq, entry.statement) != (page.workspace_id, tree.size, named):
                raise TrustError("an entry of the log is not what it names", hint="the log was changed")
            # 2. The tree grows by it.
            tree = tree.append(leaf_hash(entry.to_bytes()))
            roots.append(tree.root)
        # 3. It is the tree that the log has signed; before that nothing is read of what strangers may have written.
        signed = verify_checkpoint(page.checkpoint, VerifyKey.parse(log_key), workspace_id=page.workspace_id)
        if signed != Checkpoint(origin=log_origin(page.workspace_id), size=tree.size, root=tree.root):
            raise TrustError("the log has another history than this broker has seen", hint="the log was changed")
        for size, root in enumerate(roots, start=page.first + 1):
            memory.put_root(page.workspace_id, size, root)
        memory.put_tree(page.workspace_id, tree, now=broker.clock())
        # 4. What an entry says is believed only as far as it is signed by those whom it concerns.
        for logged in page.entries:
            _learn(broker, memory, logged)
        # 5. The key is the one that all members agreed on, even if the log itself had to bring their list.
        roster = memory.roster(page.workspace_id)
        if roster is None or (known is None and roster.log_key != log_key):
            raise _no_list()
        return tree.size


def _first_key(page: LogPage) -> str:
    """Give the log's key as the first member list in the log names it, for a broker that knows no list yet."""
    for logged in page.entries:
        if logged.entry.kind is EntryKind.ROSTER and logged.document is not None:
            return parse_roster(logged.document.encode()).log_key
    raise _no_list()


def _no_list() -> TrustError:
    return TrustError("this broker knows no member list of the workspace", hint="run 'opaque-jobs workspace tell-brokers'")


def _learn(broker: Broker, memory: Transaction, logged: LoggedEntry) -> None:
    learn = _LEARNERS.get(logged.entry.kind)
    if learn is None or logged.document is None:
        return
    try:
        document = logged.document.encode()
        check_document(logged.entry.kind, document)
        learn(broker, memory, logged.entry.workspace_id, document)
    except OpaqueJobsError:
        # Anybody with the database can append nonsense; it stays in the log, for people to see, and moves nothing here.
        return


def _roster(_broker: Broker, memory: Transaction, workspace_id: str, document: bytes) -> None:
    roster = parse_roster(document)
    if roster.workspace_id == workspace_id:
        memory.put_list(roster)


def _acceptance(broker: Broker, memory: Transaction, _workspace_id: str, document: bytes) -> None:
    roster = memory.seen_list(claimed_subject(document))
    if roster is not None:
        take_roster(broker, memory, roster, [document])


def _withdrawal(_broker: Broker, memory: Transaction, workspace_id: str, document: bytes) -> None:
    # Whose it is, is verified when a run of the job is decided, by that job's own member list, which may not be known yet.
    memory.put_withdrawal(workspace_id, claimed_subject(document), document)


def _sharing(broker: Broker, memory: Transaction, _workspace_id: str, document: bytes) -> None:
    take_sharing(broker, memory, document)


def _release(broker: Broker, memory: Transaction, workspace_id: str, document: bytes) -> None:
    own, organisation_id = broker.keys.signing.public, broker.config.organisation_id
    job_digest, release = verify_release(document, own, organisation_id=organisation_id)  # refuses those of other brokers
    if release.workspace_id != workspace_id:
        return
    known = memory.statement(job_digest, release.run_id)
    if known is None:
        memory.record_release(release, job_digest=job_digest, statement=document, logged=True)
        memory.mark_lost()
    elif known[0] == document:
        memory.mark_logged(job_digest, release.run_id)


_LEARNERS: Final[dict[EntryKind, Callable[[Broker, Transaction, str, bytes], None]]] = {
    EntryKind.ROSTER: _roster,
    EntryKind.ACCEPTANCE: _acceptance,
    EntryKind.WITHDRAWAL: _withdrawal,
    EntryKind.SHARING: _sharing,
    EntryKind.RELEASE: _release,
}
