"""A receipt, changed in every place that matters: each change is caught, and in the step meant for it."""

import base64
import json
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from simulated_agent import SimulatedAgent, changed_record, relabelled

from opaque_jobs.attestation.binding import TeePublicKeys, init_data, report_data
from opaque_jobs.attestation.result import issue_result, verify_result
from opaque_jobs.attestation.simulated import SimulatedAttester
from opaque_jobs.crypto.keys import SealingKey, SealingPublicKey, SigningKey, VerifyKey
from opaque_jobs.crypto.service_keys import create_service_key, load_service_key
from opaque_jobs.crypto.signing import sign_statement
from opaque_jobs.domain.approval_rule import ApprovalRule
from opaque_jobs.domain.attested import ATTESTED
from opaque_jobs.domain.canonical import digest
from opaque_jobs.domain.inputs import InputType, InputVariable
from opaque_jobs.domain.job import TeeKind, parse_job_spec
from opaque_jobs.domain.run import OutputFile, inputs_digest
from opaque_jobs.errors import TrustError
from opaque_jobs.runner.execution import execute
from opaque_jobs.verify.receipts import inspect_receipt, verify_receipt
from tests.support.tee_policies import make_tdx_policy, on_hardware
from tests.support.trust import make_trust


@pytest.fixture
def ready(study):
    study.anchor = create_service_key(study.services.context.settings.simulated_key_path)
    return study


def _case(cast, job=None, **knobs):
    """Run a job whose agent behaves as told; gives receipt and documents before anything was judged."""
    found = {}

    def collect(request):
        found["envelope"] = (request.out_dir / "receipt.json").read_bytes()
        found["files"] = {
            path.relative_to(request.out_dir): path.read_bytes() for path in request.out_dir.rglob("*") if path.is_file()
        }
        found["spec_bytes"] = base64.b64decode(request.start.job_spec)
        found["bundle_bytes"] = base64.b64decode(request.start.bundle)

    run = cast.open_run((job or cast.accepted_job()).id)
    agent = SimulatedAgent(cast, before_end=collect, **knobs)
    outcome = execute(cast.services, run.id, cores=1, memory_bytes=1 << 31, session=agent)
    folder = cast.home / "copy"
    for name, data in found.pop("files").items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(data)
    given = {"inputs": {}, "refreshed": {}, "folder": folder, "trust": make_trust(simulated_keys=(cast.anchor.text,))}
    return outcome, found.pop("envelope"), found | given


def _failed_step(envelope, given):
    report = inspect_receipt(envelope, **given)
    assert not report.holds
    return report.steps[-1].number


def test_sound_receipt_holds_in_all_steps(ready):
    _, envelope, given = _case(ready)
    report = inspect_receipt(envelope, **given)
    assert report.holds
    assert report.approval_rule is ApprovalRule.UNANIMOUS
    assert [step.number for step in report.steps] == [1, 2, 3, 4, 5, 6, 7, 8]
    assert verify_receipt(envelope, **given).trust_label == "simulated"


CHANGES = [
    (lambda receipt: replace(receipt, code_digest="sha256:" + "0" * 64), 2),
    (lambda receipt: replace(receipt, epoch=2), 2),
    (lambda receipt: replace(receipt, revision=9), 2),
    (lambda receipt: replace(receipt, measurement="sha256:" + "0" * 64), 2),
    (lambda receipt: replace(receipt, measurement=None), 2),
    (lambda receipt: replace(receipt, attested=ATTESTED[TeeKind.SEV_SNP]), 2),
    (lambda receipt: replace(receipt, trust_label="tdx"), 2),
    (lambda receipt: replace(receipt, manifests={}), 2),
    (lambda receipt: replace(receipt, policies={}), 2),
    (lambda receipt: replace(receipt, policies=dict.fromkeys(receipt.policies, receipt.code_digest)), 2),
    (lambda receipt: replace(receipt, recipients=("sha256:" + "0" * 64,)), 2),
    (lambda receipt: replace(receipt, bundle_digest="sha256:" + "0" * 64), 3),
    (lambda receipt: replace(receipt, inputs_digest="sha256:" + "0" * 64), 4),
    (lambda receipt: replace(receipt, log_checkpoint="0 x"), 5),
    (lambda receipt: replace(receipt, evidence=receipt.evidence[:1]), 6),
    (lambda receipt: replace(receipt, evidence=(*receipt.evidence, receipt.evidence[0])), 6),
    (lambda receipt: changed_record(receipt, nonce=base64.b64encode(b"x" * 32).decode()), 6),
    (lambda receipt: changed_record(receipt, evidence=receipt.evidence[1].evidence), 6),
    (lambda receipt: replace(receipt, tee_sealing_key=SealingKey.generate().public.text), 6),
    (lambda receipt: changed_record(receipt, token=receipt.evidence[1].token), 7),
    (lambda receipt: changed_record(receipt, token="not.a.token"), 7),
    (lambda receipt: replace(receipt, started_at="2020-01-01T00:00:00+00:00", finished_at="2020-01-01T00:01:00+00:00"), 7),
    (lambda receipt: replace(receipt, outputs=()), 8),
    (lambda receipt: replace(receipt, outputs=(*receipt.outputs, receipt.outputs[0])), 8),
    (
        lambda receipt: replace(receipt, outputs=(*receipt.outputs, OutputFile(name="x", size_bytes=1, sha256="sha256:0"))),
        8,
    ),
    (lambda receipt: replace(receipt, outputs=(replace(receipt.outputs[0], size_bytes=1),)), 8),
    (lambda receipt: replace(receipt, outputs=(replace(receipt.outputs[0], sha256="sha256:" + "0" * 64),)), 8),
]


@pytest.mark.parametrize(("change", "step"), CHANGES)
def test_lying_receipt_fails_in_its_step_and_the_run_with_it(ready, change, step):
    outcome, envelope, given = _case(ready, change_receipt=change)
    assert (outcome.state, outcome.reason) == ("failed", "receipt-refused")
    report = inspect_receipt(envelope, **given)
    assert (report.holds, report.steps[-1].number) == (False, step)
    with pytest.raises(TrustError):
        verify_receipt(envelope, **given)


def test_receipt_signed_by_another_key_than_the_attested_one_fails(ready):
    outcome, _, _ = _case(ready, signer=SigningKey.generate())
    assert outcome.reason == "receipt-refused"


def test_receipt_that_names_the_forgers_own_key_fails_at_the_evidence(ready):
    forger = SigningKey.generate()
    _, envelope, given = _case(
        ready, signer=forger, change_receipt=lambda receipt: replace(receipt, tee_signing_key=forger.public.text)
    )
    assert _failed_step(envelope, given) == 6


def test_receipt_of_another_run_does_not_serve(ready):
    outcome, _, _ = _case(ready, change_receipt=lambda receipt: replace(receipt, run_id="run-other"))
    assert outcome.reason == "receipt-refused"


def test_evidence_under_a_key_that_is_not_the_anchor_fails(ready):
    _, envelope, given = _case(ready)
    report = inspect_receipt(envelope, **(given | {"trust": make_trust(simulated_keys=(SigningKey.generate().public.text,))}))
    assert not report.holds
    assert report.steps[-1].number == 6


def test_receipt_for_another_workspace_fails(ready):
    _, envelope, given = _case(ready)
    trust = given["trust"]
    assert not inspect_receipt(envelope, **(given | {"trust": replace(trust, workspace_genesis="sha256:" + "0" * 64)})).holds


@pytest.mark.parametrize("changed", ["log", "a broker", "a broker that is not known"])
def test_receipt_is_compared_with_what_is_known_beforehand(ready, changed):
    _, envelope, given = _case(ready)
    roster = ready.services.workspaces.show(ready.workspace_id, actor=ready.id("lea")).roster
    brokers = {each.id: each.broker_signing_key for each in roster.organisations}
    known = replace(given["trust"], workspace_genesis=roster.genesis_digest, log_key=roster.log_key, brokers=brokers)
    assert inspect_receipt(envelope, **(given | {"trust": known})).holds
    other = SigningKey.generate().public.text
    over = {
        "log": {"log_key": other},
        "a broker": {"brokers": {**brokers, "org-laboratory": other}},
        "a broker that is not known": {"brokers": {"org-hospital": brokers["org-hospital"]}},
    }[changed]
    assert inspect_receipt(envelope, **(given | {"trust": replace(known, **over)})).steps[-1].number == 3


@pytest.mark.parametrize("step", ["flip", "add", "remove", "link"])
def test_changed_result_folder_fails(ready, step):
    _, envelope, given = _case(ready)
    part = given["folder"] / "result.sealed"
    match step:
        case "flip":
            part.write_bytes(b"sealed rowz")
        case "add":
            (given["folder"] / "part-00001.parquet").write_bytes(b"planted")
        case "remove":
            part.unlink()
        case "link":
            part.rename(given["folder"].parent / "elsewhere")
            part.symlink_to(given["folder"].parent / "elsewhere")
    report = inspect_receipt(envelope, **given)
    assert (report.holds, report.steps[-1].number) == (False, 8)


def test_every_flipped_character_of_the_envelope_is_caught(ready):
    _, envelope, given = _case(ready)
    document = json.loads(envelope)
    for where in range(0, len(envelope), max(1, len(envelope) // 60)):
        changed = envelope[:where] + (b"B" if envelope[where : where + 1] != b"B" else b"C") + envelope[where + 1 :]
        assert not inspect_receipt(changed, **given).holds
    document["signatures"].append(document["signatures"][0])
    assert not inspect_receipt(json.dumps(document).encode(), **given).holds


def test_receipt_with_another_jobs_document_fails(ready):
    _, envelope, given = _case(ready)
    other = ready.spec(ready.accepted_job(description="other").id)
    report = inspect_receipt(envelope, **(given | {"spec_bytes": other.to_bytes()}))
    assert not report.holds
    assert report.steps[-1].number == 2


def test_receipt_with_a_document_that_differs_in_nothing_it_repeats_fails(ready):
    _, envelope, given = _case(ready)
    other = replace(parse_job_spec(given["spec_bytes"]), description="harmless")
    report = inspect_receipt(envelope, **(given | {"spec_bytes": other.to_bytes()}))
    assert not report.holds
    assert report.steps[-1].number == 2


def test_receipt_whose_approvals_are_not_unanimous_fails_there(ready):
    bundles = {}

    def short(receipt):
        bundle = ready.services.reviews.bundle(receipt.job_id, receipt.revision)
        bundles["short"] = replace(bundle, approvals=bundle.approvals[:2]).to_bytes()
        return replace(receipt, bundle_digest=digest(bundles["short"]))

    _, envelope, given = _case(ready, change_receipt=short)
    report = inspect_receipt(envelope, **(given | {"bundle_bytes": bundles["short"]}))
    assert not report.holds
    assert report.steps[-1].number == 3


def test_receipt_with_a_value_for_an_input_that_the_terms_fix_fails_there(ready):
    fixed = InputVariable(name="least", type=InputType.INTEGER, description="", default=7, constraints=(), sensitive=False)
    job = ready.accepted_job(inputs=(fixed,))
    set_by_someone = {"least": 1}
    _, envelope, given = _case(
        ready, job, change_receipt=lambda receipt: replace(receipt, inputs_digest=inputs_digest(set_by_someone))
    )
    assert _failed_step(envelope, given | {"inputs": set_by_someone}) == 4


def test_simulated_evidence_does_not_serve_for_a_hardware_label(ready):
    job = ready.accepted_job(**on_hardware(tdx=make_tdx_policy()))
    outcome, envelope, given = _case(ready, job, change_receipt=lambda receipt: relabelled(receipt, TeeKind.TDX))
    assert outcome.reason == "receipt-refused"
    assert _failed_step(envelope, given) == 6


def test_receipt_that_names_another_run_than_its_subject_fails(ready):
    _, envelope, given = _case(ready)
    document = json.loads(envelope)
    statement = json.loads(base64.b64decode(document["payload"]))
    key = SigningKey.generate()
    predicate = statement["predicate"] | {"tee_signing_key": key.public.text}
    forged = sign_statement(
        key,
        predicate_type=statement["predicateType"],
        subject_name="run-other",
        subject_digest="sha256:" + statement["subject"][0]["digest"]["sha256"],
        predicate=predicate,
    )
    assert inspect_receipt(forged, **given).steps[-1].number == 1


def _keys(receipt):
    return TeePublicKeys(
        sealing=SealingPublicKey.parse(receipt.tee_sealing_key), signing=VerifyKey.parse(receipt.tee_signing_key)
    )


@pytest.mark.parametrize("claim", ["measurement", "report_data", "init_data"])
def test_evidence_by_the_anchor_about_something_else_fails(ready, claim):
    attester = SimulatedAttester(load_service_key(ready.services.context.settings.simulated_key_path))

    def forge(receipt):
        record = receipt.evidence[0]
        spec = parse_job_spec(ready.services.jobs.show(receipt.job_id, actor=ready.id("anna")).revisions[0].spec_bytes)
        run = init_data(
            job_digest=spec.digest,
            run_id=receipt.run_id,
            bundle_digest=receipt.bundle_digest,
            inputs={},
            manifests=receipt.manifests,
            log_checkpoint=receipt.log_checkpoint,
        )
        claims = {
            "measurement": receipt.measurement,
            "report_data": report_data(nonce=record.nonce, keys=_keys(receipt), init_data=run),
            "init_data": run,
        }
        other = {"measurement": "sha256:" + "0" * 64, "report_data": b"0" * 48, "init_data": b"0" * 48}
        sound = base64.b64encode(attester.evidence(**claims)).decode()
        assert sound == record.evidence
        false = attester.evidence(**(claims | {claim: other[claim]}))
        return changed_record(receipt, evidence=base64.b64encode(false).decode())

    _, envelope, given = _case(ready, change_receipt=forge)
    assert _failed_step(envelope, given) == 6


@pytest.mark.parametrize(
    "claim", ["verifier", "measurement", "nonce", "tee_key_id", "policies", "log_head", "job_digest", "run_id", "issued_at"]
)
def test_token_by_the_broker_about_something_else_fails(ready, claim):
    others = {
        "verifier": "org-laboratory",
        "measurement": "sha256:" + "0" * 64,
        "nonce": "other",
        "tee_key_id": "sha256:" + "0" * 64,
        "policies": {},
        "log_head": "",
        "job_digest": "sha256:" + "0" * 64,
        "run_id": "run-other",
        "issued_at": datetime(2026, 1, 1, tzinfo=UTC),
    }

    def forge(receipt):
        record = receipt.evidence[0]
        broker = ready.organisations[record.organisation_id.removeprefix("org-")].signing
        sound = verify_result(record.token, broker.public, now=datetime.fromisoformat(receipt.started_at))
        return changed_record(receipt, token=issue_result(replace(sound, **{claim: others[claim]}), broker))

    _, envelope, given = _case(ready, change_receipt=forge)
    assert _failed_step(envelope, given) == 7
