"""The files that leave the enclave: their names, what they are sealed for, and how a recipient opens them.

    result/part-*.parquet   encrypted Parquet (test runs: plain)
    result.key.json         the result's key, sealed          (real runs only)
    preview.sealed.json     first rows as an Arrow stream     (test runs: preview.arrow, plain)
    log.sealed.json         the run's log                     (test runs: log.txt, plain)
    receipt.json            signed statement over all others  (real runs that succeed only)

A sealed file is canonical JSON {"v": 1, "sealed": [one envelope for each recipient]}.
"""

import json
from collections.abc import Sequence
from enum import StrEnum
from typing import Final

from opaque_jobs.crypto.keys import SealingKey, SealingPublicKey
from opaque_jobs.crypto.sealing import open_sealed, seal
from opaque_jobs.domain.canonical import canonical_bytes, parse_canonical
from opaque_jobs.errors import InvalidInputError, TrustError

__all__ = [
    "KEY_FILE",
    "LOG_FILE",
    "PREVIEW_FILE",
    "RECEIPT_FILE",
    "RESULT_FOLDER",
    "TEST_LOG_FILE",
    "TEST_PREVIEW_FILE",
    "Content",
    "open_file",
    "seal_info",
    "sealed_file",
]

RESULT_FOLDER: Final = "result"
KEY_FILE: Final = "result.key.json"
PREVIEW_FILE: Final = "preview.sealed.json"
LOG_FILE: Final = "log.sealed.json"
RECEIPT_FILE: Final = "receipt.json"
TEST_PREVIEW_FILE: Final = "preview.arrow"
TEST_LOG_FILE: Final = "log.txt"


class Content(StrEnum):
    """What a sealed file holds."""

    RESULT_KEY = "result-key"
    PREVIEW = "preview"
    LOG = "log"


def seal_info(content: Content, *, workspace_id: str, job_digest: str, run_id: str) -> dict[str, str]:
    """Give the context that a sealed file is bound to, and that opening demands again."""
    return {"content": content.value, "workspace_id": workspace_id, "job_digest": job_digest, "run_id": run_id}


def sealed_file(plaintext: bytes, recipients: Sequence[SealingPublicKey], info: dict[str, str]) -> bytes:
    """Seal one file to all recipients."""
    return canonical_bytes({"v": 1, "sealed": [json.loads(seal(plaintext, recipient, info)) for recipient in recipients]})


def open_file(data: bytes, key: SealingKey, info: dict[str, str]) -> bytes:
    """Open a sealed file with one recipient's key.

    Raises:
        InvalidInputError: It is not a sealed file.
        TrustError: It is not sealed to this key, or not for this context, or was changed.
    """
    document = parse_canonical(data, fields=("v", "sealed"), what="sealed file")
    if document["v"] != 1 or not isinstance(document["sealed"], list):
        raise InvalidInputError("a sealed file is of an unknown version", hint="use a newer version of this program")
    for envelope in document["sealed"]:
        if isinstance(envelope, dict) and envelope.get("recipient") == key.public.key_id:
            return open_sealed(canonical_bytes(envelope), key, info)
    raise TrustError("the file is not sealed to this organisation", hint="only its recipients can open it")
