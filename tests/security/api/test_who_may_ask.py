"""Every operation of the API, asked by everybody: nobody, a stranger, a partner, a colleague, the author."""

import pytest

from opaque_jobs.crypto.consent import sign_acceptance
from opaque_jobs.crypto.key_changes import SignedChange
from opaque_jobs.crypto.keys import SigningKey
from opaque_jobs.domain import dataset as words
from opaque_jobs.domain.job import Code, Language
from opaque_jobs.domain.lifecycle import JobEvent
from opaque_jobs.domain.review import Decision
from opaque_jobs.errors import DeniedError, InvalidInputError, NotFoundError, OpaqueJobsError, TrustError
from opaque_jobs.protocol.api import NOUNS
from opaque_jobs.protocol.operations import ROUTES, operations_of
from tests.support.consortium import copy_consortium
from tests.support.coordinator_scene import CoordinatorScene

OPERATIONS = {each.id: each for noun, declared in NOUNS.items() for each in operations_of(noun, declared)}
JUNK = b"{}"
CHANGE = SignedChange(word=JUNK, possession=None)


def arguments(scene, operation):
    """Give what an operation is asked with, about things of anna's and of her workspace."""
    study = scene.study
    ids = {
        "workspace_id": study.workspace_id,
        "dataset_id": study.dataset_ids["patients"],
        "job_id": scene.job.id,
        "run_id": scene.run.id,
        "upload_id": scene.upload,
        "member_id": study.id("anna"),
        "organisation_id": "org-hospital",
    }
    more = {
        "people.members": {"name": None},
        "keys.signed_changes": {"owner_id": (study.id("anna"),)},
        "keys.change_member_key": {"signed": CHANGE},
        "keys.change_sealing_key": {"signed": CHANGE},
        "keys.propose": {"owner_id": study.id("anna")},
        "workspaces.create": {"name": "Another", "member_ids": ()},
        "workspaces.propose_change": {"member_ids": ()},
        "workspaces.accept": {"envelope": JUNK},
        "datasets.register": {"envelope": JUNK, "source": words.Source.LOCAL},
        "datasets.add_version": {"envelope": JUNK},
        "datasets.attach_test_data": {"kind": words.TestDataKind.NONE, "upload_id": None},
        "datasets.share": {"envelope": JUNK},
        "datasets.unshare": {"envelope": JUNK},
        "datasets.check_sharing": {"shared": False},
        "datasets.renew_signature": {"envelope": JUNK},
        "datasets.set_released": {"envelope": JUNK},
        "datasets.record_erasure": {"envelope": JUNK},
        "datasets.list": {"workspace_id": study.workspace_id},
        "jobs.list": {"workspace_id": study.workspace_id},
        "jobs.create_draft": {"draft": study.draft()},
        "jobs.edit": {"draft": study.draft(), "version": 1},
        "jobs.check_event": {"event": JobEvent.REVISE},
        "jobs.diff": {"revision": None},
        "reviews.bundle": {"revision": 1},
        "reviews.submit": {"spec": study.spec(scene.job.id).to_bytes(), "envelope": JUNK},
        "reviews.check_submission": {"spec": study.spec(scene.job.id).to_bytes(), "no_test_reason": "none"},
        "reviews.vote": {"envelope": JUNK},
        "reviews.check_vote": {"decision": Decision.APPROVE},
        "reviews.cancel_review": {"withdrawal": JUNK},
        "reviews.withdraw": {"envelope": JUNK},
        "runs.lease": {"revision": 1},
        "runs.check_start": {"revision": 1, "inputs": {}},
        "runs.start_test": {"inputs": {}},
        "queries.show": {"name": "mine"},
        "queries.pin": {"name": "mine", "code": Code(language=Language.SQL, text="SELECT 1 AS a")},
        "queries.unpin": {"name": "mine"},
        "logs.proven": {"size": 1},
        "logs.consistency": {"first": 0, "second": 1},
    }
    given = {name: ids[name] for name in operation.parameters if name in ids and operation.parameters[name].required}
    return given | {name: value for name, value in more.get(operation.id, {}).items() if name in operation.parameters}


def ask(scene, name, operation_id):
    """Give what somebody gets: the result, or the error."""
    operation = OPERATIONS[operation_id]
    noun = getattr(scene.as_member(name), operation.noun)
    try:
        return getattr(noun, operation.name)(**arguments(scene, operation))
    except OpaqueJobsError as error:
        return error


@pytest.fixture(scope="module")
def scene(settled, tmp_path_factory):
    """One for all: nothing here changes anything."""
    study = copy_consortium(settled, tmp_path_factory.mktemp("asked") / "home")
    scene = CoordinatorScene(study)
    scene.job, scene.run = scene.finished_run()
    scene.upload = scene.as_member("anna").uploads.begin().id
    yield scene
    scene.close()
    study.services.close()


KEYS = {"keys.change_member_key", "keys.change_sealing_key", "keys.propose"}
OPEN_TO_ALL_MEMBERS = {
    "people.me", "people.members", "people.organisations", "workspaces.list", "workspaces.create", "uploads.begin",
    "keys.signed_changes",
}  # fmt: skip


@pytest.mark.parametrize("operation_id", OPERATIONS)
def test_operation_asked_by_nobody_is_refused(scene, operation_id):
    answer = ask(scene, None, operation_id)
    assert isinstance(answer, DeniedError)
    assert "nobody is logged in" in str(answer)


@pytest.mark.parametrize("operation_id", sorted(OPERATIONS.keys() - OPEN_TO_ALL_MEMBERS - KEYS))
def test_operation_asked_by_a_stranger_finds_nothing(scene, operation_id):
    before = scene.study.services.jobs.show(scene.job.id, actor=scene.study.id("anna"))
    assert isinstance(ask(scene, "mallory", operation_id), NotFoundError)
    assert scene.study.services.jobs.show(scene.job.id, actor=scene.study.id("anna")) == before


@pytest.mark.parametrize("name", ["mallory", "lea"])
@pytest.mark.parametrize("operation_id", sorted(KEYS))
def test_key_of_another_organisation_is_not_theirs_to_speak_of(scene, operation_id, name):
    before = scene.study.services.workspaces.show(scene.study.workspace_id, actor=scene.study.id("anna"))
    assert isinstance(ask(scene, name, operation_id), DeniedError)
    assert scene.study.services.workspaces.show(scene.study.workspace_id, actor=scene.study.id("anna")) == before


def test_key_change_that_nobody_signed_is_refused_to_colleagues_too(scene):
    for operation_id in ("keys.change_member_key", "keys.change_sealing_key"):
        assert isinstance(ask(scene, "ben", operation_id), TrustError | InvalidInputError)


def test_changes_of_keys_are_shown_to_those_who_know_whose_they_are(settled, tmp_path):
    study = copy_consortium(settled, tmp_path / "home")
    study.change_key("anna", SigningKey.generate())
    scene = CoordinatorScene(study)
    asked = {name: scene.as_member(name).keys for name in ("ben", "lea", "mallory")}
    found = {name: len(keys.signed_changes(owner_id=(study.id("anna"),))) for name, keys in asked.items()}
    scene.close()
    study.services.close()
    assert found == {"ben": 1, "lea": 1, "mallory": 0}


def test_document_of_another_job_is_not_checked_as_this_ones(scene):
    anna, other = scene.as_member("anna"), scene.study.make_job()
    with pytest.raises(InvalidInputError, match="another job's"):
        anna.reviews.check_submission(other.id, spec=scene.study.spec(scene.job.id).to_bytes(), no_test_reason="none")


def test_lists_of_a_stranger_hold_nothing_of_others(scene):
    mallory = scene.as_member("mallory")
    assert mallory.workspaces.list().items == ()
    assert mallory.keys.signed_changes(owner_id=(scene.study.id("anna"), "org-hospital")) == ()
    assert mallory.jobs.list().items == ()
    assert mallory.datasets.list().items != ()  # the laboratory's own: mallory works there
    assert {each.organisation_id for each in mallory.datasets.list().items} == {"org-laboratory"}
    assert {each.name for each in mallory.people.members().items} == {"lea", "mallory"}
    assert [each.entry.id for each in mallory.people.organisations().items] == ["org-laboratory"]
    by_id = mallory.people.organisations(organisation_id=("org-hospital", "org-nowhere")).items
    assert [each.entry.id for each in by_id] == ["org-hospital"]
    assert [each.id for each in mallory.people.members(name="anna").items] == ["member-anna"]
    assert mallory.people.members(name="ann").items == ()


AUTHORS = {
    "jobs.edit", "jobs.revise", "jobs.check_event",
    "reviews.check_submission", "jobs.archive", "jobs.unarchive", "jobs.delete", "reviews.submit", "reviews.cancel_review",
}  # fmt: skip
RUNNERS = {"runs.cancel"}
OWNERS = {
    "datasets.add_version", "datasets.attach_test_data", "datasets.share", "datasets.unshare", "datasets.renew_signature",
    "datasets.delete", "datasets.check_sharing",
    "datasets.set_released", "datasets.readers", "datasets.record_erasure",
    "datasets.check_unused",
}  # fmt: skip
READERS = {"runs.files"}


@pytest.mark.parametrize("name", ["ben", "lea"])
@pytest.mark.parametrize("operation_id", sorted(AUTHORS | RUNNERS))
def test_operation_of_the_author_is_denied_to_other_members(scene, operation_id, name):
    assert isinstance(ask(scene, name, operation_id), DeniedError)


@pytest.mark.parametrize("operation_id", sorted(OWNERS | READERS))
def test_operation_of_the_owning_organisation_is_denied_to_partners(scene, operation_id):
    answer = ask(scene, "lea", operation_id)
    assert isinstance(answer, OpaqueJobsError)
    if operation_id not in {"datasets.add_version", "datasets.renew_signature", "datasets.share", "datasets.unshare"}:
        assert isinstance(answer, DeniedError)


FOR_ALL_MEMBERS = [
    "workspaces.show", "workspaces.broker_push", "jobs.show", "jobs.list", "jobs.diff", "reviews.status", "reviews.bundle",
    "runs.history", "runs.show",
    "runs.lease", "keys.signed_changes", "datasets.show", "datasets.list", "logs.head", "logs.entries", "logs.proven",
    "logs.consistency",
]  # fmt: skip


@pytest.mark.parametrize("name", ["anna", "ben", "lea"])
@pytest.mark.parametrize("operation_id", FOR_ALL_MEMBERS)
def test_operation_that_every_member_may_ask_is_answered(scene, operation_id, name):
    assert not isinstance(ask(scene, name, operation_id), OpaqueJobsError)


def test_vote_and_withdrawal_signed_by_another_are_refused(scene):
    study, lea = scene.study, scene.as_member("lea")
    spec = study.spec(scene.job.id)
    with pytest.raises(DeniedError, match="not signed by you"):
        lea.reviews.vote(scene.job.id, envelope=study.sign(spec, "ben"))
    with pytest.raises(DeniedError, match="not signed by you"):
        lea.reviews.withdraw(scene.job.id, envelope=study.withdrawal(spec, "ben"))


def test_acceptance_signed_by_another_is_refused(scene):
    study = scene.study
    members = [study.id("anna"), study.id("lea")]
    proposal = study.services.workspaces.propose_change(
        actor=study.id("anna"), workspace_id=study.workspace_id, member_ids=members
    )
    anna = study.people["anna"]
    envelope = sign_acceptance(proposal.roster, proposal.roster.member(anna.id), anna.key, now=study.clock())
    with pytest.raises(DeniedError, match="not signed by you"):
        scene.as_member("lea").workspaces.accept(study.workspace_id, envelope=envelope)


FILES = {
    "run": lambda scene: f"/runs/{scene.run.id}/files/log.sealed.json",
    "test data": lambda scene: f"/datasets/{scene.study.dataset_ids['patients']}/test-files/part-00000.parquet",
    "ciphertext": lambda scene: f"/datasets/{scene.study.dataset_ids['patients']}/versions/1/files/part-00000.parquet",
}
MAY = {"run": {"anna", "ben"}, "test data": {"anna", "ben", "lea"}, "ciphertext": {"anna", "ben"}}


@pytest.mark.parametrize("name", [None, "mallory", "lea", "ben", "anna"])
@pytest.mark.parametrize("what", FILES)
def test_file_is_sent_to_those_who_may_have_it(scene, what, name):
    def sent():
        return scene.connection(name).send("GET", FILES[what](scene), headers={}).content

    if name in MAY[what]:
        assert sent()
    else:
        with pytest.raises(NotFoundError if name == "mallory" else DeniedError):
            sent()


ELSEWHERE = ["../log.sealed.json", "..%2f..%2fopaque-jobs.db", "%2e%2e/x", "no-such", ""]


@pytest.mark.parametrize("name", ELSEWHERE)
def test_file_by_a_name_that_leads_elsewhere_is_not_there(scene, name):
    with pytest.raises(NotFoundError):
        scene.connection("anna").send("GET", f"/runs/{scene.run.id}/files/{name}", headers={})


def test_upload_of_another_is_not_there(scene):
    for name in ("ben", "lea", "mallory"):
        with pytest.raises(NotFoundError):
            scene.connection(name).send("PUT", f"/uploads/{scene.upload}/files/a", headers={"Upload-Offset": "0"}, content=b"x")
    assert scene.as_member("anna").uploads.show(scene.upload).files == ()


def test_every_route_of_the_application_is_an_operation_or_a_file(scene):
    app = scene.app
    known = {(each.method, ROUTES + each.path) for each in OPERATIONS.values()}
    extra = {(method, route.path) for route in app.routes for method in getattr(route, "methods", ()) - {"HEAD"}} - known
    assert extra == {
        ("GET", f"{ROUTES}/openapi.json"),
        ("POST", f"{ROUTES}/auth/challenge"),
        ("POST", f"{ROUTES}/auth/token"),
        ("GET", ROUTES + "/runs/{run_id}/files/{name:path}"),
        ("GET", ROUTES + "/datasets/{dataset_id}/test-files/{name}"),
        ("GET", ROUTES + "/datasets/{dataset_id}/versions/{version}/files/{name}"),
        ("PUT", ROUTES + "/uploads/{upload_id}/files/{name}"),
    }
