"""What the enclave itself checks about a run before it asks anybody for a key."""

import base64
from dataclasses import replace

import pytest

from opaque_jobs.domain.dataset import Column
from opaque_jobs.domain.job import Recipient
from opaque_jobs.enclave.agent.admission import AdmissionError, admit
from opaque_jobs.protocol.enclave import FailureWord, Start
from tests.world import World


@pytest.fixture
def world() -> World:
    return World()


def make_start(world: World, spec=None, consent=None, **over) -> Start:
    spec = spec or world.make_spec()
    consent = consent or world.make_bundle(spec, inputs={"threshold": 6})
    uses = {use.alias: use for use in spec.datasets}
    envelopes = {each.use().alias: world.manifest_envelope(each).decode() for each in world.organisations}
    given = {
        "mode": "real",
        "run_id": "run-1",
        "job_spec": base64.b64encode(spec.to_bytes()).decode(),
        "bundle": base64.b64encode(consent.to_bytes()).decode(),
        "manifests": {alias: envelopes[alias] for alias in uses},
        "inputs": {"threshold": 6},
        "heap_bytes": 1 << 30,
        "cores": 2,
        "sent_at": "now",
        "tee": "simulated",
    }
    return Start(**(given | over))


def refusal(start: Start) -> AdmissionError:
    with pytest.raises(AdmissionError) as caught:
        admit(start)
    return caught.value


def test_admission_of_an_approved_run_gives_its_effective_inputs(world):
    admission = admit(make_start(world))

    assert admission.inputs == {"threshold": 6, "fixed": 7}
    assert admission.job_digest == world.make_spec().digest
    assert [key.key_id for key in admission.recipients] == [world.hospital.sealing.public.key_id]
    assert set(admission.manifests) == {"data_org_hospital", "data_org_laboratory"}


def test_admission_without_one_vote_is_refused(world):
    spec = world.make_spec()
    bundle = world.make_bundle(spec, approvals=world.votes(spec, [world.anna, world.ben]), inputs={"threshold": 6})

    error = refusal(make_start(world, spec, bundle))

    assert (error.word, error.reasons) == (FailureWord.DIGEST_MISMATCH, ("not-unanimous",))


def test_admission_of_other_code_than_approved_is_refused(world):
    spec = world.make_spec()
    changed = replace(spec, code=replace(spec.code, text="select * from data_org_hospital"))

    assert refusal(make_start(world, changed, world.make_bundle(spec))).word is FailureWord.DIGEST_MISMATCH


def test_admission_after_a_withdrawal_is_refused(world):
    spec = world.make_spec()
    bundle = world.make_bundle(spec, withdrawals=(world.withdrawal(spec, world.carl).decode(),))

    assert refusal(make_start(world, spec, bundle)).word is FailureWord.DIGEST_MISMATCH


def test_admission_of_a_run_that_is_not_in_the_log_is_refused(world):
    spec = world.make_spec()
    for bundle in (world.make_bundle(spec, run_id="run-2", inputs={"threshold": 6}), world.make_bundle(spec)):
        error = refusal(make_start(world, spec, bundle))
        assert (error.word, error.reasons) == (FailureWord.DIGEST_MISMATCH, ("run-not-in-log",))


def test_admission_without_proof_from_the_log_is_refused(world):
    spec = world.make_spec()
    error = refusal(make_start(world, spec, world.make_bundle(spec, log=None)))
    assert error.reasons == ("log-checkpoint-invalid",)


def test_admission_with_another_recipient_is_refused(world):
    sealing = world.laboratory.sealing.public
    other = Recipient(organisation_id="org-laboratory", sealing_key=sealing.text, sealing_key_id=sealing.key_id)

    assert refusal(make_start(world, world.make_spec(recipients=(other,)))).word is FailureWord.DIGEST_MISMATCH


@pytest.mark.parametrize("inputs", [{"fixed": 8}, {"threshold": 101}, {"threshold": "6"}, {"unknown": 1}])
def test_admission_with_inputs_outside_the_terms_is_refused(world, inputs):
    assert refusal(make_start(world, inputs=inputs)).word is FailureWord.INPUTS_REFUSED


def test_admission_with_another_manifest_than_pinned_is_refused(world):
    start = make_start(world)
    other = world.manifest_envelope(world.hospital, columns=(Column(name="id", type="int64"), Column(name="value", type="int64")))

    changed = replace(start, manifests=start.manifests | {"data_org_hospital": other.decode()})

    assert refusal(changed).word is FailureWord.MANIFEST_REFUSED


def test_admission_with_swapped_manifests_is_refused(world):
    start = make_start(world)
    one, other = start.manifests.values()

    swapped = replace(start, manifests={"data_org_hospital": other, "data_org_laboratory": one})

    assert refusal(swapped).word is FailureWord.MANIFEST_REFUSED


@pytest.mark.parametrize("alias", ["data_org_hospital", "another"])
def test_admission_with_a_missing_or_additional_manifest_is_refused(world, alias):
    manifests = dict(make_start(world).manifests)
    if alias in manifests:
        del manifests[alias]
    else:
        manifests[alias] = manifests["data_org_hospital"]

    assert refusal(make_start(world, manifests=manifests)).word is FailureWord.MANIFEST_REFUSED


@pytest.mark.parametrize(
    "over",
    [
        {"mode": "test"},
        {"mode": "other"},
        {"job_spec": "e30="},
        {"job_spec": "not base64"},
        {"bundle": ""},
        {"bundle": "e30="},
        {"run_id": "../run"},
        {"cores": 0},
        {"heap_bytes": 0},
    ],
)
def test_admission_of_an_unsound_start_is_refused(world, over):
    assert refusal(make_start(world, **over)).word is FailureWord.DIGEST_MISMATCH


def test_admission_of_a_test_run_has_no_recipients_and_takes_all_inputs(world):
    admission = admit(make_start(world, mode="test", bundle="", manifests={}, inputs={"fixed": 9}))

    assert admission.inputs == {"threshold": 5, "fixed": 9}
    assert admission.recipients == ()
    assert admission.roster is None


def following(world: World, *aliases: str):
    terms = replace(world.make_spec().rerun_terms, follows=aliases)
    return world.make_spec(rerun_terms=terms)


def with_version_two(world: World, spec, **over) -> Start:
    envelopes = {each.use().alias: world.manifest_envelope(each).decode() for each in world.organisations}
    newer = world.manifest_envelope(world.hospital, **({"dataset_version": 2} | over)).decode()
    return make_start(world, spec, manifests=envelopes | {"data_org_hospital": newer})


def test_admission_of_a_newer_version_that_the_terms_follow_reads_that_version(world):
    admission = admit(with_version_two(world, following(world, "data_org_hospital")))

    assert [use.dataset_version for use in admission.uses] == [2, 1]
    assert admission.uses[0].manifest_digest == admission.manifests["data_org_hospital"].digest
    assert set(admission.refreshed) == {"data_org_hospital"}


def test_admission_of_a_newer_version_that_the_terms_do_not_follow_is_refused(world):
    for spec in (world.make_spec(), following(world, "data_org_laboratory")):
        assert refusal(with_version_two(world, spec)).word is FailureWord.MANIFEST_REFUSED


def test_admission_of_a_newer_version_with_other_columns_is_refused(world):
    columns = tuple(Column(name=name, type="string") for name in ("id", "value", "site", "hidden"))
    start = with_version_two(world, following(world, "data_org_hospital"), columns=columns)
    assert refusal(start).word is FailureWord.MANIFEST_REFUSED
