"""Cosignatures of witnesses under a log's checkpoint: outsiders who saw the log grow, and saw no other under its name.

A witness is known by name and key, given by whoever relies on it; lines of other signers say nothing and are passed over.
Source: C2SP tlog-cosignature (Ed25519, `cosignature/v1`, type 4) and signed-note.
"""

import base64
import binascii
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final, Self

from opaque_jobs.crypto.keys import VerifyKey
from opaque_jobs.errors import InvalidInputError, TrustError

__all__ = ["LogWitness", "cosigned"]

_COSIGNATURE: Final = b"\x04"
_DASH: Final = "\u2014"
_ID_BYTES: Final = 4
_TIME_BYTES: Final = 8
_SIGNATURE_BYTES: Final = 64
_NEVER: Final = 1 << 36
"""Seconds; later than anything, and still a date."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LogWitness:
    """Who cosigns.

    Args:
        name: As in its signature lines.
        key: Its key for cosignatures.
    """

    name: str
    key: VerifyKey

    @property
    def key_id(self) -> bytes:
        """First bytes of each of its signatures."""
        return hashlib.sha256(self.name.encode() + b"\n" + _COSIGNATURE + self.key.raw).digest()[:_ID_BYTES]

    @property
    def text(self) -> str:
        """`name+id+key`, as tools for signed notes write it."""
        key = base64.b64encode(_COSIGNATURE + self.key.raw).decode("ascii")
        return f"{self.name}+{self.key_id.hex()}+{key}"

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read `text`.

        Raises:
            InvalidInputError: It is no witness's key, of another algorithm, or its parts contradict each other.
        """
        name, _, rest = text.partition("+")
        raw = _base64(rest.partition("+")[2])
        try:
            witness = cls(name=name, key=VerifyKey(raw[1:]))
        except InvalidInputError:
            witness = None
        if witness is None or witness.text != text or not name or name.split() != [name]:
            raise InvalidInputError(
                "this is no witness's key", hint="write it as NAME+ID+KEY, for Ed25519 cosignatures (type 4), as the witness does"
            )
        return witness


def cosigned(note: str, witnesses: Sequence[LogWitness]) -> dict[LogWitness, datetime]:
    """Give which of these witnesses have cosigned a checkpoint, and when each says that it did.

    Trust: the log's own signature is `verify_checkpoint`'s to check. What a witness says of time is its own word.

    Raises:
        TrustError: A line under the name and key id of one of them does not hold.
    """
    body, _, lines = note.partition("\n\n")
    found: dict[LogWitness, datetime] = {}
    for line in lines.split("\n"):
        for witness in witnesses:
            prefix = f"{_DASH} {witness.name} "
            raw = _base64(line.removeprefix(prefix)) if line.startswith(prefix) else b""
            if raw[:_ID_BYTES] == witness.key_id:
                found[witness] = _verified(raw[_ID_BYTES:], f"{body}\n", witness)
    return found


def _verified(timestamped: bytes, body: str, witness: LogWitness) -> datetime:
    seconds = int.from_bytes(timestamped[:_TIME_BYTES], "big")
    if len(timestamped) != _TIME_BYTES + _SIGNATURE_BYTES or seconds >= _NEVER:
        raise TrustError("a witness's cosignature has another form than expected", hint="was it copied whole?")
    witness.key.verify(timestamped[_TIME_BYTES:], f"cosignature/v1\ntime {seconds}\n{body}".encode())
    return datetime.fromtimestamp(seconds, UTC)


def _base64(text: str) -> bytes:
    """Decode the one canonical form; nothing for anything else."""
    try:
        raw = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return b""
    return raw if base64.b64encode(raw).decode("ascii") == text else b""
