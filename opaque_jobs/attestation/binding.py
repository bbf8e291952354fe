"""What evidence binds: the enclave's fresh keys to one nonce, and the enclave to one run of one approved job.

Computed inside by the agent and again by every broker from what it verified itself; both use these functions.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

from opaque_jobs.crypto.keys import SealingPublicKey, VerifyKey
from opaque_jobs.domain.canonical import canonical_bytes, digest, require_fields

__all__ = ["TeePublicKeys", "init_data", "report_data"]


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


def report_data(*, nonce: str, keys: TeePublicKeys) -> bytes:
    """Give the 48 bytes that evidence carries about a broker's nonce and the enclave's keys."""
    return hashlib.sha384(canonical_bytes({"nonce": nonce, "tee-pubkey": keys.to_document()})).digest()


def init_data(
    *, job_digest: str, run_id: str, bundle_digest: str, inputs: Mapping[str, Any], log_checkpoint: str | None
) -> bytes:
    """Give the 48 bytes that evidence carries about the run.

    Args:
        job_digest: Digest of the job specification.
        run_id: The run.
        bundle_digest: Digest of the approval bundle.
        inputs: Effective input values, defaults filled in.
        log_checkpoint: None while there is no log.
    """
    document = {
        "job_digest": job_digest,
        "run_id": run_id,
        "bundle_digest": bundle_digest,
        "inputs_digest": digest(canonical_bytes(dict(inputs))),
        "log_checkpoint": log_checkpoint,
    }
    return hashlib.sha384(canonical_bytes(document)).digest()
