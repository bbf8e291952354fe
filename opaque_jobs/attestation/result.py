"""Attestation results: what a verifier concluded, as a JWT of at most five minutes.

It carries what was appraised: kind, measurement, and the demands of the approved policy that came out as a warning.
With it travels the newest state of the workspace's log that the broker has followed, so that a log which is shown differently to
different brokers is noticed. Source: draft-ietf-rats-ear. How it is signed: `token`.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, Final

from opaque_jobs.attestation.token import sign_token, verify_token
from opaque_jobs.crypto.keys import Signer, VerifyKey
from opaque_jobs.domain.canonical import require_fields
from opaque_jobs.domain.job import TeeKind
from opaque_jobs.errors import InvalidInputError, TrustError

__all__ = ["LIFETIME_S", "AttestationResult", "EarStatus", "ear_status", "issue_result", "verify_result"]

LIFETIME_S: Final = 300
_PROFILE: Final = "tag:github.com,2023:veraison/ear"
_CLOCK_SKEW_S: Final = 30
_NEVER: Final = 1 << 36
"""Seconds; later than anything, and still a date."""
_ENCLAVE: Final = (
    "ear.status", "ear.appraisal-policy-id", "opaque-jobs.measurement", "opaque-jobs.warnings", "opaque-jobs.claims",
)  # fmt: skip


class EarStatus(StrEnum):
    """`ear.status`."""

    NONE = "none"
    AFFIRMING = "affirming"
    WARNING = "warning"
    CONTRAINDICATED = "contraindicated"


def ear_status(kind: TeeKind, warnings: Collection[str]) -> EarStatus:
    """Give the status of evidence that a policy lets through.

    Args:
        kind: Simulated evidence says nothing that anybody should affirm.
        warnings: Codes of the demands that came out as a warning.
    """
    if kind is TeeKind.SIMULATED:
        return EarStatus.CONTRAINDICATED
    return EarStatus.WARNING if warnings else EarStatus.AFFIRMING


@dataclass(frozen=True, slots=True, kw_only=True)
class AttestationResult:
    """What a verifier says about one enclave.

    Args:
        verifier: Organisation whose broker concluded.
        kind: Kind of evidence: the trust label.
        measurement: Of the evidence, see `Evidence`.
        warnings: Codes of the demands that came out as a warning, sorted; none for simulated evidence.
        claims: What the evidence said, by name; empty for simulated evidence.
        nonce: The broker's nonce.
        tee_key_id: Id of the enclave's keys, see `TeePublicKeys.key_id`.
        policies: `<id>/<version>` of each data set of the verifier's -> commitment to what may be released of it to this enclave.
        log_head: Signed checkpoint of the workspace's log, the newest that the verifier has followed.
        job_digest: The job.
        run_id: The run.
        issued_at: UTC, whole seconds.
    """

    verifier: str
    kind: TeeKind
    measurement: str
    warnings: tuple[str, ...]
    claims: Mapping[str, str]
    nonce: str
    tee_key_id: str
    policies: Mapping[str, str]
    log_head: str
    job_digest: str
    run_id: str
    issued_at: datetime

    @property
    def status(self) -> EarStatus:
        """`ear.status`, which follows from kind and warnings."""
        return ear_status(self.kind, self.warnings)


def issue_result(result: AttestationResult, key: Signer) -> str:
    """Sign an attestation result."""
    issued = int(result.issued_at.timestamp())
    claims = {
        "eat_profile": _PROFILE,
        "iss": result.verifier,
        "iat": issued,
        "exp": issued + LIFETIME_S,
        "eat_nonce": result.nonce,
        "ear.verifier-id": {"developer": "opaque-jobs", "build": "1"},
        "submods": {
            "enclave": {
                "ear.status": str(result.status),
                "ear.appraisal-policy-id": result.job_digest,
                "opaque-jobs.measurement": result.measurement,
                "opaque-jobs.warnings": list(result.warnings),
                "opaque-jobs.claims": dict(result.claims),
            }
        },
        "opaque-jobs.trust-label": str(result.kind),
        "opaque-jobs.tee-key-id": result.tee_key_id,
        "opaque-jobs.policies": dict(result.policies),
        "opaque-jobs.log-head": result.log_head,
        "opaque-jobs.job-digest": result.job_digest,
        "opaque-jobs.run-id": result.run_id,
    }
    return sign_token(claims, key)


def verify_result(token: str, key: VerifyKey, *, now: datetime | None) -> AttestationResult:
    """Verify an attestation result against a broker's known key.

    Args:
        token: Untrusted.
        key: The broker's signing key, from the roster.
        now: Aware time; None where something else shows that it is fresh: the enclave made its keys for this run, and a receipt
            is verified long after.

    Raises:
        InvalidInputError: It is not such a result.
        TrustError: Another key or algorithm, out of date, longer than five minutes, or a status that its kind cannot have.
    """
    result, expires = _parse_claims(verify_token(token, key))
    issued = int(result.issued_at.timestamp())
    at = issued if now is None else now.timestamp()
    if expires != issued + LIFETIME_S or not issued - _CLOCK_SKEW_S <= at <= expires:
        raise TrustError("an attestation result is out of date", hint="results hold for five minutes")
    return result


def _parse_claims(claims: Any) -> tuple[AttestationResult, int]:
    what = "attestation result"
    fields = require_fields(
        claims,
        (
            "eat_profile", "iss", "iat", "exp", "eat_nonce", "ear.verifier-id", "submods", "opaque-jobs.trust-label",
            "opaque-jobs.tee-key-id", "opaque-jobs.policies", "opaque-jobs.log-head",
            "opaque-jobs.job-digest", "opaque-jobs.run-id",
        ),
        what=what,
    )  # fmt: skip
    enclave = require_fields(require_fields(fields["submods"], ("enclave",), what=what)["enclave"],
                             _ENCLAVE, what=what)  # fmt: skip
    texts = ("iss", "eat_nonce", "opaque-jobs.tee-key-id", "opaque-jobs.log-head", "opaque-jobs.job-digest", "opaque-jobs.run-id")
    if (
        fields["eat_profile"] != _PROFILE
        or fields["opaque-jobs.trust-label"] not in list(TeeKind)
        or not all(isinstance(fields[name], str) for name in texts)
        or not isinstance(enclave["opaque-jobs.measurement"], str)
        or not _are_texts(enclave["opaque-jobs.warnings"])
        or not _is_texts_by_name(enclave["opaque-jobs.claims"])
        or not _is_texts_by_name(fields["opaque-jobs.policies"])
        or enclave["ear.appraisal-policy-id"] != fields["opaque-jobs.job-digest"]
        or type(fields["iat"]) is not int
        or type(fields["exp"]) is not int
        or not 0 <= fields["iat"] < _NEVER
    ):
        raise InvalidInputError(f"{what} has another form than expected", hint="was it made by this program?")
    result = AttestationResult(
        verifier=fields["iss"],
        kind=TeeKind(fields["opaque-jobs.trust-label"]),
        measurement=enclave["opaque-jobs.measurement"],
        warnings=tuple(enclave["opaque-jobs.warnings"]),
        claims=enclave["opaque-jobs.claims"],
        nonce=fields["eat_nonce"],
        tee_key_id=fields["opaque-jobs.tee-key-id"],
        policies=fields["opaque-jobs.policies"],
        log_head=fields["opaque-jobs.log-head"],
        job_digest=fields["opaque-jobs.job-digest"],
        run_id=fields["opaque-jobs.run-id"],
        issued_at=datetime.fromtimestamp(fields["iat"], UTC),
    )
    if enclave["ear.status"] != str(result.status):
        raise TrustError("an attestation result claims a status that its kind cannot have", hint="do not trust it")
    return result, fields["exp"]


def _are_texts(value: Any) -> bool:
    return isinstance(value, list) and all(isinstance(each, str) for each in value)


def _is_texts_by_name(value: Any) -> bool:
    return isinstance(value, dict) and _are_texts(list(value.values()))
