"""What commands print for people: who is in a workspace, what comes next where there is nothing, notes at drafting."""

import json

import pytest

from opaque_jobs.domain.lifecycle import RunEvent

NO_TEE = ("--tee", "simulated")


def lines(text: str) -> list[list[str]]:
    return [line.split() for line in text.splitlines()]


def test_workspace_is_shown_with_one_member_and_one_key_a_line(study, shell):
    printed = shell.says("workspace", "show", "Study")
    shown = shell.json("workspace", "show", "Study")
    rows = lines(printed)
    assert ["members", "anna"] in rows
    assert ["ben"] in rows
    assert ["lea"] in rows
    for name, key in shown["keys"].items():
        assert [*name.split(), key] in [row[1:] if row[:1] == ["keys"] else row for row in rows], name


def test_member_list_that_waits_is_shown_beside_the_one_in_force_with_one_member_a_line(study, shell):
    study.services.workspaces.propose_change(
        actor=study.id("anna"), workspace_id=study.workspace_id, member_ids=[study.id("anna"), study.id("mallory")]
    )
    in_force, _, proposed = shell.says("workspace", "show", "Study").partition("proposed")
    assert "mallory" not in "".join(in_force.partition("waiting")[0])
    assert ["mallory"] in lines(proposed)
    assert ["ben"] not in lines(proposed)
    assert shell.json("workspace", "show", "Study")["proposed"]["members"] == ["anna", "mallory"]


def test_workspace_that_is_accepted_by_all_says_nothing_of_what_is_not_there(shell):
    words = {row[0] for row in lines(shell.says("workspace", "show", "Study"))}
    assert not words & {"proposed", "description", "runners", "waiting", "approval_groups"}
    assert shell.json("workspace", "show", "Study")["proposed"] is None


def test_run_that_is_over_is_shown_without_how_far_it_was(study, shell):
    run = study.open_run(study.accepted_job().id)
    study.services.runs.start(run.id)
    study.services.runs.renew_lease(run.id, progress="computing")
    assert ["progress", "computing"] in lines(shell.says("run", "show", run.id))
    study.finish(run.id)
    assert "progress" not in shell.says("run", "show", run.id)
    assert shell.json("run", "show", run.id)["progress"] is None


def test_data_sets_are_listed_with_their_owners(shell):
    rows = lines(shell.says("dataset", "list", "--workspace", "Study"))
    assert [row[:2] for row in rows] == [["name", "owner"], ["findings", "laboratory"], ["patients", "hospital"]]


@pytest.mark.parametrize(
    ("arguments", "next_step"),
    [
        ("workspace list", "opaque-jobs workspace create"),
        ("dataset list", "opaque-jobs dataset encrypt"),
        ("job list", "opaque-jobs job create"),
    ],
)
def test_list_with_nothing_in_it_says_what_to_do_next(study, shell, arguments, next_step):
    for name in ("patients", "findings"):
        study.share(study.dataset_ids[name], {"patients": "anna", "findings": "lea"}[name], back=True)
    study.services.datasets.delete(actor=study.id("lea"), dataset_id=study.dataset_ids["findings"])
    shell.member = "mallory"
    assert next_step in shell.says(*arguments.split())
    assert shell.json(*arguments.split()) == []


@pytest.mark.parametrize(
    ("arguments", "next_step"),
    [
        ("dataset list --workspace Study", "opaque-jobs dataset share"),
        ("query list Study", "opaque-jobs query pin"),
        ("run list Overlap", "opaque-jobs job test"),
    ],
)
def test_list_of_a_workspace_or_job_with_nothing_in_it_says_what_to_do_next(study, shell, arguments, next_step):
    study.make_job(name="Overlap")
    for name, owner in (("patients", "anna"), ("findings", "lea")):
        study.share(study.dataset_ids[name], owner, back=True)
    assert next_step in shell.says(*arguments.split())


@pytest.fixture
def create(tmp_path):
    code = tmp_path / "code.sql"
    code.write_text("SELECT count(*) AS n FROM patients")
    return ("job", "create", "Study", "--sql", str(code), "--dataset", "patients", *NO_TEE)


def test_job_by_a_name_that_is_taken_is_drafted_with_a_note_that_names_its_id(shell, create):
    first = shell(*create, "--name", "Rates", "--json")
    assert (first.exit_code, "note" in first.stderr) == (0, False), first.output
    second = shell(*create, "--name", "Rates", "--json")
    assert second.exit_code == 0
    assert json.loads(second.stdout)["id"] in second.stderr
    assert "--replace" in second.stderr
    assert json.loads(first.stdout)["id"] not in second.stderr


def test_job_drafted_again_in_its_own_place_has_its_name_to_itself(shell, create):
    job_id = shell.json(*create, "--name", "Rates")["id"]
    assert "note" not in shell(*create, "--name", "Rates", "--replace", job_id).stderr
    shell.json("job", "archive", job_id)
    assert "note" not in shell(*create, "--name", "Rates").stderr


def test_note_about_a_taken_name_tells_nothing_of_workspaces_of_others(study, shell, create):
    hidden = study.make_workspace("lea", "mallory", name="Hidden")
    study.services.jobs.create_draft(actor=study.id("lea"), workspace_id=hidden, draft=study.draft(name="Rates", datasets=()))
    assert "note" not in shell(*create, "--name", "Rates").stderr


@pytest.mark.parametrize(("day", "says"), [("2020-01-01", "over already"), ("9999-12-31", "too far")])
def test_last_day_of_reruns_that_is_no_use_is_refused_at_drafting(shell, create, day, says):
    message = shell.fails(5, *create, "--max-runs", "3", "--until", day)
    assert says in message
    assert "--until" in message
    assert shell.json("job", "list") == []


def test_review_that_would_last_for_ever_is_refused(study, shell):
    job = study.make_job()
    assert shell("job", "submit", job.id, "--no-test", "none", "--days", "99999999999").exit_code == 2


def test_test_run_that_passed_is_still_shown_whole_as_json(study, shell):
    job = study.make_job()
    run = study.services.runs.start_test(actor=study.id("anna"), job_id=job.id, inputs={})
    study.services.runs.start(run.id)
    study.finish(run.id, RunEvent.SUCCEED)
    assert shell.json("run", "show", run.id)["inputs"] == {}
    assert "inputs" not in shell.says("run", "show", run.id)


def test_template_is_shown_with_an_example_to_begin_with(shell):
    printed = shell.says("template", "show", "overlap-count")
    _, _, example = printed.partition("job create --parameters")
    shown = shell.json("template", "show", "overlap-count")
    assert json.loads(example[example.index("{") :]) == shown["example"]
    assert shown["example"] in shown["parameters"]["examples"]
    assert '"examples"' not in printed
