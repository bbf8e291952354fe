"""An owner's rules by commands: kept over a refresh, read again, changed by name, and known to authors before anybody votes."""

import shutil

import pyarrow.parquet as pq
import pytest

PATIENTS = "patient,age,ward,note\n" + "".join(f"p{n},{20 + n},{'AB'[n % 2]},n{n}\n" for n in range(40))
RULE = "age >= 30 AND ward IN ('A', 'B')"


@pytest.fixture(scope="module")
def patients(cli):
    source = cli.home.parent / "patients.csv"
    source.write_text(PATIENTS)
    cut = ("--where", "age >= 30 and ward in ('A', 'B')", "--column", "ward", "--column", "age")
    result = cli("dataset", "encrypt", str(source), "--name", "patients", *cut, "--as", "anna")
    assert result.exit_code == 0, result.stderr
    assert f"approved jobs may read of it: ward, age; {RULE} that is 30 of 40 rows" in " ".join(result.stderr.split())
    cli.json("dataset", "share", "patients", "Study", "--as", "anna")
    return source


def rules(cli, who="anna"):
    return cli.json("dataset", "policy", "show", "patients", "--as", who)


def test_refresh_that_says_nothing_keeps_the_owners_rules(cli, patients):
    """It released everything: a refresh without --where and --column was all rows and all columns."""
    cli.json("dataset", "encrypt", str(patients), "--name", "patients", "--refresh", "--as", "ben")

    for who in ("anna", "ben"):
        shown = rules(cli, who)
        assert (shown["released"], shown["held_back"], shown["where"]) == (["ward", "age"], ["patient", "note"], RULE)
    (theirs,) = [
        each for each in cli.json("dataset", "list", "--workspace", "Study", "--as", "lea") if each["name"] == "patients"
    ]
    assert theirs["released"] == ["age", "ward"]


def test_refresh_with_a_new_column_does_not_release_it(cli, patients):
    wider = patients.with_name("wider.csv")
    wider.write_text("".join(f"{line},{'extra' if n == 0 else n}\n" for n, line in enumerate(PATIENTS.splitlines())))
    cli.json("dataset", "encrypt", str(wider), "--name", "patients", "--refresh", "--as", "anna")

    assert rules(cli)["held_back"] == ["patient", "note", "extra"]
    cli.json("dataset", "encrypt", str(patients), "--name", "patients", "--refresh", "--as", "anna")


def test_refresh_whose_data_does_not_fit_the_rules_is_refused(cli, patients):
    other = patients.with_name("other.csv")
    other.write_text(PATIENTS.replace("age", "years", 1))
    said = cli.fails(5, "dataset", "encrypt", str(other), "--name", "patients", "--refresh", "--as", "anna")
    assert "'age'" in said
    other.write_text(PATIENTS.replace(",25,", ",unknown,"))
    said = cli.fails(5, "dataset", "encrypt", str(other), "--name", "patients", "--refresh", "--as", "anna")
    assert "row rule was made for a column 'age' of type int64" in said


def test_refresh_that_changes_the_rules_says_so_and_wants_it_confirmed(cli, patients):
    more = ("dataset", "encrypt", str(patients), "--name", "patients", "--refresh", "--column", "patient", "--as", "anna")
    said = cli.fails(5, *more)
    assert "jobs may read another column: patient jobs may no longer read the column: ward" in said
    assert "--yes" in said
    assert rules(cli)["released"] == ["ward", "age"]


def test_policy_set_changes_what_is_named_and_keeps_the_rest(cli, patients):
    change = ("dataset", "policy", "set", "patients", "--from", str(patients))
    said = cli.fails(5, *change, "--where", "age >= 40", "--as", "ben")
    assert f"rows until now: {RULE} rows from now on: age >= 40" in said
    assert rules(cli)["where"] == RULE
    said = cli(*change, "--where", "age >= 40", "--yes", "--as", "ben")
    assert "age >= 40 that is 20 of 40 rows" in " ".join(said.stderr.split())
    assert (rules(cli)["where"], rules(cli)["released"]) == ("age >= 40", ["ward", "age"])
    cli.json(*change, "--all-rows", "--yes", "--as", "anna")
    assert rules(cli)["where"] == "all rows"
    assert "nothing is named" in cli.fails(5, *change, "--as", "anna")
    assert "at once" in cli.fails(5, *change, "--all-rows", "--where", RULE, "--as", "anna")
    cli.json(*change, "--where", RULE, "--yes", "--as", "anna")


def test_policy_is_not_shown_to_others(cli, patients):
    assert cli("dataset", "policy", "show", "patients", "--as", "lea").exit_code != 0
    assert cli("dataset", "jobs", "patients", "--as", "lea").exit_code != 0


def job(cli, folder, dataset, *more):
    code = folder / "wards.sql"
    code.write_text("SELECT count(*) AS n FROM patients")
    named = ("job", "create", "Study", "--name", "Wards", "--sql", str(code), "--dataset", dataset, "--tee", "simulated")
    return (*named, *more, "--as", "lea")


def test_job_on_a_column_that_is_not_released_is_refused_when_drafted(cli, patients, tmp_path):
    said = cli.fails(5, *job(cli, tmp_path, "patients:ward,note"))
    assert "does not release its column 'note'" in said
    assert "released: age, ward" in said


def test_job_on_a_whole_data_set_reads_what_is_released_and_the_owner_sees_that(cli, patients, tmp_path):
    made = cli.json(*job(cli, tmp_path, "patients"))["id"]
    cli.json("job", "submit", made, "--no-test", "nothing to see", "--as", "lea")

    listed = cli.json("dataset", "jobs", "patients", "--as", "anna")
    assert [(each["job"], each["status"], each["columns"]) for each in listed] == [("Wards", "under_review", ["age", "ward"])]
    assert rules(cli)["jobs"] == listed


def test_draft_on_a_column_that_was_taken_back_is_refused_when_submitted(cli, patients, tmp_path):
    made = cli.json(*job(cli, tmp_path, "patients:age,ward"))["id"]
    change = ("dataset", "policy", "set", "patients", "--from", str(patients), "--yes", "--as", "anna")
    cli.json(*change, "--column", "ward")

    said = cli.fails(5, "job", "submit", made, "--no-test", "nothing to see", "--as", "lea")
    assert "does not release its column 'age'" in said
    cli.json(*change, "--column", "ward", "--column", "age")


def test_data_for_tests_is_made_of_released_columns_of_released_rows_only(cli, patients):
    """Values of a column that is held back, and of rows below the rule, stood in what every member reads."""
    sizes = patients.with_name("sizes.csv")
    rows = (f"{n},{n % 20},{'hidden' if n % 20 < 10 else 'open'},0{n}" for n in range(1000))
    sizes.write_text("\n".join(["id,size,site,zip", *rows, ""]))
    cut = ("--where", "size >= 10", "--column", "size", "--column", "site", "--type", "zip=text")
    made = cli.json("dataset", "encrypt", str(sizes), "--name", "sizes", *cut, "--as", "anna")
    for kind in (("synthetic", "--from", str(sizes)), ("mock",)):
        cli.json("dataset", "test-data", "sizes", "--kind", *kind, "--as", "ben")
        (folder,) = cli.settings.dataset_dir(made["id"], 1).parent.glob("test-*")
        table = pq.read_table(folder)
        assert table.column_names == ["size", "site"]
        assert "hidden" not in table["site"].to_pylist()
        if kind[0] == "synthetic":
            assert min(value for value in table["size"].to_pylist() if value is not None) >= 10
        shutil.rmtree(folder)
    assert "--from" in cli.fails(5, "dataset", "test-data", "sizes", "--kind", "synthetic", "--as", "anna")
