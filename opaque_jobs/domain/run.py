"""Runs: what is known about one execution outside the enclave, and the statement that binds it."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from opaque_jobs.domain.canonical import canonical_bytes, digest
from opaque_jobs.domain.document import from_json, to_json
from opaque_jobs.domain.job import TeeKind
from opaque_jobs.errors import TrustError

__all__ = ["EvidenceRecord", "LogHead", "OutputFile", "Receipt", "RunKind", "Trigger", "inputs_digest", "parse_receipt"]


class RunKind(StrEnum):
    """Real data, or test data."""

    REAL = "real"
    TEST = "test"


class Trigger(StrEnum):
    """How a run came about."""

    MANUAL = "manual"
    SCHEDULED = "scheduled"
    CLEARED = "cleared"
    BACKFILL = "backfill"
    ASSET = "asset"


def inputs_digest(inputs: dict[str, Any]) -> str:
    """Digest of the effective input values."""
    return digest(canonical_bytes(inputs))


@dataclass(frozen=True, slots=True, kw_only=True)
class OutputFile:
    """A file that left the enclave; `name` is relative to the run's result folder."""

    name: str
    size_bytes: int
    sha256: str


@dataclass(frozen=True, slots=True, kw_only=True)
class EvidenceRecord:
    """What one broker was shown and answered.

    Args:
        organisation_id: The broker's organisation.
        nonce: Its single-use nonce.
        evidence: Base64 of the evidence bytes.
        token: Its attestation result (EAR, JWT).
    """

    organisation_id: str
    nonce: str
    evidence: str
    token: str


@dataclass(frozen=True, slots=True, kw_only=True)
class LogHead:
    """How far a broker had followed the workspace's log when it attested; its token holds the same, signed.

    Args:
        organisation_id: The broker's organisation.
        seen: The checkpoint (`Checkpoint.seen`).
        path: Hashes (hexadecimal) that prove that it continues the one before it.
    """

    organisation_id: str
    seen: str
    path: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Receipt:
    """Predicate of a receipt, signed with the attested key; its subject is the job digest.

    Args:
        v: Format version, 1.
        run_id: The run.
        workspace_id: The workspace.
        workspace_genesis: Digest of its first roster.
        epoch: Membership epoch.
        job_id: The job.
        revision: Its revision.
        code_digest: Digest of the code.
        bundle_digest: Digest of the approval bundle.
        inputs_digest: Digest of the effective input values.
        manifests: Alias -> digest of the data set's manifest.
        policies: Alias -> commitment to what its owner released of the data set, which the enclave has opened.
        outputs: Every file of the result folder but the receipt.
        recipients: Key ids that the result is sealed to.
        measurement: Digest of the runtime, if evidence of this kind carries it; None on hardware, where nobody measures it.
        trust_label: Kind of evidence.
        attested: What evidence of this kind vouches for and what not, see `attested`.
        tee_signing_key: Ed25519 public key (base64) that signs this.
        tee_sealing_key: X-Wing public key (base64) that the keys were sealed to.
        evidence: One record a broker.
        log_checkpoint: Checkpoint of the log that proves approvals and run (`Checkpoint.seen`).
        log_heads: One a broker, in order of size; each continues the one before, and the first `log_checkpoint`.
        started_at: UTC, RFC 3339.
        finished_at: UTC, RFC 3339.
    """

    v: int
    run_id: str
    workspace_id: str
    workspace_genesis: str
    epoch: int
    job_id: str
    revision: int
    code_digest: str
    bundle_digest: str
    inputs_digest: str
    manifests: dict[str, str]
    policies: dict[str, str]
    outputs: tuple[OutputFile, ...]
    recipients: tuple[str, ...]
    measurement: str | None
    trust_label: TeeKind
    attested: str
    tee_signing_key: str
    tee_sealing_key: str
    evidence: tuple[EvidenceRecord, ...]
    log_checkpoint: str
    log_heads: tuple[LogHead, ...]
    started_at: str
    finished_at: str

    def to_json(self) -> Any:
        """Give the JSON form."""
        return to_json(self)


def parse_receipt(predicate: object) -> Receipt:
    """Parse an untrusted predicate.

    Raises:
        InvalidInputError: Not a receipt.
        TrustError: Of an unknown version.
    """
    receipt = from_json(Receipt, predicate, what="receipt")
    if receipt.v != 1:
        raise TrustError("the receipt is of an unknown version", hint="use a newer version of this program")
    return receipt
