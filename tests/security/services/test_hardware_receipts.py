"""Receipts of runs on hardware: verified offline against the maker's roots and the policy that members approved."""

import base64
from dataclasses import replace

import pytest
from simulated_agent import SimulatedAgent, relabelled

from opaque_jobs.attestation.hardware import MAKERS
from opaque_jobs.cli.receipt import print_report
from opaque_jobs.crypto.service_keys import create_service_key
from opaque_jobs.domain.job import TeeKind
from opaque_jobs.domain.receipt_trust import ReceiptTrust
from opaque_jobs.runner.execution import execute
from opaque_jobs.verify.receipts import inspect_receipt
from tests.support.amd_simulator import AmdAttester
from tests.support.tee_policies import make_snp_policy, on_hardware

OPEN = ("chip-not-demanded", "provider-not-demanded", "revocations-not-demanded", "runtime-not-measured")
"""What the policies of tests leave open, and what no policy can demand."""


@pytest.fixture
def ready(study):
    study.anchor = create_service_key(study.services.context.settings.simulated_key_path)
    return study


def receipt_of(cast, hardware, policy=None, **knobs):
    """Let an agent on hardware make a receipt; this installation itself plays the hardware, and rightly refuses it."""
    job = cast.accepted_job(**on_hardware(sev_snp=policy or make_snp_policy()))
    found = {}

    def collect(request):
        found["envelope"] = (request.out_dir / "receipt.json").read_bytes()
        found["spec_bytes"] = base64.b64decode(request.start.job_spec)
        found["bundle_bytes"] = base64.b64decode(request.start.bundle)

    agent = SimulatedAgent(cast, before_end=collect, hardware=hardware, **({"warnings": OPEN} | knobs))
    outcome = execute(cast.services, cast.open_run(job.id).id, cores=1, memory_bytes=1 << 31, session=agent)
    assert outcome.reason == "receipt-refused"
    trust = ReceiptTrust(v=1, workspace_genesis=None, log_key=None, brokers={}, simulated_keys=(cast.anchor.text,))
    given = {"inputs": {}, "refreshed": {}, "folder": None, "trust": trust, "anchors": hardware.anchors}
    return found.pop("envelope"), found | given


def test_receipt_of_a_run_on_hardware_holds_and_says_so(ready):
    envelope, given = receipt_of(ready, AmdAttester())
    report = inspect_receipt(envelope, **given)
    assert report.holds, report.steps[-1]
    assert report.receipt.trust_label is TeeKind.SEV_SNP


def test_receipt_of_hardware_whose_maker_is_not_believed_fails_at_the_evidence(ready):
    envelope, given = receipt_of(ready, AmdAttester())
    step = inspect_receipt(envelope, **(given | {"anchors": MAKERS})).steps[-1]
    assert (step.number, step.problem) == (6, "the chain ends in a root that is not pinned")


@pytest.mark.parametrize(
    ("report", "code"),
    [({"policy": 1 << 17 | 1 << 19}, "debug-enabled"), ({"measurement": b"\xcd" * 48}, "measurement-not-approved")],
)
def test_receipt_of_hardware_that_the_job_does_not_accept_fails_at_the_evidence(ready, report, code):
    envelope, given = receipt_of(ready, AmdAttester(**report))
    step = inspect_receipt(envelope, **given).steps[-1]
    assert (step.number, step.problem) == (6, f"the hardware is not what the job demands: {code}")


@pytest.mark.parametrize("label", [TeeKind.SIMULATED, TeeKind.TDX])
def test_receipt_of_hardware_under_another_label_fails(ready, label):
    envelope, given = receipt_of(ready, AmdAttester(), change_receipt=lambda receipt: relabelled(receipt, label))
    step = inspect_receipt(envelope, **given).steps[-1]
    assert (step.number, step.problem) == (2, "this kind of evidence was not approved")


def test_receipt_of_hardware_states_no_runtime_but_what_the_guests_launch_measured(ready):
    envelope, given = receipt_of(ready, AmdAttester())
    report = inspect_receipt(envelope, **given)
    assert report.holds
    assert report.receipt.measurement is None
    assert "runtime, which nobody measured" in report.receipt.attested
    assert report.measured == AmdAttester().measured


def test_receipt_of_hardware_is_printed_with_what_is_not_attested_and_every_warning(ready, capsys):
    envelope, given = receipt_of(ready, AmdAttester())
    print_report(inspect_receipt(envelope, **given))
    text = capsys.readouterr().out
    unattested = "Not attested: the enclave's runtime"
    for words in ("sev-snp (experimental", unattested, AmdAttester().measured, "warning: the enclave's own runtime"):
        assert words in text


CLAIMS = {
    "the approved runtime": (lambda job: {"measurement": job.measurement}, "the receipt states a runtime that nobody measured"),
    "another runtime": (lambda _: {"measurement": "sha256:" + "0" * 64}, "the receipt states a runtime that nobody measured"),
    "more than is attested": (
        lambda _: {"attested": "Attested: everything."},
        "the receipt says something else than its evidence vouches for",
    ),
}


@pytest.mark.parametrize("claim", CLAIMS)
def test_receipt_of_hardware_that_claims_more_than_was_measured_fails(ready, claim):
    over, problem = CLAIMS[claim]

    def claims_more(receipt):
        return replace(receipt, **over(ready.spec(receipt.job_id)))

    envelope, given = receipt_of(ready, AmdAttester(), change_receipt=claims_more)
    step = inspect_receipt(envelope, **given).steps[-1]
    assert (step.number, step.problem) == (2, problem)


def test_receipt_whose_broker_kept_a_warning_back_fails_at_its_result(ready):
    envelope, given = receipt_of(ready, AmdAttester(), warnings=())
    step = inspect_receipt(envelope, **given).steps[-1]
    assert (step.number, step.problem) == (7, "a broker attested something else")
