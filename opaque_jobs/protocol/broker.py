"""What a broker and those who speak to it agree on, beside what the key broker protocol of attestation says."""

from collections.abc import Sequence
from typing import Final

from opaque_jobs.domain.canonical import canonical_bytes

__all__ = ["NONCE_HEADER", "STANDING_PATH", "standing_said"]

NONCE_HEADER: Final = "opaque-jobs-nonce"
"""Carries what the broker signs back, so that an answer cannot be an old one."""
STANDING_PATH: Final = "/opaque/v1/standing"
"""Tells which vetoes stand on something."""


def standing_said(asked: bytes, standing: Sequence[str]) -> bytes:
    """Return the bytes that a broker signs when it says which vetoes stand: the question, and its answer."""
    return canonical_bytes({"asked": asked.decode(), "standing": list(standing)})
