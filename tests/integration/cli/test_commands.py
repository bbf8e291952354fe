"""Commands over real services, key files and brokers."""

import json
import re
import sqlite3
from contextlib import closing

import pytest

from opaque_jobs.domain.canonical import digest

VISITS = "patient,age,ward\n" + "".join(f"p{number},{20 + number},{'AB'[number % 2]}\n" for number in range(40))
SQL = "SELECT ward, count(*) AS n FROM visits GROUP BY ward"


@pytest.fixture(scope="module")
def visits(cli):
    source = cli.home.parent / "visits.csv"
    source.write_text(VISITS)
    cli.json("dataset", "encrypt", str(source), "--name", "visits", "--where", "age >= 30", "--column", "ward", "--as", "anna")
    cli.json("dataset", "share", "visits", "Study", "--as", "anna")
    return source


@pytest.fixture
def draft(cli, visits, tmp_path):
    code = tmp_path / "wards.sql"
    code.write_text(SQL)
    return cli.json(
        *("job", "create", "Study", "--name", "Wards", "--sql", str(code), "--dataset", "visits:ward"),
        *("--tee", "simulated", "--as", "anna"),
    )["id"]


def submit(cli, job_id):
    return cli.json("job", "submit", job_id, "--no-test", "nothing to see", "--as", "anna")


def test_workspace_accepted_by_everybody_is_active(cli):
    shown = cli.json("workspace", "show", "Study", "--as", "lea")
    assert (shown["status"], shown["epoch"], shown["waiting_for"]) == ("active", 1, [])
    assert sorted(shown["members"]) == ["anna", "ben", "lea"]


def test_dataset_encrypted_shows_columns_and_no_policy(cli, visits):
    shown = cli.json("dataset", "show", "visits", "--as", "anna")
    assert shown["rows"] == 40
    assert list(shown["columns"]) == ["patient", "age", "ward"]
    assert "30" not in json.dumps(shown["description"])
    folder = cli.settings.dataset_dir(shown["id"], 1)
    assert all(b"p17" not in part.read_bytes() for part in folder.iterdir())


def test_dataset_verify_after_a_flipped_byte_ends_with_8(cli, visits, tmp_path):
    cli.json("dataset", "encrypt", str(visits), "--name", "flipped", "--as", "anna")
    shown = cli.json("dataset", "show", "flipped", "--as", "anna")
    assert cli("dataset", "verify", "flipped", "--as", "anna").exit_code == 0
    part = cli.settings.dataset_dir(shown["id"], 1) / "part-00000.parquet"
    data = bytearray(part.read_bytes())
    data[len(data) // 2] ^= 1
    part.chmod(0o600)
    part.write_bytes(data)
    assert "part-00000.parquet" in cli.fails(8, "dataset", "verify", "flipped", "--as", "anna")


def test_dataset_encrypt_of_a_broken_file_keeps_nothing(cli, tmp_path):
    source = tmp_path / "broken.csv"
    source.write_text("a,b\n1,2\n1,2,secret-cell\n")
    before = sorted(cli.settings.datasets_dir.glob("*"))
    message = cli.fails(5, "dataset", "encrypt", str(source), "--name", "broken", "--as", "anna")
    assert "secret-cell" not in message
    assert sorted(cli.settings.datasets_dir.glob("*/*")) == [version for each in before for version in sorted(each.glob("*"))]


def test_dataset_encrypt_with_a_condition_on_an_unknown_column_keeps_nothing(cli, visits):
    before = len(list(cli.settings.datasets_dir.glob("*/*")))
    cli.fails(5, "dataset", "encrypt", str(visits), "--name", "more", "--where", "height > 3", "--as", "anna")
    assert len(list(cli.settings.datasets_dir.glob("*/*"))) == before


def test_dataset_encrypt_while_the_broker_is_away_says_so_and_keeps_nothing(cli, visits):
    address = cli.json("org", "show", "Hospital")["broker"]
    cli.json("broker", "move", "Hospital", "http://127.0.0.1:1")
    try:
        before = len(list(cli.settings.datasets_dir.glob("*/*")))
        message = cli.fails(3, "dataset", "encrypt", str(visits), "--name", "away", "--as", "anna")
        assert "cannot be reached" in message
        assert len(list(cli.settings.datasets_dir.glob("*/*"))) == before
    finally:
        cli.json("broker", "move", "Hospital", address)


def test_review_by_everybody_accepts_the_job(cli, draft):
    shown = submit(cli, draft)
    assert (shown["status"], sorted(shown["waiting_for"])) == ("under_review", ["ben", "lea"])
    cli.vote("approve", draft, "ben")
    assert cli.json("review", "approve", draft, "--digest", shown["job_digest"], "--as", "lea")["status"] == "accepted"
    assert cli.json("job", "show", draft, "--as", "lea")["status"] == "accepted"


def test_draft_that_is_not_what_was_written_here_is_shown_and_submitted_with_its_digest(cli, draft):
    with closing(sqlite3.connect(cli.home / "opaque-jobs.db")) as database, database:
        database.execute("UPDATE jobs SET draft = CAST(replace(draft, 'count(*)', 'max(ward)') AS BLOB) WHERE id = ?", (draft,))
    submitting = ("job", "submit", draft, "--no-test", "nothing to see", "--as", "anna")
    result = cli(*submitting)
    assert result.exit_code == 7
    assert "max(ward)" in result.stdout
    digests = re.findall(rf"job submit {draft} --digest (sha256:[0-9a-f]+)", " ".join(result.stdout.split()))
    assert cli.fails(7, *submitting, "--digest", digest(b"another"))
    assert cli.json(*submitting, "--digest", *digests)["job_digest"] == digests[0]


def test_draft_of_a_pinned_query_is_looked_at_before_it_is_signed(cli, visits, tmp_path):
    (tmp_path / "wards.sql").write_text(SQL)
    cli.json("query", "pin", "Study", "seen", "--sql", str(tmp_path / "wards.sql"), "--as", "anna")
    job = ("job", "create", "Study", "--dataset", "visits:ward", "--tee", "simulated", "--pinned", "seen", "--as", "anna")
    assert "not what you wrote here" in cli.fails(7, "job", "submit", cli.json(*job)["id"], "--no-test", "none", "--as", "anna")
    cli.json("query", "unpin", "Study", "seen", "--as", "anna")


def test_review_show_prints_exactly_what_is_signed(cli, draft):
    submit(cli, draft)
    shown = cli.json("review", "show", draft, "--as", "lea")
    assert shown["spec"]["code"]["text"] == SQL
    assert shown["spec"]["datasets"][0]["columns"] == ["ward"]
    assert shown["spec"]["tee_kinds"] == ["simulated"]


def test_review_approve_with_another_digest_is_refused(cli, draft):
    submit(cli, draft)
    cli.fails(7, "review", "approve", draft, "--digest", digest(b"another"), "--as", "ben")
    assert sorted(cli.json("review", "show", draft, "--as", "anna")["waiting_for"]) == ["ben", "lea"]


def test_review_reject_then_cancel_gives_a_draft_again(cli, draft):
    submit(cli, draft)
    assert cli.fails(2, "review", "reject", draft, "--as", "lea")
    rejected = cli.vote("reject", draft, "lea", "--comment", "too wide")
    assert rejected["votes"][-1]["comment"] == "too wide"
    cli.json("review", "cancel", draft, "--as", "anna")
    assert cli.json("job", "show", draft, "--as", "anna")["status"] == "draft"


def test_review_withdraw_reaches_the_brokers(cli, draft):
    submit(cli, draft)
    for member in ("ben", "lea"):
        cli.vote("approve", draft, member)
    assert cli.json("consent", "withdraw", draft, "--as", "lea")["status"] == "withdrawn"


def test_owner_holds_a_job_by_its_name_id_or_digest_and_lifts_it(cli, draft):
    submit(cli, draft)
    name = cli.json("job", "show", draft, "--as", "lea")["name"]
    shown = cli.json("review", "show", draft, "--as", "lea")["job_digest"]
    for named in (draft, shown):
        held = cli.json("broker", "hold", "--job", named, "--as", "lea")
        assert (held["scope"], held["subject"], held["held"]) == ("job", named, True)
        assert not cli.json("broker", "hold", "--job", named, "--lift", "--as", "lea")["held"]
    assert "one thing" in cli.fails(5, "broker", "hold", "--job", draft, "--list", shown, "--as", "lea")
    assert "one thing" in cli.fails(5, "broker", "hold", "--job", "", "--lift", "--as", "lea")
    assert "no digest" in cli.fails(5, "broker", "hold", "--list", "Study", "--as", "lea")
    cli.fails(4, "broker", "hold", "--job", name + " of nobody", "--as", "lea")


def test_owner_holds_everything_without_a_database(cli):
    database = cli.home / "opaque-jobs.db"
    aside = database.rename(cli.home / "aside.db")
    database.mkdir()
    try:
        assert cli.json("broker", "hold", "--as", "lea")["scope"] == "all"
        assert not cli.json("broker", "hold", "--lift", "--as", "lea")["held"]
    finally:
        database.rmdir()
        aside.rename(database)


def test_member_list_is_accepted_by_its_digest_and_taken_back_for_good(cli):
    waiting = cli.json("workspace", "change", "Study", "--run-policy", "all_members", "--as", "anna")
    cli.fails(7, "workspace", "accept", "Study", "--digest", digest(b"another"), "--as", "lea")
    cli.json("workspace", "accept", "Study", "--digest", waiting["proposed"]["digest"], "--as", "lea")
    assert cli.json("workspace", "cancel", "Study", "--as", "lea")["never_believed"] == waiting["proposed"]["digest"]
    listed = ("broker", "hold", "--list", waiting["proposed"]["digest"], "--lift", "--as", "lea")
    assert cli.json(*listed)["scope"] == "roster"
    assert cli.json("workspace", "show", "Study", "--as", "lea")["epoch"] == 1


def test_vote_with_a_wrong_passphrase_is_refused_and_not_counted(cli, draft, tmp_path):
    submit(cli, draft)
    wrong = tmp_path / "wrong"
    wrong.write_text("not the passphrase\n")
    wrong.chmod(0o600)
    cli.json("review", "show", draft, "--as", "lea")
    message = cli.fails(8, "review", "approve", draft, "--as", "lea", passphrase=wrong)
    assert "not the passphrase" not in message
    assert "lea" in cli.json("review", "show", draft, "--as", "anna")["waiting_for"]


def test_vote_with_a_key_that_is_not_the_members_is_refused(cli, draft):
    submit(cli, draft)
    cli.json("review", "show", draft, "--as", "lea")
    keys = cli.settings.keys_dir
    own, other = keys / "lea.member.json", keys / "ben.member.json"
    kept = own.read_bytes()
    own.write_bytes(other.read_bytes())
    try:
        cli.fails(8, "review", "approve", draft, "--as", "lea")
    finally:
        own.write_bytes(kept)
    assert "lea" in cli.json("review", "show", draft, "--as", "anna")["waiting_for"]


def test_job_with_a_column_that_is_not_there_is_refused_at_submission(cli, visits, tmp_path):
    code = tmp_path / "height.sql"
    code.write_text("SELECT height FROM visits")
    job = ("job", "create", "Study", "--sql", str(code), "--dataset", "visits:height", "--tee", "simulated", "--as", "anna")
    result = cli(*job, "--json")
    if result.exit_code == 0:
        cli.fails(5, "job", "submit", json.loads(result.stdout)["id"], "--no-test", "none", "--as", "anna")
    else:
        assert result.exit_code == 5


def test_job_on_hardware_is_drafted_only_by_an_author_who_says_that_it_is_experimental(cli, visits, tmp_path):
    code, policy = tmp_path / "wards.sql", tmp_path / "policy.json"
    code.write_text(SQL)
    policy.write_text(json.dumps({"nitro": {"pcrs": {"0": ["ab" * 48]}}}))
    job = ("job", "create", "Study", "--name", "Hard", "--sql", str(code), "--dataset", "visits:ward", "--as", "anna")
    on_nitro = (*job, "--tee", "nitro", "--tee-policy", str(policy))
    assert "--experimental-hardware" in cli.fails(5, *on_nitro)
    assert "simulated enclaves beside hardware" in cli.fails(5, *on_nitro, "--tee", "simulated", "--experimental-hardware")
    assert "experimental" in cli.fails(5, *job, "--tee", "simulated", "--experimental-hardware")
    made = cli.json(*on_nitro, "--experimental-hardware")
    assert (made["tee_kinds"], made["experimental_hardware"]) == (["nitro"], True)


def test_job_without_data_says_so_when_drafted_and_when_submitted(cli, visits, tmp_path):
    code = tmp_path / "one.sql"
    code.write_text("SELECT 1 AS one")
    made = cli("job", "create", "Study", "--name", "Dry", "--sql", str(code), "--tee", "simulated", "--as", "anna", "--json")
    assert "reads no data set" in made.stderr
    job_id = json.loads(made.stdout)["id"]
    assert f"--replace {job_id}" in made.stderr
    assert "reads no data set" in cli.fails(5, "job", "submit", job_id, "--no-test", "none", "--as", "anna")


def test_name_of_two_jobs_is_answered_with_their_ids(cli, visits, tmp_path):
    code = tmp_path / "twice.sql"
    code.write_text(SQL)
    create = ("job", "create", "Study", "--name", "Twice", "--sql", str(code), "--dataset", "visits:ward", "--tee", "simulated")
    first, second = (cli.json(*create, "--as", "anna")["id"] for _ in range(2))
    message = cli.fails(5, "job", "show", "Twice", "--as", "anna")
    assert "ambiguous" in message
    assert first in message
    assert second in message
    cli.json("job", "archive", first, "--as", "anna")
    assert cli.json("job", "show", "Twice", "--as", "anna")["id"] == second


def test_withdrawal_reaches_the_accepted_revision_beside_a_later_one(cli, draft):
    submit(cli, draft)
    for member in ("ben", "lea"):
        cli.vote("approve", draft, member)
    cli.json("job", "revise", draft, "--as", "anna")
    submit(cli, draft)
    cli.vote("reject", draft, "ben", "--comment", "no")
    cli.json("consent", "withdraw", draft, "--as", "lea")
    assert [each["status"] for each in cli.json("job", "show", draft, "--as", "lea")["revisions"]] == ["withdrawn", "rejected"]


def test_job_of_a_stranger_is_not_found(cli, draft):
    cli.json("member", "create", "mallory", "--org", "Laboratory")
    cli.fails(4, "job", "show", draft, "--as", "mallory")


def test_command_without_knowing_for_whom_says_what_to_give(cli):
    assert "--as" in cli.fails(5, "job", "list")


def test_dataset_unshared_is_no_longer_in_the_workspace(cli, visits):
    cli.json("dataset", "encrypt", str(visits), "--name", "lent", "--as", "ben")
    cli.json("dataset", "share", "lent", "Study", "--as", "ben")
    assert "lent" in [each["name"] for each in cli.json("dataset", "list", "--workspace", "Study", "--as", "lea")]
    cli.json("dataset", "unshare", "lent", "Study", "--as", "ben")
    assert "lent" not in [each["name"] for each in cli.json("dataset", "list", "--workspace", "Study", "--as", "lea")]


def test_run_start_without_airflow_says_how_to_start_it(cli, draft):
    submit(cli, draft)
    assert "opaque-jobs up" in cli.fails(3, "run", "start", draft, "--as", "anna")


def test_query_pinned_is_its_owners_alone_and_makes_a_job(cli, visits, tmp_path):
    code = tmp_path / "wards.sql"
    code.write_text(SQL)
    cli.json("query", "pin", "Study", "by ward", "--sql", str(code), "--as", "anna")
    assert [each["name"] for each in cli.json("query", "list", "Study", "--as", "anna")] == ["by ward"]
    assert cli.json("query", "list", "Study", "--as", "lea") == []
    assert cli.json("query", "show", "Study", "by ward", "--as", "anna")["text"] == SQL
    cli.fails(4, "query", "show", "Study", "by ward", "--as", "lea")
    job = ("job", "create", "Study", "--dataset", "visits:ward", "--tee", "simulated", "--pinned", "by ward")
    assert cli.json("job", "show", cli.json(*job, "--as", "anna")["id"], "--as", "anna")["code"] == SQL
    cli.fails(4, *job, "--as", "lea")
    cli.fails(5, *job, "--sql", str(code), "--as", "anna")
    cli.json("query", "unpin", "Study", "by ward", "--as", "anna")
    cli.fails(4, *job, "--as", "anna")


def test_query_pin_without_a_file_is_refused(cli):
    cli.fails(5, "query", "pin", "Study", "nothing", "--as", "anna")


def test_job_with_sql_that_does_not_seem_to_parse_is_drafted_with_a_warning(cli, visits, tmp_path):
    code = tmp_path / "broken.sql"
    code.write_text("SELECT ward\nFROM visits\nWHERE")
    job = ("job", "create", "Study", "--sql", str(code), "--dataset", "visits:ward", "--tee", "simulated", "--as", "anna")
    (warning,) = cli.json(*job)["warnings"]
    assert warning["line"] == 3
    result = cli(*job)
    assert result.exit_code == 0
    assert "line 3" in " ".join(result.stderr.split())
    assert "line 3" not in result.stdout


@pytest.fixture(scope="module")
def board(cli):
    """A workspace of the three in which two are enough, and a data set of anna's in it."""
    cli.json(
        *("workspace", "create", "Board", "--member", "ben", "--member", "lea", "--as", "anna"),
        *("--approval-group", "Both sides:2:anna,lea,ben"),
    )
    for member in ("anna", "ben", "lea"):
        shown = cli.accept("Board", member)
    assert shown["approval_rule"] == "groups"
    assert shown["approval_groups"] == [{"name": "Both sides", "threshold": 2, "members": ["anna", "ben", "lea"]}]
    cli.json("dataset", "encrypt", str(cli.home.parent / "visits.csv"), "--name", "seen", "--as", "anna")
    cli.json("dataset", "share", "seen", "Board", "--as", "anna")


@pytest.fixture
def board_job(cli, visits, board, tmp_path):
    code = tmp_path / "wards.sql"
    code.write_text("SELECT ward FROM seen")
    job = ("job", "create", "Board", "--sql", str(code), "--dataset", "seen:ward", "--tee", "simulated", "--as", "anna")
    job_id = cli.json(*job)["id"]
    assert submit(cli, job_id)["still_needed"] == [{"from": "Both sides", "missing": 1, "members": ["ben", "lea"]}]
    return job_id


def test_review_where_a_group_decides_is_over_with_its_threshold(cli, board_job):
    shown = cli.vote("approve", board_job, "lea")
    assert (shown["status"], shown["approval_rule"], shown["still_needed"]) == ("accepted", "groups", [])
    cli.fails(7, "review", "approve", board_job, "--as", "ben")


def test_review_rejected_where_a_group_decides_must_reach_the_brokers(cli, board_job):
    address = cli.json("org", "show", "Laboratory")["broker"]
    cli.json("broker", "move", "Laboratory", "http://127.0.0.1:1")
    cli.json("review", "show", board_job, "--as", "ben")
    try:
        assert "tell-brokers" in cli.fails(3, "review", "reject", board_job, "--comment", "too wide", "--as", "ben")
    finally:
        cli.json("broker", "move", "Laboratory", address)
    assert cli.json("job", "show", board_job, "--as", "lea")["status"] == "rejected"
    assert cli("workspace", "tell-brokers", "Board", "--as", "lea").exit_code == 0


@pytest.mark.parametrize("text", ["Board", "Board:2", "Board:x:anna", "Board:2:anna", "Board:1:anna,anna", "a/b:1:anna"])
def test_approval_group_that_is_not_well_formed_is_refused(cli, text):
    cli.fails(5, "workspace", "create", "Another", "--member", "lea", "--approval-group", text, "--as", "anna")


def test_workspace_cannot_be_unanimous_and_have_groups(cli, board):
    cli.fails(5, "workspace", "change", "Board", "--unanimous", "--approval-group", "A:1:anna", "--as", "anna")


def test_data_set_is_refreshed_under_its_own_name_only(cli, visits):
    cli.json("dataset", "encrypt", str(visits), "--name", "weekly", "--as", "ben")
    found = {each["name"]: each["id"] for each in cli.json("dataset", "list", "--as", "ben")}
    again = ("dataset", "encrypt", str(visits), "--as", "ben", "--name")
    assert "another name" in cli.fails(7, *again, "weekli", "--refresh", "--id", found["weekly"])
    assert "--refresh" in cli.fails(5, *again, "weekly", "--id", found["weekly"])
    assert cli.json(*again, "weekly", "--refresh", "--id", found["weekly"])["version"] == 2


def test_refresh_keeps_its_commitment_exactly_under_the_same_rule(cli, visits):
    rule = ("--where", "age >= 18", "--column", "age")
    command = ("dataset", "encrypt", str(visits), "--name", "ruled", "--as", "ben")
    first = cli.json(*command, *rule)
    again = cli.json(*command, *rule, "--refresh")
    assert again["policy_commitment"] == first["policy_commitment"]
    shown = cli.json("dataset", "show", "ruled", "--as", "ben")
    test = {"column": "age", "type": "int64", "operator": ">=", "values": ["18"]}
    assert shown["policy"] == {"columns": ["age"], "row_rule": test}

    assert cli.json(*command, "--refresh")["policy_commitment"] == first["policy_commitment"]
    wider = cli(*command, "--where", "age >= 17", "--refresh", "--yes")
    assert "need a new review" in " ".join(wider.stderr.split())
    assert cli.json("dataset", "show", "ruled", "--as", "ben")["policy_commitment"] != first["policy_commitment"]
    assert cli.json(*command, *rule, "--refresh", "--yes")["policy_commitment"] == first["policy_commitment"]


def test_rule_is_shown_to_its_owner_only_and_only_where_it_is_kept(cli, visits):
    made = cli.json("dataset", "encrypt", str(visits), "--name", "unkept", "--where", "age >= 18", "--as", "anna")
    cli.json("dataset", "share", "unkept", "Study", "--as", "anna")
    theirs = cli.json("dataset", "show", made["id"], "--as", "lea")
    assert "policy" not in theirs
    assert theirs["policy_commitment"].startswith("sha256:")
    for path in cli.settings.keys_dir.glob("*.policies.db"):
        path.unlink()
    shown = cli("dataset", "show", "unkept", "--as", "anna")
    assert "no rule that is kept here" in " ".join(shown.stderr.split())


def test_keys_that_are_forgotten_are_gone_for_good_and_each_workspaces_log_says_so(cli, tmp_path):
    (tmp_path / "gone.csv").write_text("id,word\n1,a\n2,b\n")
    made = cli.json("dataset", "encrypt", str(tmp_path / "gone.csv"), "--name", "gone", "--as", "anna")["id"]
    cli.json("dataset", "share", "gone", "Study", "--as", "anna")
    cli.json("dataset", "unshare", "gone", "Study", "--as", "anna")
    assert "confirmed" in cli.fails(5, "broker", "forget", "gone", "--as", "anna")
    assert cli("dataset", "policy", "show", "gone", "--as", "anna").exit_code == 0
    cli.json("broker", "forget", "gone", "--yes", "--as", "anna")
    entries = cli.json("log", "show", "Study", "--count", "1000", "--as", "lea")
    assert [each["about"] for each in entries if each["kind"] == "erasure"] == [made]
    assert cli("dataset", "policy", "show", "gone", "--as", "anna").exit_code != 0
    assert cli("log", "verify", "Study", "--as", "lea").exit_code == 0


def test_data_set_deleted_with_its_keys_is_logged_as_broker_forget_logs_it(cli, tmp_path):
    (tmp_path / "left.csv").write_text("id,word\n1,a\n2,b\n")
    made = cli.json("dataset", "encrypt", str(tmp_path / "left.csv"), "--name", "left", "--as", "anna")["id"]
    cli.json("dataset", "share", "left", "Study", "--as", "anna")
    # While it is shared, nothing is destroyed.
    assert cli("dataset", "delete", "left", "--forget-keys", "--yes", "--as", "anna").exit_code != 0
    cli.json("dataset", "unshare", "left", "Study", "--as", "anna")

    def erased() -> list[str]:
        entries = cli.json("log", "show", "Study", "--count", "1000", "--as", "lea")
        return [each["about"] for each in entries if each["kind"] == "erasure"]

    assert "confirmed" in cli.fails(5, "dataset", "delete", "left", "--forget-keys", "--as", "anna")
    assert made not in erased()
    assert cli.json("dataset", "delete", "left", "--forget-keys", "--yes", "--as", "anna")["keys_forgotten"]
    assert erased().count(made) == 1
    assert cli("dataset", "show", made, "--as", "anna").exit_code != 0
    assert cli("log", "verify", "Study", "--as", "lea").exit_code == 0
