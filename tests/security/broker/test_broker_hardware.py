"""Hardware evidence at a broker: released by policy, refused for each thing that the members did not approve."""

from dataclasses import replace

import pytest
from cryptography.hazmat.primitives.serialization import Encoding

from opaque_jobs.attestation.binding import report_data
from opaque_jobs.attestation.envelope import EvidenceEnvelope
from opaque_jobs.attestation.kbs import attest_body
from opaque_jobs.attestation.result import EarStatus, verify_result
from opaque_jobs.broker.policy import Refused
from opaque_jobs.broker.release import Sealed, Token
from opaque_jobs.broker.statements import Statements, accept_deposit, accept_statements
from opaque_jobs.crypto.keys import SealingKey
from opaque_jobs.domain.canonical import canonical_bytes
from opaque_jobs.domain.job import TeeKind
from opaque_jobs.domain.tee_policy import SnpSigner, SnpTcb
from tests.support.amd_simulator import CHIP, DAY, NOW, AmdAttester, make_crl, rsa_key
from tests.support.tee_policies import make_platform, make_snp_policy, make_tdx_policy, on_hardware
from tests.world import Enclave, World

DER = Encoding.DER
TCB = SnpTcb(fmc=0, bootloader=4, tee=0, snp=24, microcode=219)
MILAN = make_platform(minimum_tcb=TCB)
STRICT = make_snp_policy(
    platforms=(MILAN,), signers=(SnpSigner.VCEK,), chip_ids=(CHIP.hex(),), csp_ids=(), max_vmpl=0, allow_masked_chip=False,
    max_crl_age_days=5,
)  # fmt: skip


class Guest(Enclave):
    """An enclave on hardware."""

    attester: AmdAttester

    def evidence(self, nonce):
        run = self.run_facts
        data = report_data(nonce=nonce, keys=self.keys, init_data=run)
        return self.attester.evidence(measurement="", report_data=data, init_data=run)


class Stage:
    """A world whose job accepts SEV-SNP, with the hospital's broker that believes our maker."""

    def __init__(self, folder, policy=STRICT, **spec):
        self.world = World()
        self.attester = AmdAttester()
        self.attester.crls = (make_crl("ARK-Milan", signer=rsa_key("root"), since=NOW - DAY).public_bytes(DER),)
        self.broker = self.world.make_broker(self.world.hospital, folder)
        self.broker.anchors = self.attester.anchors
        self.spec = self.world.make_spec(**(on_hardware(sev_snp=policy) | spec))
        self.bundle = self.world.make_bundle(self.spec)
        home = self.world.hospital
        accept_deposit(self.broker, canonical_bytes(
            {"deposit": self.world.deposit(home).decode(), "manifest": self.world.manifest_envelope(home).decode()}
        ))  # fmt: skip
        roster = self.world.make_roster()
        accept_statements(self.broker, Statements(
            roster=roster.to_bytes().decode(),
            acceptances=tuple(each.decode() for each in self.world.acceptances(roster)),
            earlier=(), withdrawals=(), holds=(), sharings=(self.world.sharing(home).decode(),),
        ))  # fmt: skip

    def guest(self, run_id="run-1"):
        proof = self.world.prove(self.spec, self.bundle, run_id, {})
        self.world.follow(self.broker)
        guest = Guest(self.world, self.spec, replace(self.bundle, log=proof), run_id=run_id)
        guest.attester = self.attester
        return guest

    def attest(self, guest, kind=TeeKind.SEV_SNP, **over):
        session, nonce = self.broker.begin(kind)
        return session, self.broker.attest(session, attest_body(guest.request(nonce, **over)).encode())

    def reasons(self, guest, **over):
        answer = self.attest(guest, **over)[1]
        assert isinstance(answer, Refused)
        return answer.reasons


@pytest.fixture
def stage(tmp_path):
    return Stage(tmp_path / "broker")


def result_of(stage, answer):
    assert isinstance(answer, Token), answer
    return verify_result(answer.text, stage.world.hospital.broker.signing.public, now=NOW)


def test_guest_that_meets_the_policy_gets_keys_and_a_result_that_affirms_nothing_of_the_runtime(stage):
    session, answer = stage.attest(stage.guest())
    result = result_of(stage, answer)
    assert (result.status, result.warnings) == (EarStatus.WARNING, ("runtime-not-measured",))
    assert (result.kind, result.measurement) == (TeeKind.SEV_SNP, stage.attester.measured)
    assert (result.claims["vmpl"], result.claims["line"]) == ("0", "Milan")
    released = stage.world.released(stage.broker, session, workspace_id="ws-1", dataset_id="ds-org-hospital", version=1)
    assert isinstance(released, Sealed)


def test_guest_whose_patch_level_is_allowed_but_old_gets_a_warning(tmp_path):
    newer = replace(TCB, microcode=220)
    platform = make_platform(up_to_date_tcb=newer)
    stage = Stage(tmp_path / "broker", replace(STRICT, platforms=(platform,)))
    result = result_of(stage, stage.attest(stage.guest())[1])
    assert (result.status, result.warnings) == (EarStatus.WARNING, ("runtime-not-measured", "tcb-out-of-date"))


POLICY_CASES = {
    "debug": ({"policy": 1 << 17 | 1 << 19}, "debug-enabled"),
    "measurement": ({"measurement": b"\xcd" * 48}, "measurement-not-approved"),
    "vmpl": ({"vmpl": 1}, "vmpl-too-high"),
    "masked chip": ({"chip_id": b"\0" * 64}, "chip-masked"),
}


@pytest.mark.parametrize("case", POLICY_CASES)
def test_guest_that_misses_a_demand_is_refused_for_it(stage, case):
    stage.attester.report, code = POLICY_CASES[case]
    assert stage.reasons(stage.guest()) == (code,)


def test_guest_without_a_fresh_revocation_list_is_refused(stage):
    stage.attester.crls = ()
    assert stage.reasons(stage.guest()) == ("collateral-too-old",)
    stage.attester.crls = (make_crl("ARK-Milan", signer=rsa_key("root"), since=NOW - 6 * DAY).public_bytes(DER),)
    assert stage.reasons(stage.guest()) == ("collateral-too-old",)


def test_guest_of_a_maker_that_is_not_believed_is_refused(stage):
    stage.attester = AmdAttester()
    assert stage.reasons(stage.guest()) == ("evidence-invalid",)


def test_guest_of_a_kind_that_the_job_does_not_list_is_refused(tmp_path):
    stage = Stage(tmp_path / "broker", **on_hardware(tdx=make_tdx_policy()))
    assert stage.reasons(stage.guest()) == ("tee-kind-not-approved",)


def test_simulated_enclave_for_a_job_on_hardware_is_refused(stage):
    honest = stage.guest()
    simulated = Enclave(stage.world, stage.spec, honest.bundle)
    assert stage.reasons(simulated, kind=TeeKind.SIMULATED) == ("tee-kind-not-approved",)


@pytest.mark.parametrize("kind", [TeeKind.TDX, TeeKind.NITRO])
def test_evidence_in_a_session_for_another_kind_is_refused(stage, kind):
    assert stage.reasons(stage.guest(), kind=kind) == ("evidence-invalid",)


@pytest.mark.parametrize("kind", [TeeKind.TDX, TeeKind.NITRO])
def test_report_in_an_envelope_of_another_kind_is_refused(stage, kind):
    class Mislabelled(Guest):
        def evidence(self, nonce):
            envelope = EvidenceEnvelope.parse(super().evidence(nonce))
            return replace(envelope, kind=kind).to_bytes()

    guest = stage.guest()
    guest.__class__ = Mislabelled
    assert stage.reasons(guest) == ("evidence-invalid",)
    assert stage.reasons(guest, kind=kind) == ("evidence-invalid",)


def test_keys_swapped_by_the_relay_are_noticed(stage):
    guest = stage.guest()
    other = replace(guest.keys, sealing=SealingKey.generate().public)
    assert stage.reasons(guest, keys=other) == ("keys-not-bound",)


@pytest.mark.parametrize("over", [{"run_id": "run-2"}, {"inputs": {"threshold": 3}}])
def test_evidence_of_another_run_or_other_inputs_is_noticed_though_hardware_has_no_launch_data_for_it(stage, over):
    assert "keys-not-bound" in stage.reasons(stage.guest(), **over)


def test_evidence_over_another_nonce_is_noticed(stage):
    guest = stage.guest()
    old = guest.evidence("bm9uY2U=")
    assert stage.reasons(guest, evidence=old) == ("keys-not-bound",)


def test_report_data_with_something_behind_its_hash_is_refused(stage):
    guest = stage.guest()

    class Padded(AmdAttester):
        def evidence(self, *, measurement, report_data, init_data):
            return super().evidence(measurement=measurement, report_data=report_data + b"\1" * 16, init_data=init_data)

    stage.attester.__class__ = Padded
    assert stage.reasons(guest) == ("keys-not-bound",)
