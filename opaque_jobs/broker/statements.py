"""The broker's administrative side: deposits and sharing by its own members, member lists and withdrawals by all.

Everything is verified before it is kept, and only what is signed by the right people changes anything; so these need no log-in.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from opaque_jobs.broker.release import Broker
from opaque_jobs.broker.store import Transaction
from opaque_jobs.broker.taking import check_not_from_the_future, take_roster, take_sharing
from opaque_jobs.crypto.consent import roster_refusals, verify_manifest, verify_withdrawal
from opaque_jobs.crypto.custody import check_policy, open_deposit, verify_deposit
from opaque_jobs.crypto.release import verify_hold
from opaque_jobs.crypto.signing import claimed_subject
from opaque_jobs.domain.canonical import parse_json, require_fields
from opaque_jobs.domain.document import from_json
from opaque_jobs.domain.inputs import parse_datetime
from opaque_jobs.domain.release import HoldScope
from opaque_jobs.domain.workspace import parse_roster
from opaque_jobs.errors import ConflictError, InvalidInputError, TrustError

__all__ = ["EarlierList", "Statements", "accept_deposit", "accept_statements", "parse_statements"]


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
        InvalidInputError: Another form.
    """
    return from_json(Statements, parse_json(body, what="statements"), what="statements")


def accept_statements(broker: Broker, statements: Statements) -> None:
    """Verify and remember; all or nothing, but for withdrawals and holds, which are kept even if the rest is not believed.

    Raises:
        InvalidInputError: Something does not parse.
        TrustError: Something does not hold, is by a stranger, or is older than what is known.
    """
    _keep_holds(broker, statements)
    _keep_withdrawals(broker, statements)
    with broker.store.transaction() as memory:
        if statements.roster is not None:
            _accept_roster(broker, memory, statements.roster, statements.acceptances, statements.earlier)
        for text in statements.sharings:
            take_sharing(broker, memory, text.encode())


def _keep_holds(broker: Broker, statements: Statements) -> None:
    """Keep holds by own members.

    Raises:
        ConflictError: One is on the member list in force, for which it comes too late.
        InvalidInputError: Something does not parse.
        TrustError: One is by a stranger, dated in the future, or older than the one known.
    """
    config, now = broker.config, broker.clock()
    with broker.store.transaction() as memory:
        for text in statements.holds:
            hold = verify_hold(text.encode(), config.member_keys, organisation_id=config.organisation_id)
            check_not_from_the_future(hold.issued_at, now)
            if hold.scope is HoldScope.ROSTER and hold.held and memory.believes(hold.subject):
                raise ConflictError(
                    "this member list is in force: all have signed it, and it cannot be taken back",
                    hint="'opaque-jobs broker hold' stops releases; 'opaque-jobs workspace change' proposes another list",
                )
            if not memory.put_hold(hold):
                raise TrustError("a hold is older than the one known", hint="sign it again")


def _keep_withdrawals(broker: Broker, statements: Statements) -> None:
    """Keep withdrawals by members of the list that came with them, if all in it accepted it and somebody pinned here is one.

    Raises:
        InvalidInputError: Something does not parse, or there is no list.
        TrustError: One is by a stranger, or the list is not such a one; nothing is kept, and must not seem to be.
    """
    if not statements.withdrawals:
        return
    if statements.roster is None:
        raise InvalidInputError("a withdrawal came without member list", hint="send the workspace's member list with it")
    roster = parse_roster(statements.roster.encode())
    found = [(claimed_subject(text.encode()), text.encode()) for text in statements.withdrawals]
    for job_digest, envelope in found:
        verify_withdrawal(envelope, job_digest=job_digest, roster=roster)
    pinned = {member.key_id for member in broker.config.members}
    with broker.store.transaction() as memory:
        accepted = {*memory.acceptances(roster), *(each.encode() for each in statements.acceptances)}
        # Strangers cannot fill this memory: a list counts only with a signature by one of our own people.
        reasons = roster_refusals(roster, accepted) or ([] if pinned & roster.key_ids else ["own-members-not-pinned"])
        if reasons:
            raise _unbelieved(reasons)
        for job_digest, envelope in found:
            memory.put_withdrawal(roster.workspace_id, job_digest, envelope)


def _unbelieved(reasons: list[str]) -> TrustError:
    return TrustError(
        "this broker does not believe the member list",
        hint="every member must accept it, and own members' keys be pinned where this broker lives: 'opaque-jobs broker pin'",
        reasons=",".join(reasons),
    )


def _accept_roster(
    broker: Broker, memory: Transaction, text: str, acceptances: Sequence[str], earlier: Sequence[EarlierList]
) -> None:
    line = [(parse_roster(text.encode()), acceptances)]
    for each in reversed(earlier):
        before = parse_roster(each.roster.encode())
        if before.digest == line[-1][0].previous:  # what is not in its line is not kept
            line.append((before, each.acceptances))
    reasons: list[str] = []
    for roster, signed in reversed(line):  # the one in force decides, by what it follows
        reasons = take_roster(broker, memory, roster, [envelope.encode() for envelope in signed])
    if reasons:
        raise _unbelieved(reasons)


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
