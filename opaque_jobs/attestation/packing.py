"""How files are packed: gzip, hexadecimal, base64, PEM, several DER in a row. Nothing of that proves or breaks anything.

So packing is taken generously, for people who have what some tool wrote; what is inside is read strictly, and verified.
"""

import base64
import binascii
import re
import zlib
from collections.abc import Iterator
from typing import Final

from opaque_jobs.errors import InvalidInputError

__all__ = ["MAX_PACKED_BYTES", "der_items", "layers", "text_bytes"]

MAX_PACKED_BYTES: Final = 1 << 20
"""Of what was compressed: little sent must not make brokers read much."""
_MOST_LAYERS: Final = 4
_GZIP: Final = b"\x1f\x8b"
_AS_GZIP: Final = 31
"""zlib's number for: a gzip header, and a window of any size."""
_HEXADECIMAL: Final = re.compile(rb"(?:0x)?((?:[0-9a-fA-F]{2})+)")
_BASE64: Final = re.compile(rb"[A-Za-z0-9+/_-]+={0,2}")
_SEQUENCE: Final = 0x30
_DER_HEADER_BYTES: Final = 5
_MOST_ITEMS: Final = 64


def layers(data: bytes) -> Iterator[bytes]:
    """Give bytes as they are, then what they stand for if they are compressed or written as text, and so on.

    Raises:
        InvalidInputError: They are compressed and damaged, or too long when they are not.
    """
    for _ in range(_MOST_LAYERS):
        if not data:
            return
        yield data
        data = _inflated(data) if data.startswith(_GZIP) else text_bytes(data)


def text_bytes(data: bytes) -> bytes:
    """Give what hexadecimal or base64 text stands for; nothing if it is neither."""
    text = b"".join(data.split())
    hexadecimal = _HEXADECIMAL.fullmatch(text)
    if hexadecimal:
        return bytes.fromhex(hexadecimal[1].decode("ascii"))
    if not _BASE64.fullmatch(text):
        return b""
    try:
        return base64.b64decode(text.translate(bytes.maketrans(b"-_", b"+/")).rstrip(b"=") + b"=" * (-len(text.rstrip(b"=")) % 4))
    except binascii.Error:
        return b""


def der_items(data: bytes) -> tuple[bytes, ...]:
    """Split DER sequences that stand in a row; what is damaged or too much comes as it is, to be refused by whoever reads it."""
    items: list[bytes] = []
    at = 0
    while at < len(data) and len(items) < _MOST_ITEMS:
        size = _der_size(data[at : at + _DER_HEADER_BYTES]) or len(data)
        items.append(data[at : at + size])
        at += size
    return (*items, data[at:]) if at < len(data) else tuple(items)


def _der_size(header: bytes) -> int:
    """Give a sequence's size, header included; zero if it is none of a size that is worth reading."""
    many = header[1] & 0x7F if len(header) > 1 and header[1] & 0x80 else 0
    if header[0] != _SEQUENCE or not 1 <= many <= _DER_HEADER_BYTES - 2:
        return 0
    return 2 + many + int.from_bytes(header[2 : 2 + many], "big")


def _inflated(data: bytes) -> bytes:
    inflater = zlib.decompressobj(_AS_GZIP)
    try:
        found = inflater.decompress(data, MAX_PACKED_BYTES)
    except zlib.error:
        found = b""
    if not inflater.eof or inflater.unconsumed_tail or inflater.unused_data:
        raise InvalidInputError(
            "a compressed file is damaged or too long", hint="give it without compression", limit_bytes=MAX_PACKED_BYTES
        )
    return found
