"""The files that leave the enclave: their names, what they are sealed for, and how a recipient opens them.

    result.sealed           the result (`crypto.result_file`)   (test runs: result/part-00000.parquet and so on, plain)
    result.key.json         the result's key, sealed            (real runs only)
    preview.sealed.json     first rows as an Arrow stream       (test runs: preview.arrow, plain)
    log.sealed.json         the run's log                       (test runs: log.txt, plain)
    receipt.json            signed statement over all others    (real runs that succeed only)

No name comes from data, and every size is padded. A sealed file is canonical JSON {"v": 1, "sealed": [one envelope for each
recipient]}, over what `domain.padding` makes of the content.
"""

import json
import re
from collections.abc import Iterable, Sequence
from enum import StrEnum
from typing import Any, Final

from opaque_jobs.crypto.keys import SealingKey, SealingPublicKey
from opaque_jobs.crypto.sealing import open_sealed, seal
from opaque_jobs.domain.canonical import canonical_bytes, parse_canonical
from opaque_jobs.domain.padding import pad, unpad
from opaque_jobs.errors import InvalidInputError, TrustError
from opaque_jobs.protocol.enclave import Mode

__all__ = [
    "KEY_FILE",
    "LOG_FILE",
    "PREVIEW_FILE",
    "RECEIPT_FILE",
    "RESULT_FILE",
    "TEST_LOG_FILE",
    "TEST_PREVIEW_FILE",
    "TEST_RESULT_FOLDER",
    "Content",
    "is_layout",
    "log_file",
    "open_file",
    "recipients_of",
    "seal_info",
    "sealed_file",
]

RESULT_FILE: Final = "result.sealed"
KEY_FILE: Final = "result.key.json"
PREVIEW_FILE: Final = "preview.sealed.json"
LOG_FILE: Final = "log.sealed.json"
RECEIPT_FILE: Final = "receipt.json"
TEST_PREVIEW_FILE: Final = "preview.arrow"
TEST_LOG_FILE: Final = "log.txt"
TEST_RESULT_FOLDER: Final = "result"
_TEST_PART: Final = re.compile(rf"{TEST_RESULT_FOLDER}/part-[0-9]{{5}}\.parquet")
_REAL: Final = frozenset({RESULT_FILE, KEY_FILE, PREVIEW_FILE, LOG_FILE, RECEIPT_FILE})
_TEST: Final = frozenset({TEST_PREVIEW_FILE, TEST_LOG_FILE})


class Content(StrEnum):
    """What a sealed file holds."""

    RESULT_KEY = "result-key"
    PREVIEW = "preview"
    LOG = "log"


def is_layout(names: Iterable[str], mode: Mode, *, succeeded: bool) -> bool:
    """Tell whether an output folder holds what the layout says: all of it after a success, at most the log else."""
    found = set(names)
    if not succeeded:
        return found <= {log_file(mode)}
    if mode is Mode.REAL:
        return found == _REAL
    parts = sorted(found - _TEST)
    return found >= _TEST and bool(parts) and all(_TEST_PART.fullmatch(name) for name in parts)


def log_file(mode: Mode) -> str:
    """Give the name of the run's log."""
    return LOG_FILE if mode is Mode.REAL else TEST_LOG_FILE


def seal_info(content: Content, *, workspace_id: str, job_digest: str, run_id: str) -> dict[str, str]:
    """Give the context that a sealed file is bound to, and that opening demands again."""
    return {"content": content.value, "workspace_id": workspace_id, "job_digest": job_digest, "run_id": run_id}


def sealed_file(plaintext: bytes, recipients: Sequence[SealingPublicKey], info: dict[str, str]) -> bytes:
    """Seal one file to all recipients."""
    padded = pad(plaintext)
    return canonical_bytes({"v": 1, "sealed": [json.loads(seal(padded, recipient, info)) for recipient in recipients]})


def recipients_of(data: bytes) -> frozenset[str]:
    """Return the ids of the keys that a sealed file says it is sealed to. Nothing is verified: it tells which key to try.

    Raises:
        InvalidInputError: It is not a sealed file.
    """
    return frozenset(str(each.get("recipient")) for each in _envelopes(data) if isinstance(each, dict))


def open_file(data: bytes, key: SealingKey, info: dict[str, str]) -> bytes:
    """Open a sealed file with one recipient's key.

    Raises:
        InvalidInputError: It is not a sealed file.
        TrustError: It is not sealed to this key, or not for this context, or was changed.
    """
    for envelope in _envelopes(data):
        if isinstance(envelope, dict) and envelope.get("recipient") == key.public.key_id:
            return unpad(open_sealed(canonical_bytes(envelope), key, info))
    raise TrustError("the file is not sealed to this organisation", hint="only its recipients can open it")


def _envelopes(data: bytes) -> list[Any]:
    document = parse_canonical(data, fields=("v", "sealed"), what="sealed file")
    if document["v"] != 1 or not isinstance(document["sealed"], list):
        raise InvalidInputError("a sealed file is of an unknown version", hint="use a newer version of this program")
    return document["sealed"]
