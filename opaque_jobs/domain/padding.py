"""Sizes that tell little: what leaves the enclave is padded, so that its length is one of few.

Padmé: lengths whose floating-point mantissa is no longer than their exponent. At most 12 % more bytes; whoever sees a length
learns O(log log n) bits of it instead of O(log n). Source: Nikitin et al., "Reducing Metadata Leakage from Encrypted Files and
Communication with PURBs", PoPETs 2019(4), section 4. What fills it up is ISO/IEC 7816-4: 0x80, then zeros.
"""

from typing import Final

from opaque_jobs.errors import TrustError

__all__ = ["FLOOR_BYTES", "pad", "padded_size", "unpad"]

FLOOR_BYTES: Final = 4096
"""Nothing is shorter than this, so that short texts are all alike."""
_MARK: Final = b"\x80"


def padded_size(size: int) -> int:
    """Give the least allowed length that is at least `size`."""
    size = max(size, FLOOR_BYTES)
    exponent = size.bit_length() - 1
    zeros = exponent - exponent.bit_length()
    mask = (1 << zeros) - 1
    return (size + mask) & ~mask


def pad(data: bytes) -> bytes:
    """Fill up to an allowed length."""
    marked = data + _MARK
    return marked.ljust(padded_size(len(marked)), b"\0")


def unpad(padded: bytes) -> bytes:
    """Undo `pad`.

    Raises:
        TrustError: `pad` does not make this.
    """
    data = padded.rstrip(b"\0")
    if not data.endswith(_MARK) or len(padded) != padded_size(len(data)):
        raise TrustError("a sealed file is not filled up as it has to be", hint="fetch it again")
    return data[:-1]
