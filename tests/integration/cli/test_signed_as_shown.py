"""What commands sign is what they showed, or what was typed: each way in which a database would have something else signed."""

import os
import pty
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest


@pytest.fixture(scope="module")
def visits(cli):
    source = cli.home.parent / "seen.csv"
    source.write_text("id,ward\n1,north\n2,south\n")
    cli.json("dataset", "encrypt", str(source), "--name", "visits", "--as", "anna")
    cli.json("dataset", "share", "visits", "Study", "--as", "anna")


def submitted(cli, tmp_path: Path, text: str, *, replacing: str = "", name: str = "Rates") -> str:
    (tmp_path / "code.sql").write_text(text)
    source = str(tmp_path / "code.sql")
    job = ("job", "create", "Study", "--name", name, "--sql", source, "--dataset", "visits", "--tee", "simulated")
    drafted = cli.json(*job, *(("--replace", replacing) if replacing else ()), "--as", "anna")["id"]
    cli.json("job", "submit", drafted, "--no-test", "nothing to see", "--as", "anna")
    return drafted


@pytest.mark.parametrize("decision", [("approve",), ("reject", "--comment", "no")])
def test_job_that_was_not_displayed_is_not_voted_on_without_its_digest(cli, visits, tmp_path, decision):
    job = submitted(cli, tmp_path, "SELECT 1 AS n FROM visits", name=f"Unseen {decision[0]}")
    vote = ("review", *decision, job, "--as", "lea")
    for more in ((), ("--json",)):
        assert "was not displayed to you" in cli.fails(7, vote[0], decision[0], job, *decision[1:], "--as", "lea", *more)
    assert "lea" in cli.json("review", "show", job, "--as", "ben")["waiting_for"]
    shown = cli.json("review", "show", job, "--as", "ben")["job_digest"]  # shown to another member
    assert "was not displayed to you" in cli.fails(7, *vote)
    cli.json(*vote, "--digest", shown)


def test_job_submitted_again_since_it_was_displayed_is_not_approved(cli, visits, tmp_path):
    """The author shows one thing and has another approved."""
    job = submitted(cli, tmp_path, "SELECT count(*) AS n FROM visits", name="Resubmitted")
    cli.json("review", "show", job, "--as", "lea")
    cli.json("review", "cancel", job, "--as", "anna")
    submitted(cli, tmp_path, "SELECT * FROM visits", replacing=job, name="Resubmitted")
    for name in (job, "Resubmitted"):
        assert "changed since" in cli.fails(7, "review", "approve", name, "--as", "lea")
    assert "lea" in cli.json("review", "show", job, "--as", "lea")["waiting_for"]
    assert "lea" not in cli.json("review", "approve", job, "--as", "lea")["waiting_for"]


def test_job_displayed_under_its_own_name_is_not_approved_by_the_name_of_another(cli, visits, tmp_path):
    """The database calls a job that the member looked at, and did not like, as one that they want."""
    bad = submitted(cli, tmp_path, "SELECT * FROM visits", name="Bad")
    cli.json("review", "show", bad, "--as", "lea")
    with closing(sqlite3.connect(cli.home / "opaque-jobs.db")) as database, database:
        database.execute("UPDATE jobs SET draft = CAST(replace(draft, '\"Bad\"', '\"Good\"') AS BLOB) WHERE id = ?", (bad,))
    assert "called otherwise" in cli.fails(8, "review", "approve", "Good", "--as", "lea")


def answering(cli, answer: str, *arguments: str) -> str:
    """Run a command at a terminal and answer its question."""
    ours, theirs = pty.openpty()
    environment = {**os.environ, "OPAQUE_JOBS_HOME": str(cli.home), "OPAQUE_JOBS_PASSPHRASE_FILE": str(cli.passphrase_file)}
    command = [sys.executable, "-m", "opaque_jobs.cli", *arguments]
    running = subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=theirs, env=environment)
    os.close(theirs)
    os.write(ours, answer.encode() + b"\n")
    said = b""
    try:
        while part := os.read(ours, 65536):
            said += part
    except OSError:  # its end
        pass
    os.close(ours)
    running.wait(timeout=60)
    return said.decode()


def test_job_that_was_not_displayed_is_displayed_at_a_terminal_and_signed_if_the_member_says_so(cli, visits, tmp_path):
    job = submitted(cli, tmp_path, "SELECT 42 AS answer FROM visits", name="Asked")
    digest = cli.json("review", "show", job, "--as", "ben")["job_digest"].removeprefix("sha256:")
    said = answering(cli, "n", "review", "approve", job, "--as", "lea")
    assert "42" in said
    assert f"Sign exactly this, {digest[:4]} {digest[4:8]}" in said
    assert "nothing was signed" in said
    assert "lea" in cli.json("review", "show", job, "--as", "ben")["waiting_for"]
    # Who declined has not agreed to it: it is displayed and asked again, and without a terminal refused.
    assert "was not displayed to you" in cli.fails(7, "review", "approve", job, "--as", "lea")
    assert "42" in answering(cli, "y", "review", "approve", job, "--as", "lea")
    assert "lea" not in cli.json("review", "show", job, "--as", "ben")["waiting_for"]


def test_member_list_that_was_not_displayed_or_changed_since_is_not_accepted(cli):
    first = cli.json("workspace", "change", "Study", "--run-policy", "all_members", "--as", "anna")
    accept = ("workspace", "accept", "Study", "--as", "lea")
    assert "was not displayed to you" in cli.fails(7, *accept)  # what she saw and signed before this one is used up
    shown = cli.json("workspace", "show", "Study", "--as", "lea")["proposed"]
    assert shown["digest"] == first["proposed"]["digest"]
    assert (shown["log_key_id"][:7], shown["organisations"]["Laboratory"]) == ("sha256:", ["lea"])
    cli.json("workspace", "cancel", "Study", "--as", "anna")
    cli.json("workspace", "change", "Study", "--approval-group", "One:1:anna", "--as", "anna")
    try:
        assert "changed since" in cli.fails(7, *accept)
        assert "lea" in cli.json("workspace", "show", "Study", "--as", "lea")["waiting_for"]
        assert "lea" not in cli.json(*accept)["waiting_for"]
    finally:
        cli.json("workspace", "cancel", "Study", "--as", "lea")
