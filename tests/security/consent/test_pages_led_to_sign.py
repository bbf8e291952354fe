"""A database that would have a member approve another document than the one that the review page shows, attempt by attempt."""

from dataclasses import replace

import pytest

from opaque_jobs.cli.review_page import read_page
from opaque_jobs.cli.review_print import print_page
from opaque_jobs.crypto.consent import sign_manifest
from opaque_jobs.domain.job import Code, Language
from opaque_jobs.errors import TrustError
from opaque_jobs.services import DraftDataset

HARMLESS = Code(language=Language.SQL, text="SELECT 1 AS harmless")


def page(desk, job: str, who: str = "lea"):
    return read_page(*desk.who(who)[:2], job)


@pytest.mark.parametrize("column", ["spec", "digest"])
def test_page_is_not_shown_with_the_digest_of_another_document(desk, column):
    """Else what is typed from the page, after the row is put back, approves what nobody saw."""
    job = desk.submitted("ben")
    shown = replace(desk.cast.spec(job), code=HARMLESS)
    desk.run(f"UPDATE revisions SET {column} = ?", shown.to_bytes() if column == "spec" else shown.digest)  # noqa: S608
    with pytest.raises(TrustError, match="another digest"):
        page(desk, job)


def test_page_names_people_and_recipients_as_the_signed_list_does(desk, capsys):
    job = desk.submitted("ben")
    desk.run("UPDATE organisations SET name = 'x' WHERE id = 'org-hospital'")
    desk.run("UPDATE organisations SET name = 'hospital' WHERE id = 'org-laboratory'")
    desk.run("UPDATE organisations SET name = 'laboratory' WHERE id = 'org-hospital'")
    desk.run("UPDATE members SET name = 'lisa' WHERE id = 'member-ben'")
    shown = page(desk, job)
    assert [each["organisation"] for each in shown.to_json()["recipients"]] == ["hospital"]
    assert [each["member"] for each in shown.to_json()["votes"]] == ["anna", "ben"]
    print_page(shown)
    text = capsys.readouterr().out
    assert "ben (hospital)" in text
    assert "lisa" not in text
    assert "ids stand for names" not in text


@pytest.mark.parametrize("changed", ["list", "signature"])
def test_page_gives_ids_where_the_list_is_not_the_one_that_all_signed(desk, changed, capsys):
    job = desk.submitted("ben")
    body = desk.first_list().to_bytes().replace(b'"name":"laboratory"', b'"name":"hospitals"')
    if changed == "list":
        desk.run("UPDATE rosters SET body = ?", body)
    else:
        desk.run("DELETE FROM acceptances WHERE member_id = 'member-ben'")
    shown = page(desk, job)
    assert not shown.to_json()["names_signed"]
    assert [each["organisation"] for each in shown.to_json()["recipients"]] == ["org-hospital"]
    assert [each["from"] for each in shown.to_json()["still_needed"]] == ["somebody"]
    print_page(shown)
    text = capsys.readouterr().out
    assert "ids stand for names" in text
    assert "member-ben" in text
    assert "hospitals" not in text


def test_page_gives_ids_where_all_signed_a_list_but_it_is_not_the_jobs(desk):
    job = desk.submitted("ben")
    other = desk.cast.make_workspace("anna", "ben", "lea", name="Other")
    digests = "SELECT digest FROM rosters WHERE workspace_id = ?"
    desk.run(f"UPDATE revisions SET roster_digest = ({digests})", other)  # noqa: S608
    assert page(desk, job).roster is None


def alias_of_another(desk) -> str:
    """A job of anna's that calls lea's salaries findings."""
    desk.cast.make_dataset("salaries", "lea")
    code = Code(language=Language.SQL, text="SELECT sum(value) AS n FROM findings")
    job = desk.cast.make_job(code=code, datasets=(DraftDataset(alias="findings", dataset_id="ds-salaries"),)).id
    desk.cast.submit(job)
    return job


def test_page_names_a_data_set_as_its_owner_signed_it_beside_the_authors_alias(desk, capsys):
    shown = page(desk, alias_of_another(desk))
    (told,) = shown.to_json()["datasets"]
    assert (told["alias"], told["name"], told["dataset_id"]) == ("findings", "salaries", "ds-salaries")
    print_page(shown)
    (line,) = [each.split() for each in capsys.readouterr().out.splitlines() if each.startswith("findings")]
    assert line[:4] == ["findings", "salaries", "ds-salaries", "laboratory"]


def test_page_gives_a_data_set_no_name_that_its_owner_did_not_sign(desk, capsys):
    """The author and the database's administrator are one: another manifest, validly signed, in place of the owner's."""
    job = alias_of_another(desk)
    cast = desk.cast
    manifest = cast.services.datasets.show("ds-salaries", actor=cast.id("lea")).versions[0].manifest
    decoy = sign_manifest(replace(manifest, name="findings"), cast.people["lea"].key)
    desk.run("UPDATE dataset_versions SET envelope = ? WHERE dataset_id = 'ds-salaries'", decoy)
    assert page(desk, job).to_json()["datasets"][0]["name"] is None
    print_page(page(desk, job))
    assert "its signed manifest is not here" in " ".join(capsys.readouterr().out.split())


def planted(desk, signer: str = "anna", **over: object) -> str:
    """A document under review whose data set is described by hand, with a manifest that fits."""
    job = alias_of_another(desk)
    cast = desk.cast
    manifest = cast.services.datasets.show("ds-salaries", actor=cast.id("lea")).versions[0].manifest
    decoy = replace(manifest, name="findings", **over)
    desk.run("UPDATE dataset_versions SET envelope = ?", sign_manifest(decoy, cast.people[signer].key))
    spec = cast.spec(job)
    use = replace(spec.datasets[0], manifest_digest=decoy.digest)
    spec = replace(spec, datasets=(use,))
    desk.run("UPDATE revisions SET spec = ?, digest = ? WHERE job_id = ?", spec.to_bytes(), spec.digest, job)
    return job


OTHERS = {
    "signed by a stranger to the owner": {},
    "of another owner": {"organisation_id": "org-hospital"},
    "of another data set": {"dataset_id": "ds-patients", "organisation_id": "org-hospital"},
    "of another data set of the owner's": {"signer": "lea", "dataset_id": "ds-findings"},
}


@pytest.mark.parametrize("what", list(OTHERS))
def test_page_gives_a_data_set_no_name_from_a_manifest(desk, what):
    assert page(desk, planted(desk, **OTHERS[what])).to_json()["datasets"][0]["name"] is None
