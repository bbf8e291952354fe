"""A run as its receipt proves it: the only way by which the sealed result of a real run is opened.

Trust: anyone can seal to an organisation's public key, so that a file opens says nothing of where it comes from, and what the
database says of a run is unsigned. The receipt is verified first, with the very files, by what this member knows beforehand.
Before that they are copied to where nobody else writes, and they are opened from there: storage cannot change them in between.
"""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from opaque_jobs.client.one_log import compared_with_own_log
from opaque_jobs.client.scratch import scratch
from opaque_jobs.client.session import Session
from opaque_jobs.client.signed_lists import known_beforehand
from opaque_jobs.domain.canonical import digest
from opaque_jobs.domain.run import Receipt
from opaque_jobs.domain.workspace import MemberEntry
from opaque_jobs.errors import NotFoundError, TrustError
from opaque_jobs.protocol.views import RunView
from opaque_jobs.verify.receipts import inspect_receipt

__all__ = ["VerifiedRun", "verified_run"]


@dataclass(frozen=True, slots=True, kw_only=True)
class VerifiedRun:
    """A run whose receipt holds.

    Args:
        run: The run; its job digest and trust label are those of the receipt.
        receipt: What the receipt says.
        folder: Own copies of the files that it lists, and no others; there until the context ends.
    """

    run: RunView
    receipt: Receipt
    folder: Path


@contextmanager
def verified_run(session: Session, run: RunView, member: MemberEntry) -> Iterator[VerifiedRun]:
    """Verify a real run's receipt and its files, for a member who may read the result, and keep the files as verified.

    Raises:
        ConflictError: The run has not succeeded.
        DeniedError: The member is not of the author's organisation.
        NotFoundError: The member's key file is not here, they were told nothing of their own organisation yet, or a file cannot
            be read.
        TrustError: The receipt does not hold, is of another run or not for these files, or its log is not the one that the member
            sees.
    """
    with session.files.run_files(run.id) as shown, scratch(session.settings.home, "opened") as own:
        folder = own / shown.name
        try:
            shutil.copytree(shown, folder, symlinks=True)
        except OSError:
            raise NotFoundError("the result's files cannot be read", hint="check the folder and the free space") from None
        yield _verified(session, run, member, folder)


def _verified(session: Session, run: RunView, member: MemberEntry, folder: Path) -> VerifiedRun:
    context = session.runs.receipt(run.id)
    report = inspect_receipt(
        context.receipt,
        spec_bytes=context.spec_bytes,
        bundle_bytes=context.bundle_bytes,
        inputs=context.inputs,
        refreshed=context.refreshed,
        folder=folder,
        trust=known_beforehand(session, member, context),
        run_id=run.id,
    )
    report = compared_with_own_log(session, member, report)
    receipt = report.receipt
    if receipt is None or not report.holds:
        raise TrustError(
            f"the result is not opened, its receipt does not hold: {report.steps[-1].problem}",
            hint=f"do not rely on it; see 'opaque-jobs receipt verify {run.id}'",
            step=report.steps[-1].number,
        )
    proved = replace(run, job_digest=digest(context.spec_bytes), trust_label=receipt.trust_label)
    return VerifiedRun(run=proved, receipt=receipt, folder=folder)
