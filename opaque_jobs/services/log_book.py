"""Writing into the workspaces' logs, in the transaction of the change itself, and proving from them.

Called by the other services; what people ask of a log is in `services.log`. The key that signs checkpoints lives on one machine
of an installation. Elsewhere entries are appended all the same, and the next checkpoint covers them.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Final

from sqlalchemy.orm import Session

from opaque_jobs.crypto.checkpoints import Checkpoint, log_origin, sign_checkpoint
from opaque_jobs.crypto.keys import Signer
from opaque_jobs.crypto.log_documents import check_document
from opaque_jobs.crypto.merkle import Frontier, consistency_path, inclusion_path, root_at
from opaque_jobs.crypto.service_keys import create_service_key, load_service_key
from opaque_jobs.domain.canonical import digest
from opaque_jobs.domain.log import PAGE_ENTRIES, EntryKind, LogEntry, LoggedEntry, LogPage, LogProof, ProvenEntry, parse_entry
from opaque_jobs.errors import ConfigurationError, InvalidInputError, NotFoundError
from opaque_jobs.services.context import Context
from opaque_jobs.store import log as rows
from opaque_jobs.store.records import LogEntryRecord

__all__ = ["PAGE_BYTES", "append", "consistency", "installation_key", "page_after", "prove", "sign_newest"]

PAGE_BYTES: Final = 8 << 20
"""Of documents in one page; a page always has at least one entry."""


def installation_key(context: Context, session: Session) -> str:
    """Give the public key with which this installation's logs sign; made with the first workspace, on this machine.

    Raises:
        ConfigurationError: The key file cannot be written or read.
    """
    known = rows.signer(session)
    if known is not None:
        return known
    path = context.settings.log_key_path
    public = load_service_key(path).public if path.exists() else create_service_key(path)
    rows.set_signer(session, public.text)
    return public.text


def append(
    context: Context,
    session: Session,
    workspace_id: str,
    kind: EntryKind,
    subject: str,
    *,
    now: datetime,
    document: bytes | None = None,
    **facts: str | int | bool | None,
) -> None:
    """Append an entry.

    Args:
        context: The installation.
        session: The transaction of the change.
        workspace_id: Whose log.
        kind: What it is about.
        subject: Id of the thing.
        now: When.
        document: What somebody signed (UTF-8 text), kept beside the entry.
        **facts: Ids, digests, numbers and words; never a value from data or an author's text.

    Raises:
        InvalidInputError: The document does not parse.
        NotFoundError: The workspace has no log.
        TrustError: The document is of another kind than the entry, or the stored tree is not consistent.
    """
    check_document(kind, document)
    entry = LogEntry(
        v=1,
        workspace_id=workspace_id,
        seq=rows.log(session, workspace_id).size,
        at=now.isoformat(),
        kind=kind,
        subject=subject,
        facts=facts,
        statement=None if document is None else digest(document),
    )
    rows.append(
        session,
        LogEntryRecord(
            workspace_id=workspace_id,
            seq=entry.seq,
            kind=kind,
            subject=subject,
            statement=entry.statement,
            body=entry.to_bytes(),
            document=document,
        ),
    )
    sign_newest(context, session, workspace_id)


def sign_newest(context: Context, session: Session, workspace_id: str) -> str | None:
    """Sign a checkpoint of everything in a log, if its key is here; gives the newest signed one."""
    log, signer = rows.log(session, workspace_id), _signer(context, session)
    if signer is None:
        return log.checkpoint
    tree = Frontier.parse(log.size, log.frontier)
    note = sign_checkpoint(Checkpoint(origin=log_origin(workspace_id), size=tree.size, root=tree.root), signer)
    rows.set_checkpoint(session, workspace_id, note)
    return note


def prove(
    context: Context, session: Session, workspace_id: str, *, statements: Mapping[EntryKind, Sequence[str]], run_id: str
) -> LogProof:
    """Prove what stands in the log of some signed statements and of a run; what is not in it is not in the proof.

    Args:
        context: The installation.
        session: The transaction.
        workspace_id: Whose log.
        statements: Digests of the signed bytes, by the kind of entry that must name them.
        run_id: The run.

    Raises:
        ConfigurationError: The log's key is not on this machine.
    """
    _required_signer(context, session)
    note = sign_newest(context, session, workspace_id) or ""
    size, node = rows.log(session, workspace_id).size, rows.nodes(session, workspace_id)
    found = rows.entries_about(session, workspace_id, EntryKind.RUN, run_id)
    for kind, digests in statements.items():
        found += rows.entries_of_statements(session, workspace_id, kind, digests)
    return LogProof(
        checkpoint=note,
        entries=tuple(
            ProvenEntry(entry=parse_entry(record.body), path=tuple(each.hex() for each in inclusion_path(record.seq, size, node)))
            for record in sorted(found, key=lambda record: record.seq)
        ),
    )


def consistency(session: Session, workspace_id: str, first: int, second: int) -> list[bytes]:
    """Give the path that proves that a log's tree of the second size continues that of the first.

    Raises:
        InvalidInputError: The log is not that long, or the second size is smaller.
        TrustError: The stored tree is incomplete.
    """
    size = rows.log(session, workspace_id).size
    if not 0 <= first <= second <= size:
        raise InvalidInputError("the log is not that long", hint="see 'opaque-jobs log checkpoint'", size=size)
    return consistency_path(first, second, rows.nodes(session, workspace_id))


def page_after(context: Context, session: Session, workspace_id: str, first: int, *, count: int = PAGE_ENTRIES) -> LogPage | None:
    """Give the entries from an index on, as many as go into a page but no more than `count`; None if there are none.

    Raises:
        ConfigurationError: The log's key is not on this machine.
    """
    signer = _required_signer(context, session)
    entries: list[LoggedEntry] = []
    room = PAGE_BYTES
    for record in rows.entries(session, workspace_id, first=first, count=count):
        room -= len(record.document or b"")
        if entries and room < 0:
            break
        document = None if record.document is None else record.document.decode()
        entries.append(LoggedEntry(entry=parse_entry(record.body), document=document))
    if not entries:
        return None
    size = first + len(entries)
    root = root_at(size, rows.nodes(session, workspace_id))
    note = sign_checkpoint(Checkpoint(origin=log_origin(workspace_id), size=size, root=root), signer)
    return LogPage(v=1, workspace_id=workspace_id, first=first, entries=tuple(entries), checkpoint=note)


def _signer(context: Context, session: Session) -> Signer | None:
    try:
        signer = load_service_key(context.settings.log_key_path)
    except NotFoundError:
        return None
    return signer if signer.public.text == rows.signer(session) else None


def _required_signer(context: Context, session: Session) -> Signer:
    signer = _signer(context, session)
    if signer is None:
        raise ConfigurationError(
            "the key that signs the workspaces' logs is not on this machine",
            hint="run jobs where the first workspace was made, or copy log/key.pem of that home",
        )
    return signer
