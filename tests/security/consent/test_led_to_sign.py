"""A database that would have a member's own client sign what its owner did not mean, attempt by attempt."""

import shutil
import sqlite3
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from broker_house import BrokerHouse, fast_folder
from consortium import make_input, make_organisation, make_person, open_consortium

from opaque_jobs.cli.own_drafts import is_own_draft, remember_draft
from opaque_jobs.cli.own_lists import last_signed, remember_list
from opaque_jobs.cli.review_page import draft_page, print_page, read_page
from opaque_jobs.cli.reviewing import submit_job
from opaque_jobs.cli.rosters import accept_roster, changed_keys
from opaque_jobs.crypto.consent import sign_acceptance, sign_manifest
from opaque_jobs.crypto.keys import SigningKey
from opaque_jobs.domain.canonical import digest
from opaque_jobs.domain.document import to_bytes
from opaque_jobs.domain.job import Code, JobKind, Language, TeeKind, TemplateUse, parse_job_spec
from opaque_jobs.domain.key_change import Authority
from opaque_jobs.domain.tee_policy import NO_HARDWARE, NitroPolicy
from opaque_jobs.domain.workspace import Roster
from opaque_jobs.errors import ConflictError, TrustError
from opaque_jobs.services import DraftDataset, JobDraft
from opaque_jobs.services.views import JobView
from tests.security.consent.test_taking_back import Desk


@pytest.fixture
def desk():
    folder = fast_folder("opaque-jobs-led-")
    cast = open_consortium(folder / "home")
    cast.services.context.settings.prepare()
    cast.clock.moment = datetime.now(UTC)
    cast.settle_in()
    try:
        with BrokerHouse(folder / "brokers") as house:
            house.open(cast)
            made = Desk(cast, house)
            made.pin()
            yield made
    finally:
        cast.services.close()
        shutil.rmtree(folder)


def run(desk, statement: str, *values: object) -> None:
    """Act as the database's administrator."""
    with closing(sqlite3.connect(desk.cast.home / "opaque-jobs.db")) as database, database:
        database.execute("PRAGMA foreign_keys = OFF")
        database.execute(statement, values)


def first_list(desk) -> Roster:
    return desk.cast.services.workspaces.show(desk.cast.workspace_id, actor=desk.cast.id("lea")).roster


def put_list(desk, roster: Roster, *signing, state: str = "proposed") -> None:
    """Write a list of the administrator's, with signatures of people of theirs."""
    run(
        desk,
        "INSERT INTO rosters (digest, workspace_id, epoch, state, body, created_at) "
        "SELECT ?, workspace_id, ?, ?, ?, created_at FROM rosters WHERE epoch = 1",
        *(roster.digest, roster.epoch, state, roster.to_bytes()),
    )
    for each in roster.members:
        run(desk, "INSERT INTO roster_members (roster_digest, member_id) VALUES (?, ?)", roster.digest, each.id)
    for each in signing:
        run(
            desk,
            "INSERT INTO acceptances (roster_digest, member_id, envelope, accepted_at) "
            "SELECT ?, ?, ?, accepted_at FROM acceptances LIMIT 1",
            *(roster.digest, each.id, sign_acceptance(roster, each.entry, each.key, now=desk.cast.clock())),
        )


def taken_over(desk, before: Roster, *, own_part: bool = True) -> tuple[Roster, tuple]:
    """The next list, in which the hospital and its people have the administrator's keys."""
    cast = desk.cast
    forgers = (make_person("anna", "org-hospital"), make_person("ben", "org-hospital"))
    members = [*(each.entry for each in forgers), *([cast.people["lea"].entry] if own_part else [])]
    organisations = [make_organisation("hospital").entry, *([cast.organisations["laboratory"].entry] if own_part else [])]
    roster = replace(
        before,
        epoch=before.epoch + 1,
        genesis=before.genesis_digest,
        previous=before.digest,
        members=tuple(sorted(members, key=lambda each: each.id)),
        organisations=tuple(sorted(organisations, key=lambda each: each.id)),
    )
    return roster, forgers


def refused(desk, match: str) -> None:
    """Lea's client looks at the list that waits, and does not sign it."""
    opened, lea, key = desk.who("lea")
    with pytest.raises(TrustError, match=match):
        changed_keys(opened, opened.workspaces.show(desk.cast.workspace_id, actor=lea.id), lea)
    with pytest.raises(TrustError, match=match):
        accept_roster(opened, desk.cast.workspace_id, lea, key)
    proposal = opened.workspaces.show(desk.cast.workspace_id, actor=lea.id).proposal
    assert lea.id in proposal.waiting_for
    with desk.house.brokers["laboratory"].store.transaction() as memory:
        known = memory.roster(desk.cast.workspace_id)
        assert known is None or known.epoch == 1


@pytest.mark.parametrize("state", ["in_force", "past", "replaced"])
def test_list_with_strangers_keys_is_not_signed_whatever_state_the_one_before_is_said_to_have(desk, state):
    first = first_list(desk)
    put_list(desk, taken_over(desk, first)[0])
    run(desk, "UPDATE rosters SET state = ? WHERE digest = ?", state, first.digest)
    refused(desk, "changes a key of 'hospital'")


HIDDEN = {
    "list": "DELETE FROM rosters WHERE epoch = 1",
    "one signature": "DELETE FROM acceptances WHERE member_id = 'member-ben'",
    "all signatures": "DELETE FROM acceptances",
    "body": "UPDATE rosters SET body = (SELECT body FROM rosters WHERE epoch = 2) WHERE epoch = 1",
}


@pytest.mark.parametrize("hidden", list(HIDDEN))
def test_list_whose_predecessor_is_hidden_is_not_signed(desk, hidden):
    first = first_list(desk)
    put_list(desk, taken_over(desk, first)[0])
    run(desk, HIDDEN[hidden])
    run(desk, "UPDATE rosters SET state = 'past' WHERE epoch = 1")
    refused(desk, "is not here as all its members signed it")


@pytest.mark.parametrize("over", [{"epoch": 3}, {"genesis": digest(b"another")}, {"log_key": SigningKey.generate().public.text}])
def test_list_that_does_not_follow_the_one_before_in_all_is_not_signed(desk, over):
    first = first_list(desk)
    put_list(desk, replace(first, **({"epoch": 2, "genesis": first.digest, "previous": first.digest} | over)))
    refused(desk, "does not follow|names another log")


def test_list_that_follows_one_in_which_strangers_speak_for_the_member_is_not_signed(desk):
    """All in the administrator's list signed it; the member's key in it is the administrator's."""
    between, forgers = taken_over(desk, first_list(desk))
    another = make_person("lea", "org-laboratory")
    members = tuple(sorted((*(each.entry for each in forgers), another.entry), key=lambda each: each.id))
    between = replace(between, members=members)
    run(desk, "UPDATE rosters SET state = 'past' WHERE epoch = 1")
    put_list(desk, between, another, *forgers, state="in_force")
    after = replace(between, epoch=3, previous=between.digest)
    put_list(desk, replace(after, members=tuple(each if each.id != another.id else desk.who("lea")[1] for each in members)))
    refused(desk, "changes a key of 'lea'")


def remembering(desk) -> Roster:
    """Lea's client signed the first list."""
    first = first_list(desk)
    opened, lea, _ = desk.who("lea")
    remember_list(opened.context.settings, lea, first)
    return first


def test_member_who_signed_before_is_no_newcomer_where_a_list_without_them_is_shown(desk):
    """A list of the administrator's own, wholly signed, in which the member is not; the next takes them in."""
    first = remembering(desk)
    between, forgers = taken_over(desk, first, own_part=False)
    run(desk, "UPDATE rosters SET state = 'past' WHERE epoch = 1")
    put_list(desk, between, *forgers, state="in_force")
    lea, laboratory = desk.who("lea")[1], desk.cast.organisations["laboratory"].entry
    after = replace(
        between,
        epoch=3,
        previous=between.digest,
        members=tuple(sorted((*between.members, lea), key=lambda each: each.id)),
        organisations=(*between.organisations, laboratory),
    )
    put_list(desk, after)
    refused(desk, "changes a key of 'hospital'")


def test_first_list_shown_again_with_strangers_keys_is_not_signed_in_place_of_the_one_signed(desk):
    first = remembering(desk)
    forged = replace(taken_over(desk, first)[0], epoch=1, genesis=None, previous=None)
    run(desk, "DELETE FROM rosters")
    run(desk, "DELETE FROM acceptances")
    run(
        desk,
        "INSERT INTO rosters (digest, workspace_id, epoch, state, body, created_at) "
        "SELECT ?, id, 1, 'proposed', ?, created_at FROM workspaces",
        *(forged.digest, forged.to_bytes()),
    )
    for each in forged.members:
        run(desk, "INSERT INTO roster_members (roster_digest, member_id) VALUES (?, ?)", forged.digest, each.id)
    refused(desk, "changes a key of 'hospital'")


AFTERWARDS = {
    "an earlier epoch": {"epoch": 3},
    "another line": {"genesis": digest(b"another")},
    "another log": {"log_key": SigningKey.generate().public.text},
    "another in its place": {"epoch": 2, "previous": digest(b"another")},
}


@pytest.mark.parametrize("signed", list(AFTERWARDS))
def test_list_that_cannot_come_after_the_one_signed_is_not_signed(desk, signed):
    first = first_list(desk)
    opened, lea, _ = desk.who("lea")
    after = replace(first, epoch=2, genesis=first.digest, previous=first.digest)
    put_list(desk, after)
    remember_list(opened.context.settings, lea, replace(after, **AFTERWARDS[signed]))
    refused(desk, "does not follow|names another log")


def test_what_was_signed_is_kept_privately_before_it_leaves_and_believed_only_whole(desk):
    opened, lea, key = desk.who("lea")
    settings, where = opened.context.settings, desk.cast.workspace_id
    assert last_signed(settings, lea, where) is None
    opened.workspaces.propose_change(actor=lea.id, workspace_id=where, member_ids=[desk.cast.id("anna"), lea.id])
    accept_roster(opened, where, lea, key)
    path = settings.keys_dir / "lea.lists.json"
    assert path.stat().st_mode & 0o777 == 0o600
    assert last_signed(settings, lea, where) == opened.workspaces.show(where, actor=lea.id).proposal.roster
    path.write_text(path.read_text().replace("member-anna", "member-emma"))
    with pytest.raises(TrustError, match="not the one you signed"):
        last_signed(settings, lea, where)


def test_member_left_out_and_taken_in_again_is_compared_with_what_they_signed_before(desk):
    """The honest way: somebody's key changed meanwhile, and the one who returns is told so."""
    remembering(desk)
    cast = desk.cast
    cast.change_members("anna", "ben")
    cast.change_key("ben", SigningKey.generate())
    cast.accept_waiting("anna", "ben")
    cast.services.workspaces.propose_change(
        actor=cast.id("anna"), workspace_id=cast.workspace_id, member_ids=[cast.id(each) for each in ("anna", "ben", "lea")]
    )
    opened, lea, key = desk.who("lea")
    (change,) = changed_keys(opened, opened.workspaces.show(cast.workspace_id, actor=lea.id), lea)
    assert (change.name, change.authority) == ("ben", Authority.FORMER_KEY)
    assert lea.id not in accept_roster(opened, cast.workspace_id, lea, key).proposal.waiting_for


def test_list_that_takes_the_place_of_one_that_waited_is_signed_too(desk):
    opened, lea, key = desk.who("lea")
    where = desk.cast.workspace_id
    for policy in ("all_members", "author"):
        others = [desk.cast.id(each) for each in ("anna", "lea")] if policy == "author" else None
        opened.workspaces.propose_change(actor=lea.id, workspace_id=where, run_policy=policy, member_ids=others)
        assert lea.id not in accept_roster(opened, where, lea, key).proposal.waiting_for


def test_newcomer_signs_a_list_that_follows_one_that_all_in_it_signed(desk):
    cast = desk.cast
    cast.services.workspaces.propose_change(
        actor=cast.id("anna"),
        workspace_id=cast.workspace_id,
        member_ids=[cast.id(each) for each in ("anna", "ben", "lea", "mallory")],
    )
    opened, mallory = cast.services, cast.people["mallory"].entry
    assert changed_keys(opened, opened.workspaces.show(cast.workspace_id, actor=mallory.id), mallory) == ()


HARMLESS = Code(language=Language.SQL, text="SELECT 1 AS harmless")


def page(desk, job: str, who: str = "lea"):
    return read_page(desk.cast.services, desk.cast.people[who].entry, job)


@pytest.mark.parametrize("column", ["spec", "digest"])
def test_page_is_not_shown_with_the_digest_of_another_document(desk, column):
    """Else what is typed from the page, after the row is put back, approves what nobody saw."""
    job = desk.submitted("ben")
    shown = replace(desk.cast.spec(job), code=HARMLESS)
    run(desk, f"UPDATE revisions SET {column} = ?", shown.to_bytes() if column == "spec" else shown.digest)  # noqa: S608
    with pytest.raises(TrustError, match="another digest"):
        page(desk, job)


def test_page_names_people_and_recipients_as_the_signed_list_does(desk, capsys):
    job = desk.submitted("ben")
    run(desk, "UPDATE organisations SET name = 'x' WHERE id = 'org-hospital'")
    run(desk, "UPDATE organisations SET name = 'hospital' WHERE id = 'org-laboratory'")
    run(desk, "UPDATE organisations SET name = 'laboratory' WHERE id = 'org-hospital'")
    run(desk, "UPDATE members SET name = 'lisa' WHERE id = 'member-ben'")
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
    body = first_list(desk).to_bytes().replace(b'"name":"laboratory"', b'"name":"hospitals"')
    if changed == "list":
        run(desk, "UPDATE rosters SET body = ?", body)
    else:
        run(desk, "DELETE FROM acceptances WHERE member_id = 'member-ben'")
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
    run(desk, f"UPDATE revisions SET roster_digest = ({digests})", other)  # noqa: S608
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
    assert shown.to_json()["datasets"] == [{"alias": "findings", "name": "salaries", "dataset_id": "ds-salaries"}]
    print_page(shown)
    (line,) = [each.split() for each in capsys.readouterr().out.splitlines() if each.startswith("findings")]
    assert line[:4] == ["findings", "salaries", "ds-salaries", "laboratory"]


def test_page_gives_a_data_set_no_name_that_its_owner_did_not_sign(desk, capsys):
    """The author and the database's administrator are one: another manifest, validly signed, in place of the owner's."""
    job = alias_of_another(desk)
    cast = desk.cast
    manifest = cast.services.datasets.show("ds-salaries", actor=cast.id("lea")).versions[0].manifest
    decoy = sign_manifest(replace(manifest, name="findings"), cast.people["lea"].key)
    run(desk, "UPDATE dataset_versions SET envelope = ? WHERE dataset_id = 'ds-salaries'", decoy)
    assert page(desk, job).to_json()["datasets"][0]["name"] is None
    print_page(page(desk, job))
    assert "its signed manifest is not here" in " ".join(capsys.readouterr().out.split())


def planted(desk, **over: object) -> str:
    """A document under review whose data set is described by hand, with a manifest that fits."""
    job = alias_of_another(desk)
    cast = desk.cast
    manifest = cast.services.datasets.show("ds-salaries", actor=cast.id("lea")).versions[0].manifest
    decoy = replace(manifest, name="findings", **over)
    run(desk, "UPDATE dataset_versions SET envelope = ?", sign_manifest(decoy, cast.people["anna"].key))
    spec = cast.spec(job)
    use = replace(spec.datasets[0], manifest_digest=decoy.digest)
    spec = replace(spec, datasets=(use,))
    run(desk, "UPDATE revisions SET spec = ?, digest = ? WHERE job_id = ?", spec.to_bytes(), spec.digest, job)
    return job


OTHERS = {
    "signed by a stranger to the owner": {},
    "of another owner": {"organisation_id": "org-hospital"},
    "of another data set": {"dataset_id": "ds-patients", "organisation_id": "org-hospital"},
}


@pytest.mark.parametrize("what", list(OTHERS))
def test_page_gives_a_data_set_no_name_from_a_manifest(desk, what):
    assert page(desk, planted(desk, **OTHERS[what])).to_json()["datasets"][0]["name"] is None


def drafted(desk) -> tuple[JobView, JobDraft]:
    """A draft that anna's client wrote, with a version and columns of her choice for one data set and neither for the other."""
    cast = desk.cast
    draft = cast.draft(
        inputs=(make_input(),),
        datasets=(
            DraftDataset(alias="patients", dataset_id="ds-patients", version=1, columns=("id",)),
            DraftDataset(alias="findings", dataset_id="ds-findings"),
        ),
    )
    view = cast.services.jobs.create_draft(actor=cast.id("anna"), workspace_id=cast.workspace_id, draft=draft)
    remember_draft(cast.services.context.settings, cast.people["anna"].entry, view, draft)
    return view, draft


def submit(desk, job: str, **over):
    return submit_job(*desk.who("anna"), job, test_run_id=None, no_test_reason="small", **over)


def test_draft_is_submitted_as_its_author_wrote_it(desk):
    view, draft = drafted(desk)
    assert parse_job_spec(submit(desk, view.id).spec_bytes).code == draft.code


HARDWARE = replace(NO_HARDWARE, nitro=NitroPolicy(pcrs={"0": ("66" * 48,)}))


def swapped(uses):
    """The same names for each other's data."""
    first, second = uses
    return replace(first, dataset_id=second.dataset_id), replace(second, dataset_id=first.dataset_id)


CHANGES = {
    "code": lambda _: {"code": HARMLESS},
    "columns": lambda draft: {"datasets": (replace(draft.datasets[0], columns=None), draft.datasets[1])},
    "data set": lambda draft: {"datasets": swapped(draft.datasets)},
    "data sets": lambda draft: {"datasets": draft.datasets[:1]},
    "default": lambda _: {"inputs": (make_input(default=6),)},
    "reruns": lambda draft: {"rerun_terms": replace(draft.rerun_terms, max_runs=9, not_after="2099-01-01T00:00:00+00:00")},
    "enclaves": lambda _: {"tee_kinds": (TeeKind.NITRO,), "tee_policies": HARDWARE},
    "output": lambda draft: {"output_policy": replace(draft.output_policy, max_rows=7)},
    "limits": lambda draft: {"limits": replace(draft.limits, cores=1)},
    "engine": lambda _: {"spark_conf": {"spark.sql.shuffle.partitions": "3"}},
    "name": lambda _: {"name": "Another"},
    "description": lambda _: {"description": "something else"},
}


@pytest.mark.parametrize("what", list(CHANGES))
def test_draft_that_the_database_changed_is_not_signed(desk, what):
    view, draft = drafted(desk)
    run(desk, "UPDATE jobs SET draft = ? WHERE id = ?", to_bytes(replace(draft, **CHANGES[what](draft))), view.id)
    with pytest.raises(ConflictError, match="not what you wrote here"):
        submit(desk, view.id)
    assert desk.cast.show(view.id).revisions == ()
    assert desk.kept("anna") == {}


def test_document_that_is_not_what_the_draft_shown_says_is_not_signed(desk):
    """Between two looks at the database, the draft is another: what is compared is what is signed."""
    view, draft = drafted(desk)
    opened, anna, _ = desk.who("anna")
    settings, true = opened.context.settings, opened.jobs.spec_for_submission(view.id, actor=anna.id)
    assert is_own_draft(settings, anna, true, draft)
    first, second = true.datasets
    template = TemplateUse(name="overlap-count", version="1", digest=digest(b""), parameters={})
    others = [
        {"code": HARMLESS},
        {"kind": JobKind.NO_CODE, "template": template},
        {"datasets": (replace(first, columns=("id", "value")), second)},
        {"datasets": (replace(first, dataset_version=2), second)},
        {"datasets": swapped(true.datasets)},
        {"datasets": (first, replace(second, alias="patients_too"))},
        {"datasets": (first,)},
        {"inputs": ()},
        {"name": "Another"},
        {"description": "something else"},
        {"rerun_terms": replace(true.rerun_terms, max_runs=9, not_after="2099-01-01T00:00:00+00:00")},
        {"tee_kinds": (TeeKind.NITRO,), "tee_policies": HARDWARE},
        {"output_policy": replace(true.output_policy, max_rows=7)},
        {"spark_conf": {"spark.sql.shuffle.partitions": "3"}},
        {"limits": replace(true.limits, cores=1)},
        {"job_id": "job-another"},
        {"workspace_id": "ws-another"},
    ]
    assert [each for each in others if is_own_draft(settings, anna, replace(true, **each), draft)] == []


def test_draft_is_not_signed_as_somebody_elses_whose_organisation_would_get_the_result(desk):
    view, _ = drafted(desk)
    run(desk, "UPDATE jobs SET author_id = 'member-lea' WHERE id = ?", view.id)
    spec = desk.cast.services.jobs.spec_for_submission(view.id, actor=desk.cast.id("anna"))
    assert spec.recipients[0].organisation_id == "org-laboratory"
    for seen in (None, spec.digest):
        with pytest.raises(ConflictError, match="not what you wrote here"):
            submit(desk, view.id, expected_digest=seen)


def test_draft_of_another_job_or_replaced_since_is_not_signed(desk):
    first, draft = drafted(desk)
    second, _ = drafted(desk)
    opened, anna, _ = desk.who("anna")
    remember_draft(opened.context.settings, anna, second, replace(draft, name="Other"))
    submit(desk, first.id)
    with pytest.raises(ConflictError, match="not what you wrote here"):
        submit(desk, second.id)


def test_draft_made_elsewhere_is_signed_only_with_the_digest_of_what_was_seen(desk, capsys):
    job = desk.cast.make_job().id
    opened, anna, _ = desk.who("anna")
    with pytest.raises(ConflictError, match="not what you wrote here"):
        submit(desk, job)
    spec = opened.jobs.spec_for_submission(job, actor=anna.id)
    shown = draft_page(opened, anna, spec, test_run_id=None, no_test_reason="small")
    print_page(shown)
    assert f"job submit {job} --digest {spec.digest}" in capsys.readouterr().out
    assert shown.roster is not None
    run(desk, "UPDATE jobs SET draft = ? WHERE id = ?", to_bytes(desk.cast.draft(code=HARMLESS)), job)
    with pytest.raises(ConflictError, match="not what you looked at"):
        submit(desk, job, expected_digest=spec.digest)
    run(desk, "UPDATE jobs SET draft = ? WHERE id = ?", to_bytes(desk.cast.draft()), job)
    assert submit(desk, job, expected_digest=spec.digest).digest == spec.digest


def test_written_drafts_are_kept_privately_and_without_what_they_say(desk):
    drafted(desk)
    path = desk.cast.services.context.settings.keys_dir / "anna.drafts.json"
    assert path.stat().st_mode & 0o777 == 0o600
    assert "SELECT" not in path.read_text()
