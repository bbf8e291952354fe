"""A member's own look at a whole log: the tree is made anew from the stored entries, and what somebody signed is verified again.

Pure. Nothing that is stored is believed: what is taken for true is the member's own key, and the checkpoint that their client
remembers. The audit ends with the first thing that does not hold, and says at which entry.
"""

from collections import Counter
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from itertools import islice
from typing import Final

from opaque_jobs.crypto.checkpoints import Checkpoint, verify_checkpoint
from opaque_jobs.crypto.consent import APPROVAL, roster_refusals, verify_acceptance, verify_withdrawal
from opaque_jobs.crypto.custody import verify_sharing
from opaque_jobs.crypto.keys import VerifyKey
from opaque_jobs.crypto.log_documents import check_document
from opaque_jobs.crypto.merkle import EMPTY, leaf_hash
from opaque_jobs.crypto.release import verify_erasure, verify_release
from opaque_jobs.crypto.signing import claimed_key_id, claimed_subject, verify_statement
from opaque_jobs.domain.canonical import digest
from opaque_jobs.domain.document import from_json
from opaque_jobs.domain.log import EntryKind, LogEntry, parse_entry
from opaque_jobs.domain.review import Approval
from opaque_jobs.domain.workspace import MemberEntry, Roster, parse_roster
from opaque_jobs.errors import OpaqueJobsError, TrustError
from opaque_jobs.services.log import KeptEntry
from opaque_jobs.verify.receipts import Step

__all__ = ["LogReport", "Witness", "audit_log"]

_SIGNED: Final = (
    EntryKind.ACCEPTANCE,
    EntryKind.VOTE,
    EntryKind.WITHDRAWAL,
    EntryKind.SHARING,
    EntryKind.RELEASE,
    EntryKind.ERASURE,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Witness:
    """The member who looks, and what they know for themselves.

    Args:
        member_id: Who.
        key_ids: Ids of their own signing keys: the present one and those before.
        seen: The last checkpoint that their client has verified; None before the first.
    """

    member_id: str
    key_ids: Collection[str]
    seen: Checkpoint | None


@dataclass(frozen=True, slots=True, kw_only=True)
class LogReport:
    """What an audit found.

    Args:
        steps: Those taken; it ends with the first that does not hold.
        entry: Index of the first broken entry; None if none is, or if none can be named.
    """

    steps: tuple[Step, ...]
    entry: int | None

    @property
    def holds(self) -> bool:
        """Tell whether everything held."""
        return all(not step.problem for step in self.steps)


class _BrokenError(Exception):
    def __init__(self, step: int, problem: str, entry: int | None = None) -> None:
        super().__init__(problem)
        self.step, self.problem, self.entry = step, problem, entry


def audit_log(entries: Iterable[KeptEntry], *, note: str, in_force: Roster, witness: Witness) -> LogReport:
    """Verify a whole log, step by step.

    Args:
        entries: What is stored of it, in order.
        note: Its newest checkpoint.
        in_force: The member list by which the workspace is said to work.
        witness: Who looks.

    Trust: acceptances, votes, withdrawals, sharings and releases are verified with the keys of member lists that all in them
    signed. Manifests and receipts are named by digest; what verifies those is elsewhere.
    """
    audit = _Audit(in_force, witness)
    broken: _BrokenError | None = None
    try:
        size = audit.checkpoint(note)
        for kept in islice(entries, size):
            audit.entry(kept)
            audit.document(kept)
            audit.signature(kept)
        audit.all_entries()
        audit.sharings()
        audit.member_list()
        audit.tree()
        audit.memory()
    except _BrokenError as error:
        broken = error
    names = audit.names()
    last = broken.step if broken else len(names)
    return LogReport(
        steps=tuple(
            Step(number=number, name=name, problem=broken.problem if broken and number == last else "")
            for number, name in enumerate(names[:last], start=1)
        ),
        entry=broken.entry if broken else None,
    )


class _Audit:
    """One pass over a log, and what it has shown so far."""

    def __init__(self, in_force: Roster, witness: Witness) -> None:
        self._said, self._witness = in_force, witness
        self._signed: Checkpoint | None = None
        self._tree = EMPTY
        self._suspects: range | None = None
        self._at: LogEntry | None = None
        self._root_seen = EMPTY.root
        self._documents: Counter[EntryKind] = Counter()
        self._lists: dict[str, Roster] = {}
        self._acceptances: dict[str, list[bytes]] = {}
        self._accepted: list[Roster] = []
        self._sharings: list[tuple[LogEntry, bytes, int]] = []

    def names(self) -> list[str]:
        """Say what each step verifies, with what has been counted."""
        signed = ", ".join(f"{self._documents[kind]} {kind.value}" for kind in _SIGNED if self._documents[kind])
        return [
            "the newest checkpoint is signed with the log's key",
            f"entries ({self._tree.size}): each in its place, in its one form, filed under what it says",
            f"documents ({self._documents.total()}): each is the one that its entry names, and of its kind",
            f"signatures ({signed}): each by whom it concerns, about what its entry says",
            f"member lists ({len(self._accepted)}): each follows the last, signed by all in it; the newest is in force and yours",
            "the tree over all entries is the one that the checkpoint names",
            "the log continues what you have seen of it"
            + (f" ({self._witness.seen.size} entries)" if self._witness.seen else " (nothing yet)"),
        ]

    # 1.
    def checkpoint(self, note: str) -> int:
        """The checkpoint is signed; gives its size. With whose key it must be, the member lists decide."""
        key = VerifyKey.parse(self._said.log_key)
        try:
            self._signed = verify_checkpoint(note, key, workspace_id=self._said.workspace_id)
        except OpaqueJobsError as error:
            raise _BrokenError(1, error.message) from None
        return self._signed.size

    # 2.
    def entry(self, kept: KeptEntry) -> None:
        """An entry is the next one, and found where it belongs; the tree grows by it."""
        seq = self._tree.size
        if kept.seq != seq:
            raise _BrokenError(2, f"entry {seq} is missing", seq)
        try:
            self._at = entry = parse_entry(kept.body)
        except OpaqueJobsError as error:
            raise _BrokenError(2, f"entry {seq}: {error.message}", seq) from None
        if (entry.workspace_id, entry.seq) != (self._said.workspace_id, seq):
            raise _BrokenError(2, f"entry {seq}: it is of another log or place", seq)
        if kept.filed != (entry.kind.value, entry.subject, entry.statement):
            raise _BrokenError(2, f"entry {seq}: it is filed under something else than it says", seq)
        made: dict[int, bytes] = {}
        self._tree = self._tree.append(leaf_hash(kept.body), lambda level, _position, node: made.update({level: node}))
        wrong = [level for level, node in made.items() if kept.nodes.get(level) != node]
        if wrong and self._suspects is None:
            self._suspects = range(seq + 1 - (1 << min(wrong)), seq + 1)
        if self._witness.seen and self._witness.seen.size == self._tree.size:
            self._root_seen = self._tree.root

    def all_entries(self) -> None:
        """None is missing at the end."""
        if self._signed is not None and self._tree.size != self._signed.size:
            raise _BrokenError(2, f"entry {self._tree.size} is missing", self._tree.size)

    # 3.
    def document(self, kept: KeptEntry) -> None:
        """A document is the one that the entry names."""
        entry = self._entry
        if entry.statement != (None if kept.document is None else digest(kept.document)):
            raise self._broken(3, entry, "its document is missing or another")
        try:
            check_document(entry.kind, kept.document)
        except OpaqueJobsError as error:
            raise self._broken(3, entry, error.message) from None
        if kept.document is not None:
            self._documents[entry.kind] += 1

    # 4.
    def signature(self, kept: KeptEntry) -> None:
        """What is signed is signed by whom it concerns, and says what the entry says."""
        entry, document = self._entry, kept.document
        if document is None:
            return
        try:
            match entry.kind:
                case EntryKind.ROSTER:
                    self._list(entry, document)
                case EntryKind.ACCEPTANCE:
                    self._acceptance(entry, document)
                case EntryKind.VOTE:
                    self._vote(entry, document)
                case EntryKind.WITHDRAWAL:
                    said = verify_withdrawal(document, job_digest=str(entry.facts.get("job_digest")), roster=self._current)
                    self._same(entry, actor=said.reviewer_id)
                case EntryKind.SHARING:
                    # The key may be one that a later list names: the owner's members change keys before the lists do.
                    self._sharings.append((entry, document, self._current.epoch))
                case EntryKind.RELEASE:
                    self._release(entry, document)
                case EntryKind.ERASURE:
                    owner, key = self._broker(entry, document)
                    self._same(entry, subject=verify_erasure(document, key, organisation_id=owner).dataset_id)
                case _:
                    self._same(entry, job_digest=claimed_subject(document))
        except OpaqueJobsError as error:
            raise self._broken(4, entry, error.message) from None

    def sharings(self) -> None:
        """Each sharing is by a member of the owner, as the list in force at its place or one proposed for after it names them."""
        for entry, document, epoch in self._sharings:
            members = [member for each in self._lists.values() if each.epoch >= epoch for member in each.members]
            owners = {one.organisation_id for one in members if one.id == entry.facts.get("actor")}
            keys = {one.key_id: VerifyKey.parse(one.public_key) for one in members if one.id == entry.facts.get("actor")}
            try:
                said = verify_sharing(document, keys, organisation_id="".join(owners))
                self._same(entry, subject=said.dataset_id, shared=said.shared)
                if (said.workspace_id, said.workspace_genesis) != (self._said.workspace_id, self._said.genesis_digest):
                    raise _says_otherwise()
            except OpaqueJobsError as error:
                raise self._broken(4, entry, error.message) from None

    # 5.
    def member_list(self) -> None:
        """The list in force is the last that all in it signed, and names this member with a key of their own."""
        if not self._accepted or self._accepted[-1] != self._said:
            raise _BrokenError(5, "the member list in force is not the last one that everybody in it signed")
        if any(each.log_key != self._said.log_key for each in self._accepted):
            raise _BrokenError(5, "the member lists name more than one log")
        mine = {each.key_id for each in self._said.members if each.id == self._witness.member_id}
        if not mine or not mine <= set(self._witness.key_ids):
            raise _BrokenError(5, "the member list in force does not name you with a key of yours")

    # 6.
    def tree(self) -> None:
        """The tree over the entries is the signed one; whose node differs from the stored one is named."""
        if self._signed is None or self._signed.root != self._tree.root:
            entry = self._suspects.start if self._suspects else None
            raise _BrokenError(6, self._named("was changed after it was signed"), entry)
        if self._suspects is not None:
            raise _BrokenError(6, self._named("cannot be proved: the stored tree is damaged"), self._suspects.start)

    # 7.
    def memory(self) -> None:
        """This member has seen a beginning of this log, and of no other."""
        seen = self._witness.seen
        if seen is None:
            return
        if seen.size > self._tree.size:
            raise _BrokenError(7, f"entry {self._tree.size} is missing: you have seen {seen.size} entries", self._tree.size)
        if seen.root != self._root_seen:
            raise _BrokenError(7, f"one of the first {seen.size} entries is another than when you saw them")

    @property
    def _entry(self) -> LogEntry:
        if self._at is None:
            raise _BrokenError(2, "there is no entry")
        return self._at

    @property
    def _current(self) -> Roster:
        if not self._accepted:
            raise TrustError("no member list was in force yet", hint="see 'opaque-jobs log show'")
        return self._accepted[-1]

    def _broken(self, step: int, entry: LogEntry, problem: str) -> _BrokenError:
        return _BrokenError(step, f"entry {entry.seq} ({entry.kind.value}): {problem}", entry.seq)

    def _named(self, what: str) -> str:
        if self._suspects is None:
            return f"an entry {what}"
        if len(self._suspects) == 1:
            return f"entry {self._suspects.start} {what}"
        return f"one of the entries {self._suspects.start} to {self._suspects.stop - 1} {what}"

    def _same(self, entry: LogEntry, **said: str | int | bool | None) -> None:
        facts = {**entry.facts, "subject": entry.subject}
        if any(facts.get(name) != value for name, value in said.items()):
            raise _says_otherwise()

    def _list(self, entry: LogEntry, document: bytes) -> None:
        proposed = parse_roster(document)
        self._same(entry, subject=proposed.workspace_id, epoch=proposed.epoch)
        if proposed.workspace_id != self._said.workspace_id:
            raise _says_otherwise()
        self._lists[proposed.digest] = proposed

    def _acceptance(self, entry: LogEntry, document: bytes) -> None:
        proposed = self._lists.get(claimed_subject(document))
        if proposed is None:
            raise TrustError("the member list that it accepts is not in the log", hint="see 'opaque-jobs log show'")
        member = verify_acceptance(document, proposed)
        self._same(entry, subject=member.id, epoch=proposed.epoch, roster=proposed.digest)
        signed = self._acceptances.setdefault(proposed.digest, [])
        signed.append(document)
        if roster_refusals(proposed, signed):
            return
        before = self._accepted[-1] if self._accepted else None
        place = (before.epoch + 1, before.digest, before.genesis_digest) if before else (1, None, None)
        if (proposed.epoch, proposed.previous, proposed.genesis) != place:
            raise TrustError("the member list that it completes does not follow the one before", hint="do not sign anything")
        self._accepted.append(proposed)

    def _vote(self, entry: LogEntry, document: bytes) -> None:
        roster = self._current
        member = _by_key(roster, claimed_key_id(document))
        statement = verify_statement(document, VerifyKey.parse(member.public_key), predicate_type=APPROVAL)
        vote = from_json(Approval, statement.predicate, what="vote")
        if (vote.reviewer_id, vote.roster_digest) != (member.id, roster.digest):
            raise _says_otherwise()
        self._same(entry, actor=member.id, decision=vote.decision.value, job_digest=statement.subject_digest)

    def _broker(self, entry: LogEntry, document: bytes) -> tuple[str, VerifyKey]:
        """Return the organisation that an entry names, and its broker's key in the member lists that the document claims."""
        owner = entry.facts.get("organisation_id")
        keys = {one.broker_signing_key for each in self._accepted for one in each.organisations if one.id == owner}
        known = [key for key in map(VerifyKey.parse, sorted(keys)) if key.key_id == claimed_key_id(document)]
        if not known:
            raise TrustError("it is signed by no broker of a member list", hint="see 'opaque-jobs log show'")
        return str(owner), known[0]

    def _release(self, entry: LogEntry, document: bytes) -> None:
        owner, key = self._broker(entry, document)
        job_digest, said = verify_release(document, key, organisation_id=owner)
        self._same(entry, subject=said.run_id, job_digest=job_digest)
        if said.workspace_id != self._said.workspace_id:
            raise _says_otherwise()


def _by_key(roster: Roster, wanted: str) -> MemberEntry:
    for member in roster.members:
        if member.key_id == wanted:
            return member
    raise TrustError("it is signed by nobody of the member list", hint="see 'opaque-jobs log show'")


def _says_otherwise() -> TrustError:
    return TrustError("what is signed says something else than the entry", hint="see 'opaque-jobs log show'")
