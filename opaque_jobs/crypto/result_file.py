"""The one file in which a result leaves: the engine's encrypted Parquet files, in order, padded, sealed as one stream.

Parquet's own encryption leaves the length of every page and of the footer readable, so sizes of columns and of their names
too. Outside of this file nobody sees more than one padded length; inside, the files stay encrypted on a recipient's disk.

    chunk n     AES-256-GCM, 1 MiB of plaintext (the last one: what is left), 16 bytes of tag
    nonce       n as 11 bytes, big-endian, then 1 for the last chunk and 0 for all others
    key         HKDF(result key, info = "opaque-jobs/v1|result|<run id>|stream"): of this one stream only
    plaintext   number of files (4 bytes, big-endian), size of each (8 bytes), the files, zeros up to a padded size

Source: the STREAM construction (Hoang, Reyhanitabar, Rogaway, Vizár, CRYPTO 2015), with nonces as in age (C2SP).
"""

import struct
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from io import BytesIO
from pathlib import Path
from typing import IO, Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from opaque_jobs.crypto.parquet import part_name, result_stream_key
from opaque_jobs.domain.padding import padded_size
from opaque_jobs.errors import TrustError

__all__ = ["open_result", "sealed_result"]

_CHUNK: Final = 1 << 20
_TAG: Final = 16
_MAX_FILES: Final = 100_000
_COUNT: Final = struct.Struct(">I")
_SIZE: Final = struct.Struct(">Q")


def sealed_result(files: Sequence[Path], result_key: bytes, *, run_id: str) -> Iterator[bytes]:
    """Give the bytes of a result's file, chunk by chunk.

    Args:
        files: Encrypted Parquet files that nobody changes meanwhile.
        result_key: Fresh for the run.
        run_id: The run.
    """
    sizes = [path.stat().st_size for path in files]
    header = _COUNT.pack(len(sizes)) + b"".join(map(_SIZE.pack, sizes))
    cipher = AESGCM(result_stream_key(result_key, run_id=run_id))
    with ExitStack() as opened:
        sources: list[IO[bytes]] = [BytesIO(header), *(opened.enter_context(path.open("rb", buffering=0)) for path in files)]
        left = padded_size(len(header) + sum(sizes))
        number = 0
        while left:
            plaintext = _filled(min(_CHUNK, left), sources)
            left -= len(plaintext)
            yield cipher.encrypt(_nonce(number, last=not left), plaintext, None)
            number += 1


def open_result(source: Path, folder: Path, result_key: bytes, *, run_id: str) -> list[Path]:
    """Open a result's file into the encrypted Parquet files that it was made of.

    Args:
        source: The file; nobody else may be able to change it.
        folder: Where to leave them; must exist.
        result_key: The run's, unsealed by the recipient.
        run_id: The run that the result must be of.

    Returns:
        The files, in order.

    Raises:
        TrustError: It is not of this run and key, was changed or cut.
    """
    with source.open("rb") as sealed:
        plaintext = _Plaintext(sealed, source.stat().st_size, AESGCM(result_stream_key(result_key, run_id=run_id)))
        (count,) = _COUNT.unpack(plaintext.read(_COUNT.size))
        if count > _MAX_FILES:
            raise _refused()
        sizes = [_SIZE.unpack(plaintext.read(_SIZE.size))[0] for _ in range(count)]
        files = [folder / part_name(index) for index in range(count)]
        for path, size in zip(files, sizes, strict=True):
            with path.open("xb") as target:
                for left in range(size, 0, -_CHUNK):
                    target.write(plaintext.read(min(left, _CHUNK)))
        plaintext.finish()
    return files


class _Plaintext:
    """The opened stream, of which only verified bytes come out."""

    def __init__(self, source: IO[bytes], size: int, cipher: AESGCM) -> None:
        self._source = source
        self._left = size
        self._cipher = cipher
        self._number = 0
        self._buffer = b""
        self._start = 0

    def read(self, count: int) -> bytes:
        """Give exactly so many bytes.

        Raises:
            TrustError: The stream was changed, or ends before.
        """
        pieces = []
        while count:
            if self._start == len(self._buffer):
                self._buffer, self._start = self._next(), 0
            piece = self._buffer[self._start : self._start + count]
            self._start += len(piece)
            count -= len(piece)
            pieces.append(piece)
        return b"".join(pieces)

    def finish(self) -> None:
        """Verify what is left: padding too is part of the stream."""
        while self._left:
            self._next()

    def _next(self) -> bytes:
        sealed = self._source.read(min(_CHUNK + _TAG, self._left))
        self._left -= len(sealed)
        try:
            if len(sealed) <= _TAG:
                raise _refused()
            opened = self._cipher.decrypt(_nonce(self._number, last=not self._left), sealed, None)
        except InvalidTag:
            raise _refused() from None
        self._number += 1
        return opened


def _filled(size: int, sources: list[IO[bytes]]) -> bytearray:
    """Take so many bytes from the sources in turn, then zeros."""
    chunk = bytearray(size)
    got = 0
    while got < size and sources:
        piece = sources[0].read(size - got)
        chunk[got : got + len(piece)] = piece
        got += len(piece)
        if not piece:
            sources.pop(0)
    return chunk


def _nonce(number: int, *, last: bool) -> bytes:
    return number.to_bytes(11, "big") + bytes([last])


def _refused() -> TrustError:
    return TrustError("the result does not open: it was changed, cut, or is another run's", hint="fetch it again")
