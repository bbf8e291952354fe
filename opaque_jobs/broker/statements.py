"""The broker's administrative side: deposits and sharing by its own members, member lists and withdrawals by all.

Everything is verified before it is kept, and only what is signed by the right people changes anything; so these need no log-in.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

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
from opaque_jobs.domain.document import from_json
from opaque_jobs.domain.inputs import parse_datetime
from opaque_jobs.domain.release import HoldScope
from opaque_jobs.domain.workspace import Roster, parse_roster
from opaque_jobs.errors import ConflictError, InvalidInputError, TrustError

__all__ = ["EarlierList", "Statements", "accept_deposit", "accept_statements", "parse_statements"]

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
    """Verify and remember; all or nothing, but for withdrawals and holds, which are kept even if the rest is not believed.

    Raises:
        InvalidInputError: Something does not parse.
        TrustError: Something does not hold, is by a stranger, or is older than what is known.
    """
    roster = None if statements.roster is None else parse_roster(statements.roster.encode())
    known = _keep_holds(broker, statements, roster)
    line = [] if roster is None else _verified_line(broker, roster, statements, known)
    _keep_withdrawals(broker, statements, line)
    sharings = [verified_sharing(broker, text.encode()) for text in statements.sharings]
    circle = broker.circle
    with broker.store.transaction() as memory:
        reasons: list[str] = []
        for signed in reversed(line):  # the newest decides, by what it follows
            reasons = take_roster(circle, memory, signed)
        if reasons:
            raise _unbelieved(reasons)
        for sharing in sharings:
            take_sharing(memory, sharing)


def _keep_holds(broker: Broker, statements: Statements, roster: Roster | None) -> frozenset[str]:
    """Keep holds by own members; returns whose acceptances of the list that came along are known.

    Raises:
        ConflictError: One is on the member list in force, for which it comes too late.
        InvalidInputError: Something does not parse.
        TrustError: One is by a stranger, dated in the future, or older than the one known.
    """
    config, now = broker.config, broker.clock()
    holds = [verify_hold(text.encode(), config.member_keys, organisation_id=config.organisation_id) for text in statements.holds]
    for hold in holds:
        check_not_from_the_future(hold.issued_at, now)
    with broker.store.transaction() as memory:
        for hold in holds:
            if hold.scope is HoldScope.ROSTER and hold.held and memory.believes(hold.subject):
                raise ConflictError(
                    "this member list is in force: all have signed it, and it cannot be taken back",
                    hint="'opaque-jobs broker hold' stops releases; 'opaque-jobs workspace change' proposes another list",
                )
            if not memory.put_hold(hold):
                raise TrustError("a hold is older than the one known", hint="sign it again")
        return frozenset() if roster is None else memory.signers(roster.digest)


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


def _keep_withdrawals(broker: Broker, statements: Statements, line: Sequence[SignedList]) -> None:
    """Keep withdrawals by members of the list that came with them, if all in it accepted it and somebody pinned here is one.

    Raises:
        InvalidInputError: Something does not parse, or there is no list.
        TrustError: One is by a stranger, or the list is not such a one; nothing is kept, and must not seem to be.
    """
    if not statements.withdrawals:
        return
    if not line:
        raise InvalidInputError("a withdrawal came without member list", hint="send the workspace's member list with it")
    roster = line[0].roster
    found = [(claimed_subject(text.encode()), text.encode()) for text in statements.withdrawals]
    for job_digest, envelope in found:
        verify_withdrawal(envelope, job_digest=job_digest, roster=roster)
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
        ConflictError: Another key or manifest is held for this version, or a later deposit is.
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
        held = memory.deposit(deposit.dataset_id, deposit.dataset_version)
        if held is not None and held != deposit:
            held_root, _ = open_deposit(held, broker.keys.sealing)
            if held.manifest_digest != deposit.manifest_digest or held_root != root:
                raise ConflictError("another key is held for this dataset version", hint="versions are never replaced")
            if parse_datetime(held.issued_at) >= parse_datetime(deposit.issued_at):
                raise ConflictError("a later deposit is held for this dataset version", hint="sign it again")
        memory.put_deposit(deposit)
