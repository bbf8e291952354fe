"""What a page of a log teaches a broker: lists, acceptances, withdrawals, its owner's sharing, its own releases and erasures.

Everything is verified here, before the step that writes. A lesson is what is left to do in that step.
"""

from collections.abc import Callable
from contextlib import suppress
from typing import Final

from opaque_jobs.broker.release import Broker
from opaque_jobs.broker.store import Transaction
from opaque_jobs.broker.taking import SignedList, take_roster, take_sharing, verified_list, verified_sharing
from opaque_jobs.crypto.consent import verify_acceptance
from opaque_jobs.crypto.log_documents import check_document
from opaque_jobs.crypto.release import verify_erasure, verify_release
from opaque_jobs.crypto.signing import claimed_key_id, claimed_subject
from opaque_jobs.domain.log import EntryKind, LogPage
from opaque_jobs.domain.workspace import Roster, parse_roster
from opaque_jobs.errors import OpaqueJobsError, TrustError

__all__ = ["Lesson", "Lessons", "no_list"]

Lesson = Callable[[Transaction], object]
"""Done in the step that writes."""
_MOST_CLAIMS: Final = 8
"""Acceptances in an own member's name that are looked at before a workspace that nobody vouched for is refused."""


class Lessons:
    """The lessons of one page, whose entries are those that the log signed.

    Args:
        broker: Who learns.
        page: The page.
        newcomer: No member list of the workspace is known yet.
    """

    def __init__(self, broker: Broker, page: LogPage, *, newcomer: bool) -> None:
        self._circle, self._keys, self._broker = broker.circle, broker.keys, broker
        self._page, self._newcomer = page, newcomer
        self._lists: dict[str, Roster | None] = {}
        self._documents: list[tuple[EntryKind, bytes]] = []

    def all(self) -> list[Lesson]:
        """Verify what the entries name and return what is to be kept, in order.

        Raises:
            TrustError: Nothing of the workspace is known, and no own member signed a list in the page.
        """
        for logged in self._page.entries:
            if logged.document is not None:
                with suppress(OpaqueJobsError):
                    document = logged.document.encode()
                    check_document(logged.entry.kind, document)
                    self._documents.append((logged.entry.kind, document))
        if self._newcomer:
            self._vouched()
        lessons: list[Lesson] = []
        for kind, document in dict.fromkeys(self._documents):  # the same one again teaches nothing
            with suppress(OpaqueJobsError):
                lesson = self._lesson(kind, document)
                if lesson is not None:
                    lessons.append(lesson)
        return lessons

    def _vouched(self) -> None:
        """Check that an own member signed a list: nothing else of a stranger's workspace is verified."""
        own = {member.key_id for member in self._circle.members}
        rosters = [parse_roster(document) for kind, document in self._documents if kind is EntryKind.ROSTER]
        lists = {each.digest: each for each in rosters if own & each.key_ids}
        claims = [
            (lists[about], document)
            for kind, document in self._documents
            if kind is EntryKind.ACCEPTANCE and claimed_key_id(document) in own and (about := claimed_subject(document)) in lists
        ]
        for roster, document in claims[:_MOST_CLAIMS]:
            with suppress(OpaqueJobsError):
                verify_acceptance(document, roster)
                return
        raise no_list()

    def _lesson(self, kind: EntryKind, document: bytes) -> Lesson | None:
        match kind:
            case EntryKind.ROSTER:
                return self._roster(document)
            case EntryKind.ACCEPTANCE:
                return self._acceptance(document)
            case EntryKind.WITHDRAWAL:
                # Whose it is, is verified when a run of the job is decided, by that job's own list, which may not be known yet.
                about = claimed_subject(document)
                return lambda memory: memory.put_withdrawal(self._page.workspace_id, about, document)
            case EntryKind.SHARING:
                return self._sharing(document)
            case EntryKind.RELEASE:
                return self._release(document)
        return self._erasure(document) if kind is EntryKind.ERASURE else None

    def _sharing(self, document: bytes) -> Lesson:
        sharing = verified_sharing(self._broker, document)
        return lambda memory: take_sharing(memory, sharing)

    def _erasure(self, document: bytes) -> Lesson:
        own, organisation_id = self._keys.signing.public, self._circle.organisation_id
        about = verify_erasure(document, own, organisation_id=organisation_id).dataset_id
        return lambda memory: memory.erase(about, document)

    def _roster(self, document: bytes) -> Lesson | None:
        roster = parse_roster(document)
        if roster.workspace_id != self._page.workspace_id:
            return None
        self._lists[roster.digest] = roster
        return lambda memory: memory.put_list(roster)

    def _acceptance(self, document: bytes) -> Lesson | None:
        roster = self._list(claimed_subject(document))
        if roster is None:
            return None
        signed: SignedList = verified_list(roster, [document])
        return lambda memory: take_roster(self._circle, memory, signed)

    def _list(self, digest: str) -> Roster | None:
        if digest not in self._lists:
            with self._broker.store.transaction() as memory:
                text = memory.list_text(digest)
            self._lists[digest] = None if text is None else parse_roster(text)
        return self._lists[digest]

    def _release(self, document: bytes) -> Lesson | None:
        own, organisation_id = self._keys.signing.public, self._circle.organisation_id
        job_digest, release = verify_release(document, own, organisation_id=organisation_id)  # refuses those of other brokers
        if release.workspace_id != self._page.workspace_id:
            return None

        def learn(memory: Transaction) -> None:
            known = memory.statement(job_digest, release.run_id)
            if known is None:
                memory.record_release(release, job_digest=job_digest, statement=document, logged=True)
                memory.mark_lost()
            elif known[0] == document:
                memory.mark_logged(job_digest, release.run_id)

        return learn


def no_list() -> TrustError:
    """Return the refusal of a workspace of which no member list is believed."""
    return TrustError("this broker knows no member list of the workspace", hint="run 'opaque-jobs workspace tell-brokers'")
