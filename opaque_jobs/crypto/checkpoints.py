"""Signed checkpoints of a workspace's log: how large its tree is, and its root.

A checkpoint is a signed note, so tools for transparency logs read it. The log's key stands in the member list that every member
signed; whoever keeps the log cannot show two histories without leaving two signatures that prove it.
Source: C2SP tlog-checkpoint and signed-note, Ed25519 signatures (type 1).
"""

import base64
import binascii
import hashlib
from dataclasses import dataclass
from typing import Final, Self

from opaque_jobs.crypto.keys import Signer, VerifyKey
from opaque_jobs.crypto.merkle import HASH_BYTES
from opaque_jobs.errors import InvalidInputError, TrustError

__all__ = ["Checkpoint", "log_origin", "sign_checkpoint", "verifier_key", "verify_checkpoint"]

_ED25519: Final = b"\x01"
_DASH: Final = "\u2014"
_MAX_BYTES: Final = 4096
_WHAT: Final = "checkpoint of the log"


def log_origin(workspace_id: str) -> str:
    """Give the name of a workspace's log, which is also the name of its key."""
    return f"opaque-jobs.log/{workspace_id}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Checkpoint:
    """What a log says of itself.

    Args:
        origin: Its name.
        size: Number of entries.
        root: Root hash, 32 bytes.
    """

    origin: str
    size: int
    root: bytes

    @property
    def seen(self) -> str:
        """`<size> <base64 root>`: how votes, evidence and receipts name a checkpoint."""
        return f"{self.size} {base64.b64encode(self.root).decode('ascii')}"

    @property
    def body(self) -> str:
        """The note's text."""
        return f"{self.origin}\n{self.size}\n{base64.b64encode(self.root).decode('ascii')}\n"

    @classmethod
    def parse_seen(cls, text: str, *, workspace_id: str) -> Self:
        """Read what `seen` gave.

        Raises:
            InvalidInputError: It is something else.
        """
        size, _, root = text.partition(" ")
        return cls(origin=log_origin(workspace_id), size=_size(size), root=_base64(root, length=HASH_BYTES))


def sign_checkpoint(checkpoint: Checkpoint, signer: Signer) -> str:
    """Give the signed note."""
    signature = _key_hash(checkpoint.origin, signer.public) + signer.sign(checkpoint.body.encode())
    return f"{checkpoint.body}\n{_DASH} {checkpoint.origin} {base64.b64encode(signature).decode('ascii')}\n"


def verify_checkpoint(note: str, key: VerifyKey, *, workspace_id: str) -> Checkpoint:
    """Verify a signed note of a workspace's log. Signatures of others (witnesses) may follow and are not looked at.

    Raises:
        InvalidInputError: It does not have the form of one.
        TrustError: It is of another log, or not signed with this key.
    """
    text, _, signatures = note.partition("\n\n")
    lines = text.split("\n")
    if len(lines) != 3 or len(note.encode()) > _MAX_BYTES or not signatures.endswith("\n"):
        raise InvalidInputError(f"the {_WHAT} has another form than expected", hint="was it copied whole?")
    checkpoint = Checkpoint(origin=lines[0], size=_size(lines[1]), root=_base64(lines[2], length=HASH_BYTES))
    if checkpoint.origin != log_origin(workspace_id):
        raise TrustError("a checkpoint is of another log", hint="each workspace has a log of its own")
    prefix = f"{_DASH} {checkpoint.origin} "
    expected = _key_hash(checkpoint.origin, key)
    for line in signatures[:-1].split("\n"):
        raw = _base64(line.removeprefix(prefix), length=None) if line.startswith(prefix) else b""
        if raw[:4] == expected:
            key.verify(raw[4:], checkpoint.body.encode())
            return checkpoint
    raise TrustError("a checkpoint is not signed with the log's key", hint="the key is named in the workspace's member list")


def verifier_key(workspace_id: str, key: VerifyKey) -> str:
    """Give a log's public key in the form that tools for signed notes take (`name+hash+key`)."""
    name = log_origin(workspace_id)
    return f"{name}+{_key_hash(name, key).hex()}+{base64.b64encode(_ED25519 + key.raw).decode('ascii')}"


def _key_hash(name: str, key: VerifyKey) -> bytes:
    return hashlib.sha256(name.encode() + b"\n" + _ED25519 + key.raw).digest()[:4]


def _size(text: str) -> int:
    if not text.isdecimal() or len(text) > 15 or str(int(text)) != text:
        raise InvalidInputError(f"the {_WHAT} has no valid size", hint="was it copied whole?")
    return int(text)


def _base64(text: str, *, length: int | None) -> bytes:
    try:
        raw = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raw = None
    if raw is None or (length is not None and len(raw) != length) or base64.b64encode(raw).decode("ascii") != text:
        raise InvalidInputError(f"the {_WHAT} has another form than expected", hint="was it copied whole?")
    return raw
