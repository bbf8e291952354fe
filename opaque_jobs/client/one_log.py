"""Whether the log that a run's brokers and enclave were shown is the one that a member sees.

Receipts carry the states of the log that brokers had followed, signed by each; they are one log, or the enclave asks for no key.
Whoever keeps the log could still show the member another one. A member's client remembers what it has verified, so the log that
the database shows it continues that; and it has to continue the receipt's too, or be continued by it.
"""

from dataclasses import replace
from typing import Final

from opaque_jobs.client.log_heads import verified_head
from opaque_jobs.client.session import Session
from opaque_jobs.crypto.checkpoints import Checkpoint
from opaque_jobs.crypto.merkle import verify_consistency
from opaque_jobs.domain.workspace import MemberEntry
from opaque_jobs.errors import InvalidInputError, TrustError
from opaque_jobs.verify.receipts import ReceiptReport, Step

__all__ = ["compared_with_own_log", "is_own_log"]

_STEP: Final = "the data owners' brokers have followed the log that you have seen"
_DIFFERS: Final = (
    "the log was shown differently to the data owners' brokers and to you; compare 'opaque-jobs log checkpoint' with others"
)


def compared_with_own_log(session: Session, member: MemberEntry, report: ReceiptReport) -> ReceiptReport:
    """Give a receipt's report with one more step, if all before hold.

    Raises:
        ConfigurationError: What the member remembers cannot be read or written.
        NotFoundError: The member is not in the workspace.
    """
    if report.receipt is None or not report.holds:
        return report
    try:
        newest = Checkpoint.parse_seen(report.receipt.log_heads[-1].seen, workspace_id=report.receipt.workspace_id)
        same = is_own_log(session, member, report.receipt.workspace_id, newest)
        problem = "" if same else _DIFFERS
    except TrustError as error:
        problem = error.message
    return replace(report, steps=(*report.steps, Step(number=len(report.steps) + 1, name=_STEP, problem=problem)))


def is_own_log(session: Session, member: MemberEntry, workspace_id: str, told: Checkpoint) -> bool:
    """Tell whether a state of a log that others were shown and the newest that the member is shown are of one log.

    Raises:
        TrustError: What the member is shown does not continue what they have seen before.
    """
    own = verified_head(session, member, workspace_id)
    first, second = sorted((own, told), key=lambda each: each.size)
    try:
        path = session.logs.consistency(workspace_id, first=first.size, second=second.size)
    except InvalidInputError:
        return False  # others were shown more of it
    return verify_consistency(first=first.size, first_root=first.root, second=second.size, second_root=second.root, path=path)
