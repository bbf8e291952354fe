"""Simulated evidence and its bindings."""

import hashlib
import json
from datetime import UTC, datetime

import pytest

from opaque_jobs.attestation.binding import TeePublicKeys, init_data, report_data
from opaque_jobs.attestation.simulated import SimulatedAttester, SimulatedVerifier
from opaque_jobs.crypto.keys import SealingKey, SigningKey
from opaque_jobs.crypto.service_keys import create_service_key, load_service_key
from opaque_jobs.crypto.signing import sign_statement
from opaque_jobs.domain.job import TeeKind
from opaque_jobs.errors import ConfigurationError, ConflictError, InvalidInputError, NotFoundError, OpaqueJobsError, TrustError

NOW = datetime(2026, 1, 15, tzinfo=UTC)
KEY = SigningKey(b"\x01" * 32)
KEYS = TeePublicKeys(sealing=SealingKey(b"\x02" * 32).public, signing=SigningKey(b"\x03" * 32).public)
MEASUREMENT = "sha256:" + "11" * 32
REPORT, INIT = b"\x04" * 48, b"\x05" * 48


def make_evidence(key: SigningKey = KEY) -> bytes:
    return SimulatedAttester(key).evidence(measurement=MEASUREMENT, report_data=REPORT, init_data=INIT)


def verify(evidence: bytes):
    return SimulatedVerifier([KEY.public]).verify(evidence, now=NOW)


def test_evidence_verifies_and_gives_what_was_claimed():
    evidence = verify(make_evidence())
    assert (evidence.kind, evidence.measurement) == (TeeKind.SIMULATED, MEASUREMENT)
    assert (evidence.report_data, evidence.init_data) == (REPORT, INIT)


def test_evidence_of_a_key_that_is_not_pinned_is_refused():
    with pytest.raises(TrustError):
        verify(make_evidence(SigningKey.generate()))
    with pytest.raises(TrustError):
        SimulatedVerifier([]).verify(make_evidence(), now=NOW)


def test_evidence_with_any_byte_flipped_is_refused():
    whole = make_evidence()
    for position in range(0, len(whole), 3):
        with pytest.raises(OpaqueJobsError):
            verify(whole[:position] + bytes([whole[position] ^ 1]) + whole[position + 1 :])


def test_another_statement_of_the_development_key_is_no_evidence():
    predicate = {"kind": "simulated", "report_data": REPORT.hex(), "init_data": INIT.hex()}
    envelope = sign_statement(
        KEY,
        predicate_type="urn:opaque-jobs:approval:v1",
        subject_name="runtime",
        subject_digest=MEASUREMENT,
        predicate=predicate,
    )
    with pytest.raises(TrustError):
        verify(envelope)


@pytest.mark.parametrize(
    "change", [{"kind": "sev-snp"}, {"report_data": "00"}, {"init_data": None}, {"report_data": "G" * 96}, {"extra": 1}]
)
def test_validly_signed_evidence_of_another_form_is_refused(change):
    predicate = {"kind": "simulated", "report_data": REPORT.hex(), "init_data": INIT.hex()} | change
    envelope = sign_statement(
        KEY,
        predicate_type="urn:opaque-jobs:simulated-evidence:v1",
        subject_name="runtime",
        subject_digest=MEASUREMENT,
        predicate=predicate,
    )
    with pytest.raises((TrustError, InvalidInputError)):
        verify(envelope)


def test_report_data_is_the_documented_hash():
    keys = {"ed25519": KEYS.signing.text, "hpke": KEYS.sealing.text}
    document = {"nonce": "bm9uY2U=", "tee-pubkey": keys, "init-data": INIT.hex()}
    text = json.dumps(document, separators=(",", ":"), sort_keys=True)
    assert report_data(nonce="bm9uY2U=", keys=KEYS, init_data=INIT) == hashlib.sha384(text.encode()).digest()


RUN = {
    "job_digest": "sha256:a",
    "run_id": "run-1",
    "bundle_digest": "sha256:b",
    "inputs": {"x": 1},
    "manifests": {"a": "sha256:d"},
    "log_checkpoint": None,
}


@pytest.mark.parametrize(
    "change",
    [{"job_digest": "sha256:c"}, {"run_id": "run-2"}, {"bundle_digest": "sha256:c"}, {"inputs": {"x": 2}}, {"inputs": {}},
     {"manifests": {"a": "sha256:e"}}, {"manifests": {"b": "sha256:d"}}, {"log_checkpoint": "c"}],
)  # fmt: skip
def test_init_data_changes_with_everything_it_binds(change):
    assert init_data(**RUN) != init_data(**(RUN | change))


@pytest.mark.parametrize("document", [None, {}, {"hpke": KEYS.sealing.text}, {"hpke": 1, "ed25519": 2}, []])
def test_public_keys_of_another_form_are_refused(document):
    with pytest.raises(InvalidInputError):
        TeePublicKeys.parse_document(document)


def test_public_keys_survive_their_json_form():
    assert TeePublicKeys.parse_document(KEYS.to_document()) == KEYS


def test_development_key_file_is_private_and_loads(tmp_path):
    public = create_service_key(tmp_path / "a" / "simulated.pem")
    assert (tmp_path / "a" / "simulated.pem").stat().st_mode & 0o777 == 0o600
    assert load_service_key(tmp_path / "a" / "simulated.pem").public == public
    with pytest.raises(ConflictError):
        create_service_key(tmp_path / "a" / "simulated.pem")


def test_development_key_file_that_cannot_be_used_is_refused(tmp_path):
    with pytest.raises(NotFoundError):
        load_service_key(tmp_path / "none.pem")
    (tmp_path / "bad.pem").write_text("nonsense")
    (tmp_path / "bad.pem").chmod(0o600)
    with pytest.raises(ConfigurationError, match="Ed25519"):
        load_service_key(tmp_path / "bad.pem")
    create_service_key(tmp_path / "open.pem")
    (tmp_path / "open.pem").chmod(0o640)
    with pytest.raises(ConfigurationError, match="others"):
        load_service_key(tmp_path / "open.pem")
    (tmp_path / "link.pem").symlink_to(tmp_path / "bad.pem")
    with pytest.raises(ConfigurationError):
        load_service_key(tmp_path / "link.pem")
