"""The outer form of an Intel quote, checked byte by byte: every length must fit, and nothing may stand where nothing belongs.

`dcap-qvl` verifies what is signed; lengths, types and the text around certificates are not, so one quote would have many
forms. After the quote only zeros may follow: quotes travel in buffers of fixed size.
Shape: header 48, body, signature length 4, signature data. Version 5 names the body's type and size; from version 4 on the
quoting enclave's part lies inside certification data of type 6.
Source: Intel, "TDX DCAP Quoting Library API", appendix 3; "ECDSA Quote Library API", appendix 4.
"""

import base64
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from opaque_jobs.attestation.certificates import pem_text
from opaque_jobs.errors import InvalidInputError

__all__ = ["SplitQuote", "is_quote", "quote_length", "split_quote"]

_HEADER_BYTES: Final = 48
_SGX, _TDX = 0, 0x81
_ECDSA_P256: Final = 2
_INTEL_QE: Final = bytes.fromhex("939a7233f79c4ca9940a0db3957f0607")
_BODIES: Final = {_SGX: 384, _TDX: 584}
_BODY_TYPES: Final = {(_SGX, 1): 384, (_TDX, 2): 584, (_TDX, 3): 648, (_TDX, 4): None}
"""TEE and body type -> size; the newest body says its own, which the library compares with what it knows."""
_MAX_BODY_BYTES: Final = 4096
_NESTED: Final = 6
_PEM_CHAIN: Final = 5
_PLATFORM_IDS: Final = (1, 2, 3)
"""The platform's id, bare or encrypted to Intel, instead of its certificates: these are given beside the quote."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SplitQuote:
    """A quote whose lengths fit.

    Args:
        quote: Without what follows it.
        chain: The certificates in it, DER, leaf first; empty if it only names its platform.
        rest: What follows it.
        unsigned: Where the part begins that brings the certificates: the last one, and signed by nobody.
    """

    quote: bytes
    chain: tuple[bytes, ...]
    rest: bytes
    unsigned: int

    def with_chain(self, ders: Sequence[bytes]) -> bytes:
        """Give the quote as it would be if it brought these certificates: its signatures do not cover them."""
        text = pem_text(ders).encode("ascii")
        part = struct.pack("<HI", _PEM_CHAIN, len(text)) + text
        more = len(part) - (len(self.quote) - self.unsigned)
        raw = bytearray(self.quote[: self.unsigned] + part)
        places = [_signature_at(self.quote)]
        if int.from_bytes(raw[:2], "little") > 3:
            places.append(places[0] + 4 + 64 + 64 + 2)
        for place in places:
            raw[place : place + 4] = (int.from_bytes(raw[place : place + 4], "little") + more).to_bytes(4, "little")
        return bytes(raw)


class _Reader:
    """Takes bytes off the front; running out is an error."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self.at = 0

    def take(self, size: int) -> bytes:
        taken = self._data[self.at : self.at + size]
        if len(taken) != size:
            raise InvalidInputError("a quote is cut short", hint="was the file damaged?")
        self.at += size
        return taken

    def number(self, size: int) -> int:
        return int.from_bytes(self.take(size), "little")

    def end(self) -> None:
        if self.at != len(self._data):
            raise InvalidInputError("a quote's lengths contradict each other", hint="was the file damaged?")


def is_quote(data: bytes) -> bool:
    """Tell whether bytes look like a quote, by its header."""
    version, key_type = int.from_bytes(data[:2], "little"), int.from_bytes(data[2:4], "little")
    return version in {3, 4, 5} and key_type == _ECDSA_P256 and data[12:28] == _INTEL_QE


def quote_length(data: bytes) -> int:
    """Give the length that a quote claims to have.

    Raises:
        InvalidInputError: It is not a quote of a known version, or cut short.
    """
    if not is_quote(data):
        raise InvalidInputError("this is no quote of a known version", hint="versions 3, 4 and 5 with ECDSA P-256 are known")
    reader = _Reader(data)
    version, tee = int.from_bytes(reader.take(_HEADER_BYTES)[:2], "little"), int.from_bytes(data[4:8], "little")
    size = _BODIES.get(tee) if version == 4 or tee == _SGX else None
    if version == 5:
        known, size = _BODY_TYPES.get((tee, reader.number(2)), 0), reader.number(4)
        size = size if known in {size, None} and size <= _MAX_BODY_BYTES else None
    if size is None:
        raise InvalidInputError("a quote has a body of an unknown type", hint="TDX 1.0 and 1.5, and SGX, are known")
    reader.take(size)
    return reader.number(4) + reader.at


def split_quote(data: bytes) -> SplitQuote:
    """Take an untrusted quote apart.

    Raises:
        InvalidInputError: A length, a type, or the text of the certificates is not as it has to be.
    """
    end = quote_length(data)
    version = int.from_bytes(data[:2], "little")
    start = end - int.from_bytes(data[_signature_at(data) : _signature_at(data) + 4], "little")
    reader = _Reader(data[start:end]) if end <= len(data) else _Reader(b"")
    reader.take(64 + 64)
    if version > 3:
        if reader.number(2) != _NESTED:
            raise InvalidInputError("a quote has no part of a quoting enclave", hint="was the file damaged?")
        start += reader.at + 4
        inner = reader.take(reader.number(4))
        reader.end()
        reader = _Reader(inner)
    reader.take(384 + 64)
    reader.take(reader.number(2))
    unsigned = start + reader.at
    kind, text = reader.number(2), reader.take(reader.number(4))
    reader.end()
    if kind not in {_PEM_CHAIN, *_PLATFORM_IDS}:
        raise InvalidInputError("a quote brings no certificate chain", hint="let the quote carry the PCK chain (type 5)")
    chain = _certificates(text) if kind == _PEM_CHAIN else ()
    return SplitQuote(quote=data[:end], chain=chain, rest=data[end:], unsigned=unsigned)


def _signature_at(data: bytes) -> int:
    """Give where the length of the signature data stands; `quote_length` has checked the body before."""
    version, tee = int.from_bytes(data[:2], "little"), int.from_bytes(data[4:8], "little")
    if version == 5:
        return _HEADER_BYTES + 6 + int.from_bytes(data[50:54], "little")
    return _HEADER_BYTES + _BODIES[tee]


def _certificates(text: bytes) -> tuple[bytes, ...]:
    """Read the PEM chain, which has to be the very text that these certificates give."""
    try:
        blocks = text.decode("ascii").split("-----BEGIN CERTIFICATE-----")[1:]
        ders = [base64.b64decode(block.partition("-----END")[0]) for block in blocks]
    except ValueError:
        ders = []
    whole = pem_text(ders).encode("ascii")
    if not ders or text not in {whole, whole + b"\0", whole.rstrip(b"\n")}:
        raise InvalidInputError("a quote's certificates are not plain PEM", hint="was the file damaged?")
    return tuple(ders)
