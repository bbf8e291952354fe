"""Every lifecycle as one table `(state, event) -> state`.

Buttons, diagrams, tests and the store's compare-and-set updates all come from these tables; there is no other rule about
which state follows which.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, Generic, TypeVar

from opaque_jobs.errors import ConflictError

__all__ = [
    "JOB",
    "RUN",
    "WORKSPACE",
    "JobEvent",
    "JobStatus",
    "Lifecycle",
    "RunEvent",
    "RunState",
    "WorkspaceEvent",
    "WorkspaceStatus",
]

S = TypeVar("S", bound=StrEnum)
E = TypeVar("E", bound=StrEnum)


@dataclass(frozen=True, slots=True, kw_only=True)
class Lifecycle(Generic[S, E]):
    """A table of allowed transitions.

    Args:
        noun: What it is the life of, for errors.
        initial: The state in which it is made.
        table: `(state, event) -> next state`; a pair that is absent is refused.
    """

    noun: str
    initial: S
    table: Mapping[tuple[S, E], S]

    def next(self, state: S, event: E) -> S:
        """Give the state after the event.

        Raises:
            ConflictError: The event is not allowed in this state.
        """
        try:
            return self.table[state, event]
        except KeyError:
            allowed = ", ".join(self.events(state)) or "none"
            raise ConflictError(
                f"a {self.noun} that is {state.value} does not allow '{event.value}'",
                hint=f"possible now: {allowed}",
                state=state.value,
            ) from None

    def events(self, state: S) -> list[E]:
        """Give the events that the state allows, in the table's order."""
        return [event for (source, event) in self.table if source is state]

    def terminal(self, state: S) -> bool:
        """Tell whether nothing leaves this state."""
        return not self.events(state)


class WorkspaceStatus(StrEnum):
    """`pending` until every invited member has signed the roster."""

    PENDING = "pending"
    ACTIVE = "active"
    ARCHIVED = "archived"


class WorkspaceEvent(StrEnum):
    """What happens to a workspace."""

    ACTIVATE = "activate"
    CANCEL = "cancel"
    ARCHIVE = "archive"
    UNARCHIVE = "unarchive"


WORKSPACE: Final = Lifecycle(
    noun="workspace",
    initial=WorkspaceStatus.PENDING,
    table={
        (WorkspaceStatus.PENDING, WorkspaceEvent.ACTIVATE): WorkspaceStatus.ACTIVE,
        (WorkspaceStatus.PENDING, WorkspaceEvent.CANCEL): WorkspaceStatus.ARCHIVED,
        (WorkspaceStatus.ACTIVE, WorkspaceEvent.ARCHIVE): WorkspaceStatus.ARCHIVED,
        (WorkspaceStatus.ARCHIVED, WorkspaceEvent.UNARCHIVE): WorkspaceStatus.ACTIVE,
    },
)


class JobStatus(StrEnum):
    """Status of a job's current revision; `archived` is a mark beside it, not a status."""

    DRAFT = "draft"
    UNDER_REVIEW = "under_review"
    ACCEPTED = "accepted"
    REJECTED = "rejected"
    EXPIRED = "expired"
    WITHDRAWN = "withdrawn"
    SUPERSEDED = "superseded"


class JobEvent(StrEnum):
    """What happens to a job."""

    SUBMIT = "submit"
    ACCEPT = "accept"
    REJECT = "reject"
    CANCEL_REVIEW = "cancel_review"
    EXPIRE = "expire"
    WITHDRAW = "withdraw"
    SUPERSEDE = "supersede"
    REVISE = "revise"


JOB: Final = Lifecycle(
    noun="job",
    initial=JobStatus.DRAFT,
    table={
        (JobStatus.DRAFT, JobEvent.SUBMIT): JobStatus.UNDER_REVIEW,
        (JobStatus.UNDER_REVIEW, JobEvent.ACCEPT): JobStatus.ACCEPTED,
        (JobStatus.UNDER_REVIEW, JobEvent.REJECT): JobStatus.REJECTED,
        (JobStatus.UNDER_REVIEW, JobEvent.CANCEL_REVIEW): JobStatus.DRAFT,
        (JobStatus.UNDER_REVIEW, JobEvent.EXPIRE): JobStatus.EXPIRED,
        (JobStatus.UNDER_REVIEW, JobEvent.WITHDRAW): JobStatus.WITHDRAWN,
        (JobStatus.UNDER_REVIEW, JobEvent.SUPERSEDE): JobStatus.SUPERSEDED,
        (JobStatus.ACCEPTED, JobEvent.REVISE): JobStatus.DRAFT,
        (JobStatus.ACCEPTED, JobEvent.WITHDRAW): JobStatus.WITHDRAWN,
        (JobStatus.ACCEPTED, JobEvent.SUPERSEDE): JobStatus.SUPERSEDED,
        (JobStatus.REJECTED, JobEvent.CANCEL_REVIEW): JobStatus.DRAFT,
        (JobStatus.EXPIRED, JobEvent.REVISE): JobStatus.DRAFT,
        (JobStatus.WITHDRAWN, JobEvent.REVISE): JobStatus.DRAFT,
        (JobStatus.SUPERSEDED, JobEvent.REVISE): JobStatus.DRAFT,
    },
)


class RunState(StrEnum):
    """State of one run."""

    QUEUED = "queued"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELLED = "cancelled"


class RunEvent(StrEnum):
    """What happens to a run."""

    START = "start"
    SUCCEED = "succeed"
    FAIL = "fail"
    CANCEL = "cancel"


RUN: Final = Lifecycle(
    noun="run",
    initial=RunState.QUEUED,
    table={
        (RunState.QUEUED, RunEvent.START): RunState.RUNNING,
        (RunState.QUEUED, RunEvent.FAIL): RunState.FAILED,
        (RunState.QUEUED, RunEvent.CANCEL): RunState.CANCELLED,
        (RunState.RUNNING, RunEvent.SUCCEED): RunState.SUCCEEDED,
        (RunState.RUNNING, RunEvent.FAIL): RunState.FAILED,
        (RunState.RUNNING, RunEvent.CANCEL): RunState.CANCELLED,
    },
)
