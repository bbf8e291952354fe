"""The table of certificates that a host hands to an SEV-SNP guest beside its report; unverified.

Shape: entries of 24 bytes (GUID 16, offset 4, length 4, little-endian), ended by one of zeros, then the certificates. Software
writes the GUID in either of its two byte orders.
Source: Linux, include/uapi/linux/sev-guest.h; AMD publication 56421 (GHCB), "Attestation Request".
"""

import struct
from typing import Final
from uuid import UUID

from opaque_jobs.errors import InvalidInputError

__all__ = ["is_table", "table_items"]

_ENTRY: Final = struct.Struct("<16sII")
_MAX_ENTRIES: Final = 64
_NAMES: Final = (
    "63da758d-e664-4564-adc5-f4b93be8accd",  # VCEK
    "a8074bc2-a25a-483e-aae6-39c045a0b8a1",  # VLEK
    "4ab7b379-bbac-4fe4-a02f-05aef327c782",  # ASK
    "c0b406a4-a803-4952-9743-3fb6014cd0ae",  # ARK
    "92f81bc3-5811-4d3d-97ff-d19f88dc67ea",  # revocation list
)
_KNOWN: Final = frozenset(raw for name in _NAMES for raw in (UUID(name).bytes, UUID(name).bytes_le))


def is_table(data: bytes) -> bool:
    """Tell whether bytes look like a table: they start with a known GUID."""
    return data[:16] in _KNOWN


def table_items(data: bytes) -> tuple[bytes, ...]:
    """Give what the known entries point to; other entries are passed over.

    Raises:
        InvalidInputError: The table has no end, or an entry points outside.
    """
    items: list[bytes] = []
    for number in range(_MAX_ENTRIES):
        entry = data[number * _ENTRY.size : (number + 1) * _ENTRY.size]
        if len(entry) < _ENTRY.size:
            break
        guid, start, size = _ENTRY.unpack(entry)
        if not any(entry):
            return tuple(items)
        if start + size > len(data) or not size:
            raise InvalidInputError("a certificate table points outside of itself", hint="was the file damaged?")
        if guid in _KNOWN:
            items.append(data[start : start + size])
    raise InvalidInputError("a certificate table has no end", hint="was the file damaged?")
