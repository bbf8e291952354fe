"""What somebody who verifies a receipt knows beforehand, and from whom: without it a receipt only proves that it fits itself.

A member writes it for others with `opaque-jobs receipt trust`; whoever gets it compares it with a second member's. What is left
out is not compared.
"""

from dataclasses import dataclass

from opaque_jobs.domain.document import from_bytes, to_bytes
from opaque_jobs.errors import InvalidInputError

__all__ = ["ReceiptTrust", "parse_trust"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ReceiptTrust:
    """Anchors of a receipt's verification.

    Args:
        v: Format version, 1.
        workspace_genesis: Digest of the workspace's first member list.
        log_key: Public key (base64) with which its log signs.
        brokers: Organisation id -> public key (base64) with which its broker signs; empty compares none, otherwise every data
            owner's must be there.
        simulated_keys: Public development keys (base64) whose simulated evidence is believed.
    """

    v: int
    workspace_genesis: str | None
    log_key: str | None
    brokers: dict[str, str]
    simulated_keys: tuple[str, ...]

    def __post_init__(self) -> None:
        if self.v != 1:
            raise InvalidInputError("the trust anchors are of an unknown version", hint="use a newer version of this program")

    def to_bytes(self) -> bytes:
        """Give the canonical bytes."""
        return to_bytes(self)


def parse_trust(data: bytes) -> ReceiptTrust:
    """Parse a file of anchors.

    Raises:
        InvalidInputError: Not such a file.
    """
    return from_bytes(ReceiptTrust, data, what="trust anchors")
