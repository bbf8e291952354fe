"""An entry counts as what its kind says: a document of another kind is not entered, teaches no broker, and an audit finds it."""

from dataclasses import replace

import pytest

from opaque_jobs.broker.monitor import accept_page
from opaque_jobs.crypto.consent import APPROVAL
from opaque_jobs.crypto.log_documents import PREDICATE_TYPES, check_document
from opaque_jobs.crypto.signing import sign_statement
from opaque_jobs.domain.canonical import digest
from opaque_jobs.domain.log import EntryKind
from opaque_jobs.errors import InvalidInputError, OpaqueJobsError, TrustError
from opaque_jobs.services import log_book
from opaque_jobs.services.log_audit import audit_log
from tests.security.log.test_log_audit import Stored, found
from tests.world import World


def statement_of(predicate_type):
    return sign_statement(
        World().anna.key, predicate_type=predicate_type, subject_name="x", subject_digest=digest(b"x"), predicate={}
    )


DOCUMENTS = {kind: statement_of(predicate_type) for kind, predicate_type in PREDICATE_TYPES.items()}
DOCUMENTS[EntryKind.ROSTER] = World().make_roster().to_bytes()


@pytest.mark.parametrize("kind", EntryKind)
def test_entry_of_a_kind_names_documents_of_that_kind_alone(kind):
    fitting = []
    for of, document in DOCUMENTS.items():
        try:
            check_document(kind, document)
        except OpaqueJobsError:
            continue
        fitting.append(of)
    assert fitting == [kind] * (kind in DOCUMENTS)


@pytest.mark.parametrize("kind", EntryKind)
def test_entry_names_nothing_only_where_nothing_is_signed(kind):
    if kind in DOCUMENTS and kind is not EntryKind.OUTCOME:
        with pytest.raises(TrustError, match="names nothing"):
            check_document(kind, None)
    else:
        check_document(kind, None)


@pytest.mark.parametrize("document", [b"", b"{}", b"\xff", b"null"])
def test_entry_names_no_document_that_is_none(document):
    for kind in DOCUMENTS:
        with pytest.raises(InvalidInputError):
            check_document(kind, document)


def test_vote_is_entered_as_nothing_but_a_vote(history):
    cast, vote = history.cast, statement_of(APPROVAL)
    context = cast.services.context
    for kind in set(EntryKind) - {EntryKind.VOTE}:
        with pytest.raises(OpaqueJobsError), context.store.write() as session:
            log_book.append(context, session, cast.workspace_id, kind, "x", now=cast.clock(), document=vote)


def test_proof_shows_a_statement_only_where_it_stands_as_that_kind(history):
    stored, context = Stored(history), history.cast.services.context
    vote = digest(stored.entries[stored.first("vote")].document)
    with context.store.read() as session:
        shown = {
            kind: log_book.prove(context, session, history.cast.workspace_id, statements={kind: [vote]}, run_id="none").entries
            for kind in EntryKind
        }
    assert [kind for kind, entries in shown.items() if entries] == [EntryKind.VOTE]


@pytest.mark.parametrize("kind", ["outcome", "run", "test-run", "submission", "dataset", "withdrawal", "acceptance"])
def test_vote_that_stands_in_the_log_as_something_else_is_named_by_the_audit(history, kind):
    stored = Stored(history)
    at = stored.first("vote")
    stored.change(at, kind=kind)
    stored.sign()
    found(stored, 3, at)


def test_audit_names_a_receipt_that_stands_as_a_vote(history):
    stored = Stored(history)
    at = stored.first("outcome")
    stored.change(at, kind="vote")
    stored.sign()
    found(stored, 3, at)
    assert not audit_log(stored.entries, note=stored.note, in_force=stored.roster, witness=stored.witness).holds


def test_broker_learns_no_withdrawal_from_a_statement_of_another_kind(tmp_path):
    world = World()
    spec = world.make_spec()
    world.make_bundle(spec)
    broker = world.make_broker(world.hospital, tmp_path / "broker")
    votes = [text.encode() for text in world.votes(spec)]
    true = world.withdrawal(replace(spec, job_id="job-2"), world.carl)
    for document in (*votes, true):
        world.log.append(EntryKind.WITHDRAWAL, spec.job_id, document)
    assert accept_page(broker, world.log.page(0).to_bytes()) == world.log.tree.size
    with broker.store.transaction() as memory:
        assert memory.withdrawals("ws-1", spec.digest) == ()
        assert memory.withdrawals("ws-1", replace(spec, job_id="job-2").digest) == (true,)
