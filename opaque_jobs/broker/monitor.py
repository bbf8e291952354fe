"""Following the log of a workspace, entry by entry: a broker believes no summary of what it has not read itself.

Whoever carries the messages brings the entries since the broker looked last. The broker computes the tree over them, so nothing
before can have changed and nothing can be left out, and compares it with the checkpoint that the log signed. On the way it learns
what concerns it: member lists in force, withdrawals, its owner's sharing, and its own releases. A release of its own that it
does not remember means that its memory is an older copy: from then on it releases nothing until its owner looks.

Everything is parsed and verified before the step that writes, so that no decision waits for a page.
"""

from contextlib import suppress

from opaque_jobs.broker.lessons import Lessons, no_list
from opaque_jobs.broker.release import Broker
from opaque_jobs.crypto.checkpoints import Checkpoint, log_origin, verify_checkpoint
from opaque_jobs.crypto.keys import VerifyKey
from opaque_jobs.crypto.merkle import Frontier, leaf_hash
from opaque_jobs.domain.canonical import digest
from opaque_jobs.domain.log import EntryKind, LogPage, parse_page
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
        before, known = memory.tree(page.workspace_id), memory.roster(page.workspace_id)
    if page.first != before.size:
        raise _elsewhere(before)
    # 1. The tree grows by the next entries of this log, each with what somebody signed.
    tree, roots = _grown(page, before)
    # 2. It is the tree that the log has signed; before that nothing is read of what strangers may have written.
    log_key = _first_key(page) if known is None else known.log_key
    signed = verify_checkpoint(page.checkpoint, VerifyKey.parse(log_key), workspace_id=page.workspace_id)
    if signed != Checkpoint(origin=log_origin(page.workspace_id), size=tree.size, root=tree.root):
        raise TrustError("the log has another history than this broker has seen", hint="the log was changed")
    # 3. What an entry says is believed only as far as it is signed by those whom it concerns.
    lessons = Lessons(broker, page, newcomer=known is None).all()
    with broker.store.transaction() as memory:
        if memory.tree(page.workspace_id) != before:
            raise _elsewhere(memory.tree(page.workspace_id))
        for size, root in enumerate(roots, start=page.first + 1):
            memory.put_root(page.workspace_id, size, root)
        memory.put_tree(page.workspace_id, tree, checkpoint=page.checkpoint, now=memory.observed(broker.clock()))
        for lesson in lessons:
            # Anybody with the database can append nonsense; it stays in the log, for people to see, and moves nothing here.
            with suppress(OpaqueJobsError):
                lesson(memory)
        # 4. The key is the one that all members agreed on, even if the log itself had to bring their list.
        roster = memory.roster(page.workspace_id)
        if roster is None or (known is None and roster.log_key != log_key):
            raise no_list()
        return tree.size


def _elsewhere(tree: Frontier) -> ConflictError:
    return ConflictError("the entries do not begin where this broker stands", hint="ask it again", size=tree.size)


def _grown(page: LogPage, tree: Frontier) -> tuple[Frontier, list[bytes]]:
    """Return the tree with a page's entries, and its root after each.

    Raises:
        TrustError: One is not the next entry of this log, or comes with another document than it names.
    """
    roots: list[bytes] = []
    for logged in page.entries:
        entry = logged.entry
        named = None if logged.document is None else digest(logged.document.encode())
        if (entry.workspace_id, entry.seq, entry.statement) != (page.workspace_id, tree.size, named):
            raise TrustError("an entry of the log is not what it names", hint="the log was changed")
        tree = tree.append(leaf_hash(entry.to_bytes()))
        roots.append(tree.root)
    return tree, roots


def _first_key(page: LogPage) -> str:
    """Give the log's key as the first member list in the log names it, for a broker that knows no list yet."""
    for logged in page.entries:
        if logged.entry.kind is EntryKind.ROSTER and logged.document is not None:
            return parse_roster(logged.document.encode()).log_key
    raise no_list()
