"""Simulated attestation: a development key plays the hardware.

It proves only that whoever holds the key on this machine said so: the machine's administrator is trusted. Its results are
labelled `simulated` everywhere and can never be `affirming`; brokers accept it only with a pinned key and an approved job
that lists it.
"""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from opaque_jobs.attestation.evidence import Evidence
from opaque_jobs.crypto.keys import SigningKey, VerifyKey
from opaque_jobs.crypto.signing import claimed_key_id, sign_statement, verify_statement
from opaque_jobs.domain.canonical import require_fields
from opaque_jobs.domain.job import TeeKind
from opaque_jobs.errors import InvalidInputError, TrustError

__all__ = ["SimulatedAttester", "SimulatedVerifier"]

_PREDICATE: Final = "urn:opaque-jobs:simulated-evidence:v1"
_SHA384_HEX: Final = 96
_WHAT: Final = "simulated evidence"


@dataclass(frozen=True, slots=True)
class SimulatedAttester:
    """Signs what the sandbox launcher measured."""

    key: SigningKey

    @property
    def kind(self) -> TeeKind:
        """Simulated, always."""
        return TeeKind.SIMULATED

    def evidence(self, *, measurement: str, report_data: bytes, init_data: bytes) -> bytes:
        """Give evidence; see `Attester`."""
        predicate = {"kind": str(TeeKind.SIMULATED), "report_data": report_data.hex(), "init_data": init_data.hex()}
        return sign_statement(
            self.key,
            predicate_type=_PREDICATE,
            subject_name="runtime",
            subject_digest=measurement,
            predicate=predicate,
        )


class SimulatedVerifier:
    """Verifies simulated evidence against pinned development keys."""

    kind = TeeKind.SIMULATED

    def __init__(self, pinned: Collection[VerifyKey]) -> None:
        self._pinned = {key.key_id: key for key in pinned}

    def verify(self, evidence: bytes, *, now: datetime) -> Evidence:  # noqa: ARG002 - simulated evidence has no dates
        """Verify; see `EvidenceVerifier`."""
        key = self._pinned.get(claimed_key_id(evidence))
        if key is None:
            raise TrustError("simulated evidence is signed with a key that is not pinned", hint="pin it, or use hardware")
        statement = verify_statement(evidence, key, predicate_type=_PREDICATE)
        claims = require_fields(statement.predicate, ("kind", "report_data", "init_data"), what=_WHAT)
        if claims["kind"] != str(TeeKind.SIMULATED):
            raise TrustError("simulated evidence claims to be of another kind", hint="host and broker must match")
        return Evidence(
            kind=TeeKind.SIMULATED,
            measurement=statement.subject_digest,
            report_data=_sha384(claims["report_data"]),
            init_data=_sha384(claims["init_data"]),
            vouched_by=key.text,
        )


def _sha384(text: object) -> bytes:
    if not isinstance(text, str) or len(text) != _SHA384_HEX or set(text) - set("0123456789abcdef"):
        raise InvalidInputError(f"{_WHAT} does not carry SHA-384 digests", hint="host and broker must match")
    return bytes.fromhex(text)
