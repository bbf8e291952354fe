"""What people outside are given of a log, so that they can verify it with nothing of ours.

A header names the log and holds its newest checkpoint; each entry comes as the exact bytes of its leaf, with the path from there
to the root that the checkpoint signs, and with what somebody signed. An outsider knows the log's key beforehand, from a member.
"""

import base64
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from opaque_jobs.cli.export import check_free, written_beside
from opaque_jobs.crypto.checkpoints import Checkpoint, verifier_key
from opaque_jobs.crypto.keys import VerifyKey
from opaque_jobs.crypto.merkle import leaf_hash, verify_inclusion
from opaque_jobs.domain.workspace import Roster
from opaque_jobs.errors import ConfigurationError, TrustError
from opaque_jobs.services.log import ProvenLeaf

__all__ = ["header", "proven_document", "write_lines"]


def header(roster: Roster, note: str) -> dict[str, Any]:
    """Give what is said once: whose log, its key in the form of signed notes, its newest checkpoint."""
    return {
        "v": 1,
        "workspace_id": roster.workspace_id,
        "genesis": roster.genesis_digest,
        "log_key": verifier_key(roster.workspace_id, VerifyKey.parse(roster.log_key)),
        "checkpoint": note,
    }


def proven_document(leaf: ProvenLeaf, checkpoint: Checkpoint) -> dict[str, Any]:
    """Give one entry with its proof, verified.

    Raises:
        TrustError: The stored path does not prove it; the error names the entry.
    """
    hashed = leaf_hash(leaf.body)
    if not verify_inclusion(hashed, index=leaf.seq, size=checkpoint.size, path=leaf.path, root=checkpoint.root):
        raise TrustError(
            f"entry {leaf.seq} of the log is not in the tree that the log has signed",
            hint="'opaque-jobs log verify' tells which entry was changed",
            entry=leaf.seq,
        )
    return {
        "seq": leaf.seq,
        "leaf": base64.b64encode(leaf.body).decode("ascii"),
        "document": None if leaf.document is None else leaf.document.decode(),
        "path": [each.hex() for each in leaf.path],
    }


def write_lines(target: Path, head: dict[str, Any], leaves: Iterable[ProvenLeaf], checkpoint: Checkpoint) -> None:
    """Write header and entries as JSON lines: all of them, each proven, or no file.

    Raises:
        ConflictError: The file exists.
        NotFoundError: Its folder does not.
        ConfigurationError: It cannot be written.
        TrustError: An entry is missing or is not proved by what is stored.
    """
    check_free(target)
    written = 0
    try:
        with written_beside(target) as temporary, temporary.open("w", encoding="utf-8") as lines:
            lines.write(json.dumps(head) + "\n")
            for leaf in leaves:
                if leaf.seq != written:
                    break
                lines.write(json.dumps(proven_document(leaf, checkpoint)) + "\n")
                written += 1
            if written != checkpoint.size:
                raise TrustError(
                    f"entry {written} of the log is missing",
                    hint="do not sign anything; compare 'opaque-jobs log checkpoint' with the other members",
                    entry=written,
                )
    except OSError:
        raise ConfigurationError("the log cannot be written there", hint="choose another place") from None
