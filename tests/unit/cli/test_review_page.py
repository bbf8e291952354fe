"""What a reviewer is shown: everything that counts, in order, and no raw keys; with --json the whole signed document."""

import sys
from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from sqlalchemy import text

sys.path.insert(0, str(Path(__file__).parents[2] / "support"))

from consortium import COLUMNS, make_input, open_consortium
from own_files import write_own_files

from opaque_jobs.cli.review_page import read_page, template_here
from opaque_jobs.cli.review_print import print_page
from opaque_jobs.client.kept_policies import keep_policy
from opaque_jobs.domain.approval_rule import ApprovalGroup
from opaque_jobs.domain.attested import ATTESTED
from opaque_jobs.domain.job import Code, JobKind, Language, TeeKind, TemplateUse
from opaque_jobs.domain.output_policy import LogKind
from opaque_jobs.domain.rerun_terms import RerunTerms
from opaque_jobs.protocol.drafts import DEFAULT_OUTPUT_POLICY
from opaque_jobs.standalone.local_session import local_session
from opaque_jobs.templates.registry import load_catalogue
from tests.support.tee_policies import make_snp_policy, on_hardware
from tests.world import everything

TERMS = RerunTerms(
    max_runs=3,
    not_before=None,
    not_after="2026-12-31T00:00:00+00:00",
    min_interval_s=60,
    schedule="0 6 * * *",
    variable_inputs=("floor",),
)
KEYS = {
    "against_revision",
    "approval_rule",
    "attested",
    "datasets",
    "deadline",
    "diff",
    "fingerprint",
    "job_digest",
    "job_id",
    "names_signed",
    "no_test_reason",
    "not_demanded",
    "not_signed",
    "recipients",
    "revision",
    "sensitive_inputs",
    "spec",
    "status",
    "still_needed",
    "template_here",
    "test_rows",
    "test_run",
    "test_run_id",
    "votes",
    "waiting_for",
    "workspace",
}


@pytest.fixture
def study(tmp_path):
    consortium = open_consortium(tmp_path / "home")
    consortium.settle_in()
    write_own_files(consortium, "lea")
    yield consortium
    consortium.services.close()


def page(study, job_id, who="lea"):
    return read_page(local_session(study.services, study.people[who].entry), study.people[who].entry, job_id)


def shown(study, job_id, capsys):
    print_page(page(study, job_id))
    return capsys.readouterr().out


def reworked(study):
    """A job whose second revision is under review, after the first was accepted."""
    job = study.accepted_job(inputs=(make_input(),), rerun_terms=TERMS)
    study.services.jobs.revise(actor=study.id("anna"), job_id=job.id)
    code = Code(language=Language.SQL, text="SELECT count(*) AS pairs FROM patients JOIN findings USING (id)")
    draft = study.draft(code=code, inputs=(make_input(),), rerun_terms=TERMS)
    study.services.jobs.edit(actor=study.id("anna"), job_id=job.id, draft=draft)
    study.submit(job.id)
    return job.id


def test_review_is_shown_in_the_order_in_which_it_matters(study, capsys):
    text = shown(study, reworked(study), capsys)
    order = [
        "Study (ws-",
        "revision",
        "code (sql)",
        "SELECT count(*) AS pairs",
        "data that it reads",
        "input variables",
        "at most 1,000,000 rows",
        "hospital (key sha256:",
        "0 6 * * *",
        "where it runs",
        "SIMULATED",
        "NOT signed, the database's word",
        "under_review",
        "changes since revision 1",
        "\nvotes",
        "tested elsewhere",
        "review approve",
    ]
    places = [text.index(each) for each in order]
    assert places == sorted(places)


def test_review_of_a_job_on_hardware_says_what_is_attested_and_what_is_not(study, capsys):
    job = study.make_job(**on_hardware(sev_snp=make_snp_policy()))
    study.submit(job.id)
    text = shown(study, job.id, capsys)
    assert "sev-snp (experimental: vouches for the whole guest" in text
    assert f"{page(study, job.id).spec.measurement} (stated by the host; on hardware nobody measures it)" in text
    assert "experimental hardware  yes" in text
    assert text.count(ATTESTED[TeeKind.SEV_SNP]) == 1
    assert "warning: nobody demands AMD's revocation list" in text
    document = page(study, job.id).to_json()
    codes = [each["code"] for each in document["not_demanded"]["sev-snp"]]
    assert codes == ["chip-not-demanded", "provider-not-demanded", "revocations-not-demanded"]
    assert document["attested"] == {"sev-snp": ATTESTED[TeeKind.SEV_SNP]}
    assert document["spec"]["experimental_hardware"] is True


def test_review_of_a_simulated_job_says_that_nothing_is_attested(study, capsys):
    job = study.make_job()
    study.submit(job.id)
    text = shown(study, job.id, capsys)
    assert ATTESTED[TeeKind.SIMULATED] in text
    assert "nobody measures" not in text


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        (LogKind.NONE, "no log of real runs"),
        (LogKind.WORDS, "of real runs a log in fixed words"),
        (LogKind.FULL, "a log with WHATEVER THE CODE PRINTS, values of the data too, up to 65.5 kB"),
    ],
)
def test_review_says_in_words_what_the_log_of_a_real_run_may_hold(study, capsys, kind, words):
    job = study.make_job(output_policy=replace(DEFAULT_OUTPUT_POLICY, log=kind))
    study.submit(job.id)

    assert words in " ".join(shown(study, job.id, capsys).split())


def test_review_shows_no_raw_key_and_names_organisations(study, capsys):
    job = study.make_job()
    study.submit(job.id)
    text = shown(study, job.id, capsys)
    for made in study.organisations.values():
        assert made.entry.sealing_key[:40] not in text
        assert f"org-{made.entry.name}" not in text
    assert "anna (hospital)" in text


def test_review_tells_who_has_voted_and_who_has_not(study, capsys):
    job = study.make_job()
    study.submit(job.id)
    study.vote(job.id, "ben")
    lines = [line.split() for line in shown(study, job.id, capsys).splitlines()]
    votes = {line[0]: line[2] for line in lines if len(line) > 2 and line[0] in {"anna", "ben", "lea"}}
    assert votes == {"anna": "approve", "ben": "approve", "lea": "not"}


def test_review_of_a_first_revision_says_that_nothing_was_accepted_before(study, capsys):
    job = study.make_job()
    study.submit(job.id)
    assert "no revision of this job was accepted before" in shown(study, job.id, capsys)
    assert page(study, job.id).to_json()["against_revision"] is None


def test_review_compares_the_revision_under_vote_not_the_draft_that_came_after_it(study):
    job = study.accepted_job()
    study.services.jobs.revise(actor=study.id("anna"), job_id=job.id)
    study.services.jobs.edit(
        actor=study.id("anna"), job_id=job.id, draft=study.draft(code=Code(language=Language.SQL, text="SELECT 7 AS later"))
    )
    assert "later" not in page(study, job.id).to_json()["diff"]


def test_review_shows_the_first_rows_of_its_test_to_another_organisation(study, capsys):
    job = study.make_job()
    run = study.passed_test(job.id)
    folder = study.services.context.settings.test_dir(run) / "result"
    folder.mkdir(parents=True)
    pq.write_table(pa.table({"n": list(range(41, 60))}), folder / "part-00000.parquet")
    study.submit(job.id, test_run_id=run)
    assert page(study, job.id).to_json()["test_rows"] == [{"n": n} for n in range(41, 46)]
    text = shown(study, job.id, capsys)
    assert run in text
    assert "42" in text


def test_review_whose_test_result_is_elsewhere_is_shown_all_the_same(study, capsys):
    job = study.make_job()
    study.submit(job.id, test_run_id=study.passed_test(job.id))
    assert "not in this home" in shown(study, job.id, capsys)


def test_review_as_json_has_stable_keys_and_the_whole_signed_document(study):
    job_id = reworked(study)
    document = page(study, job_id).to_json()
    assert set(document) == KEYS
    assert document["spec"] == study.spec(job_id).to_json()
    assert document["against_revision"] == 1
    (recipient,) = document["recipients"]
    assert recipient == {"organisation": "hospital", "key_id": study.organisations["hospital"].entry.sealing_key_id}


def test_review_of_code_that_would_hide_itself_shows_it(study, capsys):
    job = study.make_job(code=Code(language=Language.SQL, text="SELECT 1 -- \x1b[1A\x1b[2K"))
    study.submit(job.id)
    text = shown(study, job.id, capsys)
    assert "\x1b" not in text
    assert "\\x1b[1A" in text


def test_page_where_groups_decide_says_whose_approvals_are_missing(study, capsys):
    board = ApprovalGroup(name="Board", threshold=2, member_ids=tuple(sorted(study.id(each) for each in ("anna", "ben", "lea"))))
    proposal = study.services.workspaces.propose_change(
        actor=study.id("anna"), workspace_id=study.workspace_id, approval_groups=[board]
    )
    for name in ("anna", "ben", "lea"):
        study.accept(proposal, name)
    job = study.make_job()
    study.submit(job.id)
    text = shown(study, job.id, capsys)
    assert "laboratory, whose data it reads" in text
    assert "Board" in text
    assert page(study, job.id).to_json()["still_needed"][0] == {"from": "Board", "missing": 1, "members": ["ben", "lea"]}
    study.vote(job.id, "lea")
    assert page(study, job.id).to_json()["still_needed"] == []


def test_review_tells_of_every_data_set_that_a_rule_limits_it_and_by_which_commitment(study, capsys):
    job = study.make_job()
    study.submit(job.id)
    found = page(study, job.id)
    committed = {use.alias: use.policy_commitment for use in found.spec.datasets}
    assert {each["alias"]: each["policy_commitment"] for each in found.to_json()["datasets"]} == committed
    assert {found.rule(use) for use in found.spec.datasets} == {
        f"limited by its owner's rule, commitment {each[:19]}" for each in committed.values()
    }
    assert "its owner's rule" in " ".join(shown(study, job.id, capsys).split())


def test_review_tells_an_owner_that_the_rule_is_their_own(study):
    job = study.make_job()
    study.submit(job.id)
    keep_policy(study.services.context.settings, "org-laboratory", study.dataset_ids["findings"], everything(COLUMNS))
    own = {use.alias: page(study, job.id).rule(use).split(",")[0] for use in page(study, job.id).spec.datasets}
    assert own == {"patients": "limited by its owner's rule", "findings": "limited by your own rule"}
    assert page(study, job.id, "anna").own_policies == frozenset()


def test_review_of_a_commitment_that_the_owner_did_not_sign_says_so(study):
    job = study.make_job()
    study.submit(job.id)
    found = page(study, job.id)
    use = replace(found.spec.datasets[0], policy_commitment="sha256:" + "0" * 64)
    assert found.rule(use).startswith("NOT by the rule that its owner signed")


def test_review_names_the_workspace_as_it_was_signed_and_else_by_its_id(study, capsys):
    job = study.make_job()
    study.submit(job.id)
    with study.services.context.store.write() as session:
        session.execute(text("UPDATE workspaces SET name = 'Another'"))
    assert f"Study ({study.workspace_id})" in shown(study, job.id, capsys)
    assert page(study, job.id).to_json()["workspace"] == {"id": study.workspace_id, "name": "Study"}
    unsigned = replace(page(study, job.id), roster=None)
    print_page(unsigned)
    assert "Another" not in (printed := capsys.readouterr().out)
    assert study.workspace_id in printed


def test_review_marks_which_inputs_are_sensitive(study, capsys):
    inputs = (make_input(), replace(make_input(default=7), name="secret", sensitive=True))
    job = study.make_job(inputs=inputs, rerun_terms=TERMS)
    study.submit(job.id)
    assert page(study, job.id).to_json()["sensitive_inputs"] == ["secret"]
    lines = [each.split() for each in shown(study, job.id, capsys).splitlines()]
    assert next(each for each in lines if each[:1] == ["secret"])[4:5] == ["yes"]
    assert next(each for each in lines if each[:1] == ["floor"])[4:5] == ["no"]


@pytest.mark.parametrize("same", [True, False])
def test_review_compares_the_template_with_the_own_catalogue(study, capsys, same):
    own = load_catalogue().templates[0]
    job = study.make_job()
    study.submit(job.id)
    digest = own.digest if same else "sha256:" + "0" * 64
    use = TemplateUse(name=own.name, version=own.version, digest=digest, parameters={})
    found = replace(
        page(study, job.id), spec=replace(page(study, job.id).spec, kind=JobKind.NO_CODE, template=use), template_here=same
    )
    print_page(found)
    printed = capsys.readouterr().out
    assert digest in printed
    assert ("has the same" in printed, "NOT the one" in printed) == (same, not same)
    assert template_here(found.spec) is same


def test_review_names_in_json_what_nobody_signed(study):
    job = study.make_job()
    study.submit(job.id)
    document = page(study, job.id).to_json()
    assert set(document["not_signed"]) <= set(document)
    assert {"votes", "status", "test_rows", "diff"} <= set(document["not_signed"])
    assert not {"spec", "job_digest", "workspace", "recipients", "datasets"} & set(document["not_signed"])
