"""The broker's administrative side: deposits and sharing by its own members, member lists and withdrawals by all.

Everything is verified before it is kept, and only what is signed by the right people changes anything; so these need no log-in.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Final, TypeVar

from opaque_jobs.broker.release import Broker
from opaque_jobs.broker.taking import (
    SignedList,
    check_not_from_the_future,
    own_first,
    take_roster,
    take_sharing,
    verified_list,
    verified_sharing,
)
from opaque_jobs.crypto.consent import verify_manifest, verify_withdrawal
from opaque_jobs.crypto.custody import check_policy, open_deposit, verify_deposit
from opaque_jobs.crypto.release import verify_hold
from opaque_jobs.crypto.signing import claimed_key_id, claimed_subject
from opaque_jobs.domain.canonical import parse_json, require_fields
from opaque_jobs.domain.custody import Sharing
from opaque_jobs.domain.document import from_json
from opaque_jobs.domain.inputs import parse_datetime
from opaque_jobs.domain.release import Hold, HoldScope
from opaque_jobs.domain.workspace import Roster, parse_roster
from opaque_jobs.errors import ConflictError, InvalidInputError, OpaqueJobsError, TrustError

__all__ = ["EarlierList", "Statements", "accept_deposit", "accept_statements", "parse_statements", "standing_vetoes"]

T = TypeVar("T")
_MOST: Final = 4096
"""Of each kind in one request: more withdrawals than of a whole workspace are kept are never sent."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EarlierList:
    """A member list of an earlier epoch.

    Args:
        roster: Its canonical JSON text.
        acceptances: One by each member in it.
    """

    roster: str
    acceptances: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Statements:
    """What one request tells a broker. All envelopes are JSON texts.

    Args:
        roster: Canonical JSON text of a workspace's member list; None with sharings alone.
        acceptances: One by each member in it.
        earlier: The lists before it, by epoch, for a broker that missed some.
        withdrawals: Withdrawals of consent to jobs of this workspace, by members in it.
        sharings: By members of the broker's organisation.
        holds: By members of the broker's organisation.
    """

    roster: str | None
    acceptances: tuple[str, ...]
    earlier: tuple[EarlierList, ...]
    withdrawals: tuple[str, ...]
    sharings: tuple[str, ...]
    holds: tuple[str, ...]


def parse_statements(body: bytes) -> Statements:
    """Parse an untrusted request.

    Raises:
        InvalidInputError: Another form, or too much.
    """
    document = parse_json(body, what="statements")
    if isinstance(document, dict) and any(isinstance(each, list) and len(each) > _MOST for each in document.values()):
        raise InvalidInputError("a broker is told too much at once", hint=f"send at most {_MOST} of a kind", limit=_MOST)
    return from_json(Statements, document, what="statements")


def accept_statements(broker: Broker, statements: Statements) -> None:
    """Verify and remember; all or nothing, but for vetoes: each that is good is kept, whatever else comes with it.

    Raises:
        InvalidInputError: Something does not parse.
        TrustError: Something does not hold, is by a stranger, or is older than what is known.
    """
    config, problems = broker.config, list[OpaqueJobsError]()

    def own_hold(text: str) -> Hold:
        return verify_hold(text.encode(), config.member_keys, organisation_id=config.organisation_id)

    # 1. What own members stop, of which each counts by itself.
    holds = _each(own_hold, statements.holds, problems)
    sharings = _each(lambda text: verified_sharing(broker, text.encode()), statements.sharings, problems)
    rosters = _each(lambda text: parse_roster(text.encode()), [statements.roster] if statements.roster else [], problems)
    known = _keep_vetoes(broker, holds, [each for each in sharings if not each.shared], rosters, problems)
    # 2. What members of the workspace stop, who are those of its list.
    line: list[SignedList] = []
    try:
        line = [each for roster in rosters for each in _verified_line(broker, roster, statements, known)]
        _keep_withdrawals(broker, statements, line, problems)
    except OpaqueJobsError as error:
        problems.append(error)
    if problems:
        raise problems[0]
    # 3. The rest.
    circle = broker.circle
    with broker.store.transaction() as memory:
        reasons: list[str] = []
        for signed in reversed(line):  # the newest decides, by what it follows
            reasons = take_roster(circle, memory, signed)
        if reasons:
            raise _unbelieved(reasons)
        for sharing in sharings:
            if sharing.shared:
                take_sharing(memory, sharing)


def _each(parse: Callable[[str], T], texts: Iterable[str], problems: list[OpaqueJobsError]) -> list[T]:
    """Return what can be parsed and verified; what cannot goes to the problems."""
    found = []
    for text in texts:
        try:
            found.append(parse(text))
        except OpaqueJobsError as error:
            problems.append(error)
    return found


def _keep_vetoes(
    broker: Broker,
    holds: Sequence[Hold],
    unsharings: Sequence[Sharing],
    rosters: Sequence[Roster],
    problems: list[OpaqueJobsError],
) -> frozenset[str]:
    """Keep verified holds, lifts and unsharings; returns whose acceptances of the list that came along are known.

    To the problems goes a hold on the member list in force, for which it comes too late, and what was lifted or lifts too little.
    """
    with broker.store.transaction() as memory:
        for hold in holds:
            if hold.scope is HoldScope.ROSTER and hold.held and memory.believes(hold.subject):
                problems.append(
                    ConflictError(
                        "this member list is in force: all have signed it, and it cannot be taken back",
                        hint="'opaque-jobs broker hold' stops releases; 'opaque-jobs workspace change' proposes another list",
                    )
                )
            elif not memory.vetoes.put_hold(hold):
                problems.append(
                    TrustError(
                        "a hold is older than the lift that ended it, or a lift than a hold that it does not name",
                        hint="sign it again",
                    )
                )
        for sharing in unsharings:
            try:
                take_sharing(memory, sharing)
            except TrustError as error:
                problems.append(error)
        return memory.signers(rosters[0].digest) if rosters else frozenset()


def standing_vetoes(broker: Broker, body: bytes) -> tuple[str, ...]:
    """Return the digests of the vetoes that stand on something, for whoever lifts them to name.

    Raises:
        InvalidInputError: The question has another form.
    """
    fields = require_fields(parse_json(body, what="question"), ("scope", "subject", "basis"), what="question")
    with broker.store.transaction() as memory:
        return memory.vetoes.standing(*(str(fields[name]) for name in ("scope", "subject", "basis")))


def _verified_line(broker: Broker, roster: Roster, statements: Statements, known: frozenset[str]) -> list[SignedList]:
    """Verify a list and the lists before it, the newest first.

    Strangers have nothing verified: one of our own people signed the newest list, and it names the one before by its digest.

    Args:
        broker: The broker.
        roster: The newest list.
        statements: What came.
        known: Whose acceptances of the newest list this broker has.

    Raises:
        InvalidInputError: Something does not parse, or is too much.
        TrustError: No own member has signed the newest list, or a signature does not hold.
    """
    own = {member.key_id for member in broker.config.members} & roster.key_ids
    if not own:
        raise _unbelieved(["own-members-not-pinned"])
    signed = own_first(own, [text.encode() for text in statements.acceptances])
    if not own & {*known, *(claimed_key_id(each) for each in signed[:1])}:
        raise _unbelieved(["roster-not-accepted-by-all"])
    line = [verified_list(roster, signed)]
    for each in reversed(statements.earlier):
        before = parse_roster(each.roster.encode())
        if before.digest == line[-1].roster.previous:  # what is not in its line is not kept
            line.append(verified_list(before, [text.encode() for text in each.acceptances]))
    return line


def _keep_withdrawals(
    broker: Broker, statements: Statements, line: Sequence[SignedList], problems: list[OpaqueJobsError]
) -> None:
    """Keep withdrawals by members of the list that came with them, if all in it accepted it and somebody pinned here is one.

    Raises:
        InvalidInputError: Something does not parse, or there is no list.
        TrustError: The list is not such a one: nothing is kept, and must not seem to be. To the problems goes one by a stranger.
    """
    if not statements.withdrawals:
        return
    if not line:
        raise InvalidInputError("a withdrawal came without member list", hint="send the workspace's member list with it")
    roster = line[0].roster

    def verified(text: str) -> tuple[str, bytes]:
        job_digest = claimed_subject(text.encode())
        verify_withdrawal(text.encode(), job_digest=job_digest, roster=roster)
        return job_digest, text.encode()

    found = _each(verified, statements.withdrawals, problems)
    with broker.store.transaction() as memory:
        # Strangers cannot fill this memory: the list has a signature by one of our own people.
        if memory.signers(roster.digest) | {member.key_id for member, _ in line[0].accepted} != roster.key_ids:
            raise _unbelieved(["roster-not-accepted-by-all"])
        for job_digest, envelope in found:
            memory.put_withdrawal(roster.workspace_id, job_digest, envelope)


def _unbelieved(reasons: list[str]) -> TrustError:
    return TrustError(
        "this broker does not believe the member list",
        hint="every member must accept it, and own members' keys be pinned where this broker lives: 'opaque-jobs broker pin'",
        reasons=",".join(reasons),
    )


def accept_deposit(broker: Broker, body: bytes) -> None:
    """Take a dataset version's key and policy from its owner. The same key again, with a later policy, replaces the policy.

    Raises:
        InvalidInputError: Something does not parse.
        TrustError: It is by a stranger, for another organisation, dataset or broker.
        ConflictError: Another key or manifest is held for this version, or a later deposit; or its keys were destroyed.
    """
    config, now = broker.config, broker.clock()
    fields = require_fields(parse_json(body, what="deposit"), ("deposit", "manifest"), what="deposit")
    texts = {name: value if isinstance(value, str) else "" for name, value in fields.items()}
    deposit = verify_deposit(texts["deposit"].encode(), config.member_keys, organisation_id=config.organisation_id)
    check_not_from_the_future(deposit.issued_at, now)
    manifest = verify_manifest(texts["manifest"].encode(), config.members)
    described = (deposit.dataset_id, deposit.dataset_version, deposit.manifest_digest)
    if described != (manifest.dataset_id, manifest.dataset_version, manifest.digest):
        raise TrustError("a deposit does not belong to its manifest", hint="deposit again with the signed manifest")
    root, salted = open_deposit(deposit, broker.keys.sealing)
    check_policy(manifest, salted)
    with broker.store.transaction() as memory:
        if memory.erasure(deposit.dataset_id) is not None:
            raise ConflictError("the keys of this data set were destroyed for good", hint="encrypt it as another data set")
        held = memory.deposit(deposit.dataset_id, deposit.dataset_version)
        if held is not None and held != deposit:
            held_root, _ = open_deposit(held, broker.keys.sealing)
            if held.manifest_digest != deposit.manifest_digest or held_root != root:
                raise ConflictError("another key is held for this dataset version", hint="versions are never replaced")
            if parse_datetime(held.issued_at) >= parse_datetime(deposit.issued_at):
                raise ConflictError("a later deposit is held for this dataset version", hint="sign it again")
        memory.put_deposit(deposit)
