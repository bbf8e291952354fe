"""What the services give of a log: to its members alone, within its bounds, and signed with its own key or not at all."""

import shutil
from dataclasses import replace

import pytest
from consortium import open_consortium

from opaque_jobs.crypto.checkpoints import verify_checkpoint
from opaque_jobs.crypto.keys import VerifyKey
from opaque_jobs.crypto.service_keys import create_service_key
from opaque_jobs.domain.canonical import digest
from opaque_jobs.domain.log import EntryKind, LogEntry
from opaque_jobs.errors import ConfigurationError, InvalidInputError, NotFoundError
from opaque_jobs.services import log_book
from opaque_jobs.store import log as rows
from opaque_jobs.store.records import LogEntryRecord

QUESTIONS = {
    "head": lambda logs, where, who: logs.head(where, actor=who),
    "entries": lambda logs, where, who: logs.entries(where, actor=who),
    "kept": lambda logs, where, who: list(logs.kept(where, actor=who)),
    "proven": lambda logs, where, who: list(logs.proven(where, actor=who, size=3)),
    "consistency": lambda logs, where, who: logs.consistency(where, actor=who, first=1, second=3),
}


@pytest.mark.parametrize("name", QUESTIONS)
def test_log_is_given_to_its_members_alone(history, name):
    logs, ask = history.cast.services.logs, QUESTIONS[name]
    assert ask(logs, history.workspace_id, history.cast.id("lea"))
    with pytest.raises(NotFoundError):
        ask(logs, history.workspace_id, history.cast.id("mallory"))


@pytest.mark.parametrize(
    "asked",
    [{"first": -1}, {"first": 4, "last": 3}, {"last": 6}, {"last": -1}, {"size": -1}, {"size": 100_000}, {"size": 0, "last": 1}],
)
def test_entries_outside_the_log_are_not_proved(history, asked):
    logs, lea = history.cast.services.logs, history.cast.id("lea")
    with pytest.raises(InvalidInputError):
        list(logs.proven(history.workspace_id, actor=lea, **({"size": 5} | asked)))


@pytest.mark.parametrize(("first", "second"), [(-1, 2), (3, 2), (1, 100_000), (-2, -1)])
def test_trees_that_are_not_in_the_log_are_not_compared(history, first, second):
    logs, lea = history.cast.services.logs, history.cast.id("lea")
    with pytest.raises(InvalidInputError):
        logs.consistency(history.workspace_id, actor=lea, first=first, second=second)


def test_all_of_the_log_is_given_up_to_its_bounds(history):
    logs, lea, where = history.cast.services.logs, history.cast.id("lea"), history.workspace_id
    size = logs.head(where, actor=lea).size
    assert [each.seq for each in logs.proven(where, actor=lea, size=size)] == list(range(size))
    assert list(logs.proven(where, actor=lea, size=size, first=size)) == []
    assert list(logs.proven(where, actor=lea, size=0)) == []
    assert logs.consistency(where, actor=lea, first=0, second=0) == []
    assert logs.consistency(where, actor=lea, first=size, second=size) == []
    assert [each.entry.seq for each in logs.entries(where, actor=lea, first=2, count=3)] == [2, 3, 4]


@pytest.fixture
def elsewhere(history, tmp_path):
    """The services on a machine that has the database and another log's key."""
    shutil.copytree(history.cast.home, tmp_path / "home")
    settings = replace(history.cast.services.context.settings, home=tmp_path / "home")
    settings.log_key_path.unlink()
    create_service_key(settings.log_key_path)
    return replace(history.cast.services.context, settings=settings)


def test_nothing_is_signed_with_another_key_than_the_logs(history, elsewhere):
    lea, where = history.cast.id("lea"), history.workspace_id
    before = history.cast.services.logs.head(where, actor=lea)
    with elsewhere.store.write() as session:
        note = log_book.sign_newest(elsewhere, session, where)
        assert verify_checkpoint(note, VerifyKey.parse(before.log_key), workspace_id=where).size == before.size
        with pytest.raises(ConfigurationError, match="not on this machine"):
            log_book.prove(elsewhere, session, where, statements={}, run_id="run-1")
        with pytest.raises(ConfigurationError, match="not on this machine"):
            log_book.page_after(elsewhere, session, where, 0)


def test_key_of_the_installation_stays_whatever_key_lies_on_the_machine(history, elsewhere):
    known = history.cast.services.logs.head(history.workspace_id, actor=history.cast.id("lea")).log_key
    with elsewhere.store.write() as session:
        assert log_book.installation_key(elsewhere, session) == known


def test_pages_hold_no_more_than_is_asked_and_end_with_the_log(history):
    context, where = history.cast.services.context, history.workspace_id
    with context.store.read() as session:
        page = log_book.page_after(context, session, where, 2, count=3)
        assert (page.first, [each.entry.seq for each in page.entries]) == (2, [2, 3, 4])
        assert page.checkpoint.split("\n")[1] == "5"
        whole = log_book.page_after(context, session, where, 0)
        kept = history.cast.services.logs.entries(where, actor=history.cast.id("lea"))
        assert [each.document and each.document.encode() for each in whole.entries] == [each.document for each in kept]
        assert log_book.page_after(context, session, where, 100_000) is None


def stored_directly(session, workspace_id, document):
    """Append what no service would: the weight alone counts here."""
    at, about = (
        rows.log(session, workspace_id).size,
        {"kind": EntryKind.OUTCOME, "subject": "run-1", "statement": digest(document)},
    )
    entry = LogEntry(v=1, workspace_id=workspace_id, seq=at, at="2026-01-01T00:00:00+00:00", facts={}, **about)
    rows.append(session, LogEntryRecord(workspace_id=workspace_id, seq=at, body=entry.to_bytes(), document=document, **about))


def test_page_is_no_heavier_than_is_sent_at_once_but_never_empty(tmp_path):
    cast = open_consortium(tmp_path / "home")
    context = cast.services.context
    context.settings.prepare()
    cast.settle_in()
    first = cast.services.logs.head(cast.workspace_id, actor=cast.id("lea")).size
    with context.store.write() as session:
        for size in (log_book.PAGE_BYTES + 1, 10, log_book.PAGE_BYTES - 10, 1):
            stored_directly(session, cast.workspace_id, b"." * size)
        for count in (1, 2, 1):
            page = log_book.page_after(context, session, cast.workspace_id, first)
            assert (page.first, len(page.entries)) == (first, count)
            first += count
    cast.services.close()
