"""Which document each kind of log entry names: the one table for whoever appends entries, follows a log or audits it.

An entry counts as what its kind says, never as what its document happens to be. So a vote that was entered as an outcome is no
vote, and an entry whose document is of another kind proves nothing.
"""

from collections.abc import Mapping
from typing import Final

from opaque_jobs.crypto.consent import APPROVAL, RECEIPT, ROSTER_ACCEPTANCE, WITHDRAWAL
from opaque_jobs.crypto.custody import SHARING
from opaque_jobs.crypto.release import ERASURE, RELEASE
from opaque_jobs.crypto.signing import claimed_type
from opaque_jobs.domain.log import EntryKind
from opaque_jobs.domain.workspace import parse_roster
from opaque_jobs.errors import TrustError

__all__ = ["PREDICATE_TYPES", "check_document"]

PREDICATE_TYPES: Final[Mapping[EntryKind, str]] = {
    EntryKind.ACCEPTANCE: ROSTER_ACCEPTANCE,
    EntryKind.SHARING: SHARING,
    EntryKind.VOTE: APPROVAL,
    EntryKind.WITHDRAWAL: WITHDRAWAL,
    EntryKind.RELEASE: RELEASE,
    EntryKind.ERASURE: ERASURE,
    EntryKind.OUTCOME: RECEIPT,
}
"""Kind of an entry -> the only kind of statement that it may name. A kind that is not here names no statement."""
_OPTIONAL: Final = EntryKind.OUTCOME
"""A run that failed has no receipt."""


def check_document(kind: EntryKind, document: bytes | None) -> None:
    """Check that a document is what an entry of this kind names.

    Args:
        kind: Of the entry.
        document: What the entry's statement is the digest of; None if it names nothing.

    Raises:
        InvalidInputError: It does not parse.
        TrustError: It is missing, or of another kind.

    Trust: what the document claims to be is compared, no signature verified.
    """
    if document is None:
        if kind is EntryKind.ROSTER or (kind in PREDICATE_TYPES and kind is not _OPTIONAL):
            raise TrustError("it names nothing that somebody signed", hint="see 'opaque-jobs log show'")
    elif kind is EntryKind.ROSTER:
        parse_roster(document)
    elif claimed_type(document) != PREDICATE_TYPES.get(kind):
        raise TrustError("its document is of another kind than the entry", hint="see 'opaque-jobs log show'")
