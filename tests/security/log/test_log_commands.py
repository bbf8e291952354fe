"""The commands about logs, on a log with an entry of every kind: what they answer, and how they refuse."""

import base64
import json
import shutil
import sqlite3
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from opaque_jobs.client.log_heads import signed_log_key
from opaque_jobs.client.memory import Memory, memory_path
from opaque_jobs.crypto.checkpoints import sign_checkpoint, verify_checkpoint
from opaque_jobs.crypto.keys import SigningKey, VerifyKey
from opaque_jobs.crypto.service_keys import load_service_key
from opaque_jobs.domain.canonical import canonical_bytes
from opaque_jobs.domain.log import EntryKind, parse_entry
from opaque_jobs.errors import TrustError
from opaque_jobs.standalone.local_session import local_session


@pytest.fixture
def copy(history, tmp_path: Path):
    """A copy that a test may damage."""
    shutil.copytree(history.cast.home, tmp_path / "home")
    settings = replace(history.cast.services.context.settings, home=tmp_path / "home")
    context = replace(history.cast.services.context, settings=settings)
    services = replace(history.cast.services, context=context)
    return replace(history, cast=replace(history.cast, services=services))


def sql(home: Path, statement: str, *values: object) -> None:
    with closing(sqlite3.connect(home / "opaque-jobs.db")) as connection, connection:
        assert connection.execute(statement, values).rowcount == 1


def refused(result, code: int) -> dict:
    assert result.exit_code == code, result.output + result.stderr
    return json.loads(result.stderr)["error"]


def test_history_has_an_entry_of_every_kind(history):
    assert {each["kind"] for each in history.answers("log", "show", "Study")} == set(EntryKind)


def test_log_verify_of_a_sound_log_names_each_step_in_order(history):
    found = history.answers("log", "verify", "Study")
    assert (found["holds"], found["entry"]) == (True, None)
    assert [(each["number"], each["problem"]) for each in found["steps"]] == [(number, "") for number in range(1, 8)]
    shown = history.call("log", "verify", "Study", as_json=False)
    assert [line.split()[:2] for line in shown.stdout.splitlines()] == [[f"{number}.", "holds"] for number in range(1, 8)]


def test_log_verify_names_the_first_broken_entry(copy):
    where = "UPDATE log_entries SET body = replace(body, '2026-03-01T09', '2026-03-01T08') WHERE workspace_id = ? AND seq = 5"
    sql(copy.cast.home, where.replace("replace(body,", "CAST(replace(CAST(body AS TEXT),").replace("T08')", "T08') AS BLOB)"),
        copy.workspace_id)  # fmt: skip
    result = copy.call("log", "verify", "Study")
    error = refused(result, 8)
    assert (error["kind"], error["facts"]) == ("TrustError", {"entry": 5})
    assert "entry 5" in error["message"]
    assert json.loads(result.stdout)["entry"] == 5
    shown = copy.call("log", "verify", "Study", as_json=False)
    assert shown.exit_code == 8
    assert "FAILS" in shown.stdout.splitlines()[-1]
    assert "Traceback" not in shown.output


def test_log_verify_demands_the_members_own_key(copy):
    (copy.cast.services.context.settings.keys_dir / "lea.member.json").unlink()
    assert refused(copy.call("log", "verify", "Study"), 4)["kind"] == "NotFoundError"


def test_log_verify_remembers_what_it_verified(copy):
    memory_path(copy.cast.services.context.settings, "lea").unlink(missing_ok=True)
    size = len(copy.answers("log", "show", "Study"))
    copy.answers("log", "verify", "Study")
    assert memory_of(copy).log_head(copy.workspace_id).startswith(f"{size} ")


def test_log_verify_that_fails_remembers_nothing(copy):
    memory_path(copy.cast.services.context.settings, "lea").unlink(missing_ok=True)
    sql(copy.cast.home, "UPDATE log_entries SET subject = 'x' WHERE workspace_id = ? AND seq = 3", copy.workspace_id)
    assert refused(copy.call("log", "verify", "Study"), 8)["facts"] == {"entry": 3}
    assert memory_of(copy).log_head(copy.workspace_id) is None


def memory_of(copy) -> Memory:
    return Memory(memory_path(copy.cast.services.context.settings, "lea"))


OTHER_ROOT = base64.b64encode(bytes(32)).decode()


@pytest.mark.parametrize("seen", [f"3 {OTHER_ROOT}", "all", f"100000 {OTHER_ROOT}"])
def test_log_that_does_not_continue_what_a_member_has_seen_is_refused_and_not_remembered(copy, seen):
    size = copy.answers("log", "checkpoint", "Study")["size"]
    memory, known = memory_of(copy), f"{size} {OTHER_ROOT}" if seen == "all" else seen
    memory.advance_log_head(copy.workspace_id, before=memory.log_head(copy.workspace_id), after=known)
    error = refused(copy.call("log", "checkpoint", "Study"), 8)
    assert ("does not continue" in error["message"], error["facts"]["shown"]) == (True, size)
    assert memory.log_head(copy.workspace_id) == known


@pytest.mark.parametrize("seen", ["3 x", f"-1 {OTHER_ROOT}", ""])
def test_damaged_memory_of_logs_is_not_taken_for_none(copy, seen):
    memory = memory_of(copy)
    memory.advance_log_head(copy.workspace_id, before=memory.log_head(copy.workspace_id), after=seen)
    for command in ("checkpoint", "verify"):
        assert refused(copy.call("log", command, "Study"), 5)


def test_memory_of_logs_that_cannot_be_read_is_not_taken_for_none(copy):
    path = memory_path(copy.cast.services.context.settings, "lea")
    path.unlink(missing_ok=True)
    path.mkdir()
    assert refused(copy.call("log", "checkpoint", "Study"), 3)["kind"] == "ConfigurationError"


def test_checkpoint_that_another_key_signed_is_refused(copy):
    note = copy.answers("log", "checkpoint", "Study")["note"]
    known = memory_of(copy).log_head(copy.workspace_id)
    forged = sign_checkpoint(verify_checkpoint(note, log_key(copy), workspace_id=copy.workspace_id), SigningKey.generate())
    sql(copy.cast.home, "UPDATE logs SET checkpoint = ? WHERE workspace_id = ?", forged, copy.workspace_id)
    copy.cast.services.context.settings.log_key_path.unlink()
    assert "not signed" in refused(copy.call("log", "checkpoint", "Study"), 8)["message"]
    assert memory_of(copy).log_head(copy.workspace_id) == known


@pytest.mark.parametrize("command", [("checkpoint",), ("verify",), ("prove", "2")])
def test_log_is_verified_with_the_key_of_the_signed_list_and_not_one_that_the_database_names(copy, command):
    """The administrator signs the log anew with a key of theirs, and writes that into the list that is shown."""
    note, forger = copy.answers("log", "checkpoint", "Study")["note"], SigningKey.generate()
    known = memory_of(copy).log_head(copy.workspace_id)
    forged = sign_checkpoint(verify_checkpoint(note, log_key(copy), workspace_id=copy.workspace_id), forger)
    sql(copy.cast.home, "UPDATE logs SET checkpoint = ? WHERE workspace_id = ?", forged, copy.workspace_id)
    with closing(sqlite3.connect(copy.cast.home / "opaque-jobs.db")) as database:
        found = "SELECT digest, body FROM rosters WHERE workspace_id = ? AND state = 'in_force'"
        in_force, body = database.execute(found, (copy.workspace_id,)).fetchone()
    shown = canonical_bytes(json.loads(body) | {"log_key": forger.public.text})
    sql(copy.cast.home, "UPDATE rosters SET body = ? WHERE digest = ?", shown, in_force)
    copy.cast.services.context.settings.log_key_path.unlink()
    error = refused(copy.call("log", command[0], "Study", *command[1:]), 8)
    assert "not signed with the log's key" in error["message"] or "another log" in error["message"]
    assert memory_of(copy).log_head(copy.workspace_id) == known


def test_log_of_a_workspace_whose_list_the_member_never_signed_says_nothing(copy):
    with pytest.raises(TrustError, match="you signed no member list"):
        signed_log_key(
            local_session(copy.cast.services, copy.cast.people["mallory"].entry),
            copy.cast.people["mallory"].entry,
            copy.workspace_id,
        )


def log_key(copy) -> VerifyKey:
    return load_service_key(copy.cast.services.context.settings.log_key_path).public


def test_log_prove_gives_the_exact_leaf(history):
    proof = history.answers("log", "prove", "Study", "2")
    entry = parse_entry(base64.b64decode(proof["entry"]["leaf"]))
    assert (entry.seq, entry.workspace_id) == (2, history.workspace_id)
    assert proof["log_key"] == history.answers("log", "checkpoint", "Study")["log_key"]


def test_log_prove_of_an_entry_that_there_is_not_says_so(history):
    assert refused(history.call("log", "prove", "Study", "1000"), 5)["hint"] == "see 'opaque-jobs log show'"


def test_log_prove_of_a_changed_entry_is_refused(copy):
    sql(copy.cast.home, "UPDATE log_entries SET body = X'00' WHERE workspace_id = ? AND seq = 3", copy.workspace_id)
    assert refused(copy.call("log", "prove", "Study", "3"), 8)["facts"] == {"entry": 3}
    assert copy.call("log", "prove", "Study", "4").exit_code == 0


def test_log_export_writes_all_entries_and_never_over_a_file(history, tmp_path):
    file = tmp_path / "log.jsonl"
    shown = history.answers("log", "export", "Study", "--to", str(file))
    assert len(file.read_text().splitlines()) == shown["entries"] + 1
    assert file.stat().st_mode & 0o077 == 0
    assert refused(history.call("log", "export", "Study", "--to", str(file)), 7)["kind"] == "ConflictError"


@pytest.mark.parametrize(
    "attack",
    [
        "UPDATE log_entries SET body = X'00' WHERE workspace_id = ? AND seq = 9",
        "DELETE FROM log_entries WHERE workspace_id = ? AND seq = 9",
        "UPDATE log_nodes SET hash = zeroblob(32) WHERE workspace_id = ? AND level = 0 AND position = 8",
    ],
)
def test_log_export_of_a_damaged_log_leaves_no_file(copy, tmp_path, attack):
    sql(copy.cast.home, attack, copy.workspace_id)
    assert refused(copy.call("log", "export", "Study", "--to", str(tmp_path / "log.jsonl")), 8)["facts"] == {"entry": 9}
    assert not list(tmp_path.glob("*log.jsonl*"))


@pytest.mark.parametrize("command", [("verify",), ("prove", "0"), ("export", "--to", "nowhere.jsonl")])
def test_log_of_a_workspace_of_others_is_not_known(history, command):
    name, *rest = command
    result = history.call("log", name, "ws-unknown", *rest)
    assert refused(result, 4)["kind"] == "NotFoundError"
