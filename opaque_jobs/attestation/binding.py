"""What evidence binds: the enclave's fresh keys to one nonce and to one run of one approved job.

Computed inside by the agent and again by every broker from what it verified itself; both use these functions.

Hardware has two places: report data, chosen by the guest whenever it asks, and launch data (HOST_DATA, MRCONFIGID), fixed by the
host before the guest boots. A run's id, approvals and log checkpoint exist only later, and one guest may carry out many runs, so
launch data cannot bind them. Report data therefore covers the run's facts too, for every kind; launch data is an approved value
of the job's TEE policy, for those who make one guest for each job. Nitro has no launch data besides its registers.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Self

from opaque_jobs.crypto.keys import SealingPublicKey, VerifyKey
from opaque_jobs.domain.canonical import canonical_bytes, digest, require_fields
from opaque_jobs.domain.job import TeeKind

__all__ = ["TeePublicKeys", "carried", "init_data", "report_data"]

_FIELD_BYTES: Final = {TeeKind.SEV_SNP: 64, TeeKind.TDX: 64}
"""REPORT_DATA of both; the other kinds carry any length: Nitro in `user_data`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TeePublicKeys:
    """The keys that an enclave made for one run: data keys are sealed to one, the receipt is signed with the other."""

    sealing: SealingPublicKey
    signing: VerifyKey

    def to_document(self) -> dict[str, str]:
        """Give the JSON form (`tee-pubkey` of the KBS protocol)."""
        return {"hpke": self.sealing.text, "ed25519": self.signing.text}

    @classmethod
    def parse_document(cls, document: Any) -> Self:
        """Read the untrusted JSON form.

        Raises:
            InvalidInputError: It is not exactly two public keys.
        """
        fields = require_fields(document, ("hpke", "ed25519"), what="the enclave's public keys")
        return cls(sealing=SealingPublicKey.parse(fields["hpke"]), signing=VerifyKey.parse(fields["ed25519"]))

    @property
    def key_id(self) -> str:
        """`sha256:<hex>` over both keys."""
        return digest(canonical_bytes(self.to_document()))


def report_data(*, nonce: str, keys: TeePublicKeys, init_data: bytes) -> bytes:
    """Give the 48 bytes that evidence carries about a broker's nonce, the enclave's keys and the run.

    Args:
        nonce: The broker's.
        keys: The enclave's public keys.
        init_data: What `init_data` gives for the run.
    """
    document = {"nonce": nonce, "tee-pubkey": keys.to_document(), "init-data": init_data.hex()}
    return hashlib.sha384(canonical_bytes(document)).digest()


def carried(kind: TeeKind, data: bytes) -> bytes:
    """Give the bytes of the evidence field that carries report data: padded with zeros where the hardware has a fixed size."""
    return data.ljust(_FIELD_BYTES.get(kind, len(data)), b"\0")


def init_data(
    *,
    job_digest: str,
    run_id: str,
    bundle_digest: str,
    inputs: Mapping[str, Any],
    manifests: Mapping[str, str],
    log_checkpoint: str,
) -> bytes:
    """Give the 48 bytes that stand for the run in report data.

    Args:
        job_digest: Digest of the job specification.
        run_id: The run.
        bundle_digest: Digest of the approval bundle.
        inputs: Effective input values, defaults filled in.
        manifests: Data set's name -> digest of the manifest of exactly the version that the run reads.
        log_checkpoint: Checkpoint of the log (`Checkpoint.seen`) that proves the run.
    """
    document = {
        "job_digest": job_digest,
        "run_id": run_id,
        "bundle_digest": bundle_digest,
        "inputs_digest": digest(canonical_bytes(dict(inputs))),
        "manifests": dict(manifests),
        "log_checkpoint": log_checkpoint,
    }
    return hashlib.sha384(canonical_bytes(document)).digest()
