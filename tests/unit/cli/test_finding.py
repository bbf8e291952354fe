"""Names that are not there: the nearest is offered, and never one that the member may not see."""

import pytest

from opaque_jobs.client.finding import nearest


@pytest.mark.parametrize(
    ("wanted", "near"),
    [
        ("study", ["Study"]),
        ("Stdy", ["Study"]),
        ("RATES", ["Rates", "rates"]),
        ("Rates", []),
        ("rate", ["Rates", "rates"]),
        ("Overlap", []),
        ("", []),
        ("x" * 100_000, []),
    ],
)
def test_nearest_name_ignores_case_and_small_slips(wanted, near):
    assert nearest(wanted, ["Study", "Rates", "rates"]) == near


@pytest.mark.parametrize(
    ("arguments", "code", "offered"),
    [
        ("workspace show study", 4, "Study"),
        ("dataset show Patient", 4, "patients"),
        ("job list --workspace Studdy", 4, "Study"),
        ("workspace create New --member Leah", 4, "lea"),
        ("org show hospitl", 4, "hospital"),
        ("member list --org Hospital", 4, "hospital"),
        ("template show overlap_count", 4, "overlap-count"),
    ],
)
def test_name_that_is_not_there_is_answered_with_the_nearest(shell, arguments, code, offered):
    assert f"did you mean '{offered}'?" in shell.fails(code, *arguments.split())


def test_job_by_a_name_that_is_not_there_is_answered_with_the_nearest(study, shell):
    study.make_job(name="Rates of May")
    assert "did you mean 'Rates of May'?" in shell.fails(4, "job", "show", "rates of may")


def test_version_that_a_template_does_not_have_offers_no_name(shell):
    assert "did you mean" not in shell.fails(4, "template", "show", "overlap-count@9.9.9")


def test_member_to_act_for_is_offered_among_those_whose_keys_are_here(study, shell):
    shell.member = "Leah"
    assert "did you mean" not in shell.fails(4, "workspace", "list")
    (study.services.context.settings.keys_dir / "lea.member.json").write_text("{}")
    assert "did you mean 'lea'?" in shell.fails(4, "workspace", "list")


@pytest.mark.parametrize("arguments", ["workspace show Studi", "dataset show patient", "job show Overlapp"])
def test_name_that_is_near_to_one_of_others_is_answered_as_any_other(study, shell, arguments):
    study.make_job(name="Overlap")
    study.make_dataset("patients_of_lea", "lea", share=False)
    shell.member = "mallory"
    near = shell.fails(4, *arguments.split())
    far = shell.fails(4, *arguments.split()[:2], "Zebra")
    assert near.replace(arguments.split()[2], "Zebra") == far


def test_data_set_of_another_organisation_that_is_shared_nowhere_is_not_offered(study, shell):
    study.make_dataset("genomes", "lea", share=False)
    assert "did you mean" not in shell.fails(4, "dataset", "show", "genome")
