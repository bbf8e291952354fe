"""What a member's own client remembers of logs: it demands that each log only grows, and tells what it has verified.

One small file a member, beside their key. It is the member's own memory; nobody else writes it.
"""

import os
from pathlib import Path

from opaque_jobs.crypto.checkpoints import Checkpoint, log_origin, verify_checkpoint
from opaque_jobs.crypto.key_files import write_new_private_file
from opaque_jobs.crypto.keys import VerifyKey
from opaque_jobs.crypto.merkle import EMPTY, verify_consistency
from opaque_jobs.domain.canonical import canonical_bytes, parse_json
from opaque_jobs.domain.workspace import MemberEntry
from opaque_jobs.errors import ConfigurationError, TrustError
from opaque_jobs.services import Services

__all__ = ["remembered", "verified_head", "verified_note"]


def verified_head(opened: Services, member: MemberEntry, workspace_id: str) -> Checkpoint:
    """Fetch a log's newest signed checkpoint, check that it continues the last one seen, and remember it.

    Raises as `verified_note`.
    """
    return verified_note(opened, member, workspace_id)[1]


def verified_note(opened: Services, member: MemberEntry, workspace_id: str) -> tuple[str | None, Checkpoint]:
    """Do the same, and give the signed note too; None before the first.

    Raises:
        TrustError: It is not signed by the workspace's log, or the log does not continue what this member has seen.
        NotFoundError: The member is not in this workspace.
        ConfigurationError: What is remembered cannot be read or written.
    """
    path = _path(opened.context.settings.keys_dir, member)
    heads = _read(path)
    head = opened.logs.head(workspace_id, actor=member.id)
    empty = Checkpoint(origin=log_origin(workspace_id), size=0, root=EMPTY.root)
    newest = (
        empty
        if head.checkpoint is None
        else verify_checkpoint(head.checkpoint, VerifyKey.parse(head.log_key), workspace_id=workspace_id)
    )
    known = Checkpoint.parse_seen(heads[workspace_id], workspace_id=workspace_id) if workspace_id in heads else empty
    proof = [] if known.size > newest.size else _proof(opened, member, workspace_id, known.size, newest.size)
    if not verify_consistency(first=known.size, first_root=known.root, second=newest.size, second_root=newest.root, path=proof):
        raise TrustError(
            "the workspace's log does not continue what you have seen of it: entries were changed or taken away",
            hint="do not sign anything; compare 'opaque-jobs log checkpoint' with the other members",
            seen=known.size,
            shown=newest.size,
        )
    if known != newest:
        _write(path, {**heads, workspace_id: newest.seen})
    return head.checkpoint, newest


def remembered(opened: Services, member: MemberEntry, workspace_id: str) -> Checkpoint | None:
    """Give the last checkpoint of a log that this member's client has verified; None before the first.

    Raises:
        ConfigurationError: What is remembered cannot be read.
    """
    seen = _read(_path(opened.context.settings.keys_dir, member)).get(workspace_id)
    return None if seen is None else Checkpoint.parse_seen(seen, workspace_id=workspace_id)


def _proof(opened: Services, member: MemberEntry, workspace_id: str, first: int, second: int) -> list[bytes]:
    return opened.logs.consistency(workspace_id, actor=member.id, first=first, second=second)


def _path(keys_dir: Path, member: MemberEntry) -> Path:
    return keys_dir / f"{member.name}.logs.json"


def _read(path: Path) -> dict[str, str]:
    try:
        document = parse_json(path.read_bytes(), what="what is remembered of logs")
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise ConfigurationError(f"{path.name} cannot be read: {error.strerror}", hint="check who owns it") from None
    if not isinstance(document, dict) or not all(isinstance(seen, str) for seen in document.values()):
        raise ConfigurationError(f"{path.name} is damaged", hint="restore it; without it a rewritten log goes unnoticed")
    return document


def _write(path: Path, heads: dict[str, str]) -> None:
    fresh = path.with_name(f".{path.name}.{os.urandom(8).hex()}")
    write_new_private_file(fresh, canonical_bytes(heads))
    fresh.replace(path)
