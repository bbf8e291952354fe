"""Reviews: submission, signed votes, unanimity, withdrawal, expiry."""

from datetime import datetime

from opaque_jobs.domain.review import ApprovalBundle
from opaque_jobs.services.context import Context
from opaque_jobs.services.views import ReviewView

__all__ = ["Reviews"]


class Reviews:
    """Use cases about reviews. Votes are signed envelopes; each is verified before it is stored."""

    def __init__(self, context: Context) -> None:
        self._context = context

    def submit(
        self,
        *,
        job_id: str,
        spec: bytes,
        envelope: bytes,
        test_run_id: str | None = None,
        no_test_reason: str | None = None,
        deadline: datetime | None = None,
    ) -> ReviewView:
        """Freeze the draft as the next revision and put it under vote; in a single-member workspace it is accepted at once.

        Args:
            job_id: The job, in `draft`.
            spec: `spec_for_submission(...).to_bytes()`, unchanged.
            envelope: The author's `consent.sign_vote(spec, ..., decision=APPROVE)`.
            test_run_id: A successful test run of exactly this spec.
            no_test_reason: Why there is none (1-500 characters); exactly one of the two is given.
            deadline: When the review expires; None for never.

        Raises:
            ConflictError: Not a draft, or the spec is not what the draft gives now.
            TrustError: The envelope is not the author's approval of exactly these bytes.
            InvalidInputError: No test run and no reason, or the test run is not a successful one of this spec.
        """
        raise NotImplementedError

    def vote(self, *, job_id: str, envelope: bytes, comment: str | None = None) -> ReviewView:
        """Take a signed vote: accepted when unanimous, rejected at the first rejection.

        Args:
            job_id: The job, under review.
            envelope: `consent.sign_vote` by a member.
            comment: The text whose digest was signed; required for a rejection.

        Raises:
            ConflictError: Not under review, the deadline has passed, or this member has voted.
            TrustError: The vote is not by a member for exactly this revision and epoch.
            InvalidInputError: A rejection without comment, or another comment than was signed.
        """
        raise NotImplementedError

    def cancel_review(self, *, actor: str, job_id: str) -> ReviewView:
        """Return a job that is under review or rejected to draft (author only)."""
        raise NotImplementedError

    def withdraw(self, *, job_id: str, envelope: bytes) -> ReviewView:
        """Take a signed withdrawal; `push` of the answer is for the brokers, at once.

        Raises:
            ConflictError: No revision with that digest is under review or accepted.
            TrustError: The withdrawal does not hold.
        """
        raise NotImplementedError

    def expire_due(self, now: datetime | None = None) -> list[str]:
        """Expire the reviews whose deadline has passed; gives their job ids."""
        raise NotImplementedError

    def status(self, job_id: str, *, actor: str, revision: int | None = None) -> ReviewView:
        """Give the review of a revision (the latest by default) to a member of the workspace.

        Raises:
            NotFoundError: No such job or revision, or the actor may not know of it.
        """
        raise NotImplementedError

    def bundle(self, job_id: str, revision: int) -> ApprovalBundle:
        """Give everything that proves consent to a revision: what agent and brokers verify."""
        raise NotImplementedError
