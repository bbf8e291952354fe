"""Attestation results: one algorithm, one key, five minutes, and never affirming for a simulation."""

import base64
import hashlib
import hmac
import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from joserfc import jwt
from joserfc.jwk import OKPKey

from opaque_jobs.attestation.result import AttestationResult, EarStatus, ear_status, issue_result, verify_result
from opaque_jobs.crypto.keys import SigningKey
from opaque_jobs.domain.job import TeeKind
from opaque_jobs.errors import InvalidInputError, OpaqueJobsError, TrustError

NOW = datetime(2026, 1, 15, 12, 0, tzinfo=UTC)
KEY = SigningKey(b"\x01" * 32)
RESULT = AttestationResult(
    verifier="org-1",
    kind=TeeKind.SIMULATED,
    measurement="sha256:" + "11" * 32,
    warnings=(),
    claims={},
    nonce="bm9uY2U=",
    tee_key_id="sha256:" + "22" * 32,
    policies={"ds-1/1": "sha256:" + "44" * 32},
    log_head="opaque-jobs.log/ws-1",
    job_digest="sha256:" + "33" * 32,
    run_id="run-1",
    issued_at=NOW,
)


def part(document) -> str:
    return base64.urlsafe_b64encode(json.dumps(document).encode()).decode().rstrip("=")


def claims_of(token: str) -> dict:
    body = token.split(".")[1]
    return json.loads(base64.urlsafe_b64decode(body + "=" * (-len(body) % 4)))


def signed(claims: dict, header: dict | None = None) -> str:
    jwk = {"kty": "OKP", "crv": "Ed25519"} | {
        name: base64.urlsafe_b64encode(raw).decode().rstrip("=") for name, raw in (("x", KEY.public.raw), ("d", KEY.seed))
    }
    return jwt.encode(header or {"alg": "Ed25519", "typ": "eat+jwt"}, claims, OKPKey.import_key(jwk), algorithms=["Ed25519"])


def test_result_survives_signing_and_verifying():
    assert verify_result(issue_result(RESULT, KEY), KEY.public, now=NOW) == RESULT


def test_result_of_a_simulation_is_never_affirming():
    assert ear_status(TeeKind.SIMULATED, ()) is EarStatus.CONTRAINDICATED
    claims = claims_of(issue_result(RESULT, KEY))
    assert claims["submods"]["enclave"]["ear.status"] == "contraindicated"
    claims["submods"]["enclave"]["ear.status"] = "affirming"
    with pytest.raises(TrustError, match="status"):
        verify_result(signed(claims), KEY.public, now=NOW)


@pytest.mark.parametrize("kind", [kind for kind in TeeKind if kind is not TeeKind.SIMULATED])
@pytest.mark.parametrize(("warnings", "status"), [((), "affirming"), (("tcb-out-of-date",), "warning")])
def test_result_about_hardware_is_affirming_only_without_a_warning_and_says_what_was_appraised(kind, warnings, status):
    given = replace(RESULT, kind=kind, warnings=warnings, claims={"vmpl": "0"})
    token = issue_result(given, KEY)
    enclave = claims_of(token)["submods"]["enclave"]
    assert enclave["ear.status"] == status
    assert enclave["ear.appraisal-policy-id"] == RESULT.job_digest
    assert enclave["opaque-jobs.claims"] == {"vmpl": "0"}
    assert verify_result(token, KEY.public, now=NOW) == given


def test_result_that_affirms_in_spite_of_its_warning_is_refused():
    claims = claims_of(issue_result(replace(RESULT, kind=TeeKind.TDX, warnings=("tcb-out-of-date",)), KEY))
    claims["submods"]["enclave"]["ear.status"] = "affirming"
    with pytest.raises(TrustError, match="status"):
        verify_result(signed(claims), KEY.public, now=NOW)


@pytest.mark.parametrize(
    "change",
    [
        {"opaque-jobs.warnings": "none"}, {"opaque-jobs.claims": {"vmpl": 0}}, {"opaque-jobs.claims": []},
        {"opaque-jobs.measurement": 1}, {"ear.appraisal-policy-id": "sha256:" + "44" * 32},
    ],
)  # fmt: skip
def test_validly_signed_result_about_something_else_than_its_job_or_in_another_form_is_refused(change):
    claims = claims_of(issue_result(RESULT, KEY))
    claims["submods"]["enclave"] |= change
    with pytest.raises(InvalidInputError):
        verify_result(signed(claims), KEY.public, now=NOW)


@pytest.mark.parametrize(("shift_s", "valid"), [(-31, False), (-30, True), (0, True), (300, True), (301, False)])
def test_result_holds_for_five_minutes(shift_s, valid):
    token = issue_result(RESULT, KEY)
    if valid:
        verify_result(token, KEY.public, now=NOW + timedelta(seconds=shift_s))
    else:
        with pytest.raises(TrustError, match="out of date"):
            verify_result(token, KEY.public, now=NOW + timedelta(seconds=shift_s))


def test_result_that_gives_itself_longer_is_refused():
    claims = claims_of(issue_result(RESULT, KEY))
    claims["exp"] += 1
    with pytest.raises(TrustError):
        verify_result(signed(claims), KEY.public, now=NOW)


def test_result_of_another_key_is_refused():
    with pytest.raises(TrustError):
        verify_result(issue_result(RESULT, SigningKey.generate()), KEY.public, now=NOW)


def test_result_with_any_character_changed_is_refused():
    token = issue_result(RESULT, KEY)
    for position in range(0, len(token), 3):
        other = "A" if token[position] != "A" else "Q"
        with pytest.raises(OpaqueJobsError):
            verify_result(token[:position] + other + token[position + 1 :], KEY.public, now=NOW)


def test_unsigned_result_is_refused():
    _, body, _ = issue_result(RESULT, KEY).split(".")
    with pytest.raises(TrustError):
        verify_result(f"{part({'alg': 'none', 'typ': 'eat+jwt'})}.{body}.", KEY.public, now=NOW)


def test_result_signed_with_the_public_key_as_a_shared_secret_is_refused():
    _, body, _ = issue_result(RESULT, KEY).split(".")
    head = part({"alg": "HS256", "typ": "eat+jwt"})
    mac = hmac.new(KEY.public.raw, f"{head}.{body}".encode(), hashlib.sha256).digest()
    with pytest.raises(TrustError):
        verify_result(f"{head}.{body}.{base64.urlsafe_b64encode(mac).decode().rstrip('=')}", KEY.public, now=NOW)


def test_result_with_a_key_in_its_header_is_refused():
    other = SigningKey.generate()
    token = issue_result(RESULT, other)
    jwk = {"kty": "OKP", "crv": "Ed25519", "x": base64.urlsafe_b64encode(other.public.raw).decode().rstrip("=")}
    _, body, signature = token.split(".")
    with pytest.raises(TrustError):
        verify_result(f"{part({'alg': 'Ed25519', 'typ': 'eat+jwt', 'jwk': jwk})}.{body}.{signature}", KEY.public, now=NOW)


def test_validly_signed_result_with_another_header_is_refused():
    claims = claims_of(issue_result(RESULT, KEY))
    with pytest.raises(TrustError, match="header"):
        verify_result(signed(claims, {"alg": "Ed25519", "typ": "JWT"}), KEY.public, now=NOW)


@pytest.mark.parametrize(
    "change",
    [
        {"eat_profile": "other"}, {"iat": 1.5}, {"iat": NOW.timestamp()},
        {"exp": "x"}, {"exp": NOW.timestamp() + 300}, {"iat": 1 << 36, "exp": (1 << 36) + 300}, {"iat": -1, "exp": 299},
        {"iat": 10**30, "exp": 10**30 + 300}, {"iss": 1}, {"submods": {}}, {"extra": 1},
        {"opaque-jobs.trust-label": "sgx"}, {"opaque-jobs.run-id": None},
    ],
)  # fmt: skip
def test_validly_signed_result_of_another_form_is_refused(change):
    claims = claims_of(issue_result(RESULT, KEY)) | change
    with pytest.raises((InvalidInputError, TrustError)):
        verify_result(signed(claims), KEY.public, now=NOW)


HEADS = [{"alg": "Ed25519", "crit": 1}, {"alg": "Ed25519", "crit": [[]]}, {"alg": ["Ed25519"]}, ["Ed25519"]]


@pytest.mark.parametrize(
    "token", ["", "a.b", "a.b.c", "....", "ü.b.c", "a.\ud800.c", *(f"{part(head)}.e30.AA" for head in HEADS)]
)
def test_something_else_than_a_result_is_refused(token):
    with pytest.raises(TrustError):
        verify_result(token, KEY.public, now=NOW)


def test_result_that_says_something_else_without_end_is_refused_though_it_is_signed():
    head = issue_result(RESULT, KEY).split(".")[0]
    body = base64.urlsafe_b64encode(b"[" * 90_000).decode().rstrip("=")
    signature = base64.urlsafe_b64encode(KEY.sign(f"{head}.{body}".encode())).decode().rstrip("=")
    with pytest.raises(TrustError):
        verify_result(f"{head}.{body}.{signature}", KEY.public, now=NOW)


def test_result_has_one_text_only():
    token = issue_result(RESULT, KEY)
    last = token[-1]
    ends = [each for each in "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_=" if each != last]
    for other in (token + "=", token + "==", f"{token}\n", token.replace(".", "=.", 1), *(token[:-1] + each for each in ends)):
        with pytest.raises(TrustError):
            verify_result(other, KEY.public, now=NOW)


def test_result_is_read_by_a_library_of_others():
    jwk = {"kty": "OKP", "crv": "Ed25519", "x": base64.urlsafe_b64encode(KEY.public.raw).decode().rstrip("=")}
    found = jwt.decode(issue_result(RESULT, KEY), OKPKey.import_key(jwk), algorithms=["Ed25519"])
    assert found.claims["opaque-jobs.log-head"] == RESULT.log_head
