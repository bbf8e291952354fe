"""The messages of the key broker protocol, version 0.1.0 (a subset of Trustee's KBS), for both sides.

`/kbs/v0/auth` gives a nonce, `/kbs/v0/attest` takes evidence and gives an attestation result, `/kbs/v0/resource/...` gives
sealed keys. Refusals are `application/problem+json` with fixed codes in `reasons`. Bodies travel through an untrusted relay.
"""

import base64
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from opaque_jobs.attestation.binding import TeePublicKeys
from opaque_jobs.crypto.keys import decode_base64
from opaque_jobs.domain.canonical import canonical_bytes, parse_json, require_fields
from opaque_jobs.domain.job import TeeKind
from opaque_jobs.errors import InvalidInputError

__all__ = [
    "ATTEST_PATH",
    "AUTH_PATH",
    "LOG_KEEPER",
    "PROTOCOL_VERSION",
    "UNLOGGED_STATUS",
    "AttestRequest",
    "attest_answer",
    "attest_body",
    "auth_answer",
    "auth_body",
    "consistency_answer",
    "consistency_path",
    "parse_attest",
    "parse_attest_answer",
    "parse_auth",
    "parse_auth_answer",
    "parse_consistency_answer",
    "parse_consistency_path",
    "parse_reasons",
    "parse_unlogged",
    "problem_body",
    "resource_path",
    "unlogged_body",
]

AUTH_PATH: Final = "/kbs/v0/auth"
ATTEST_PATH: Final = "/kbs/v0/attest"
PROTOCOL_VERSION: Final = "0.1.0"
UNLOGGED_STATUS: Final = 428
"""Precondition Required (RFC 6585): carry the statement to the log, then ask again. The relay does, the enclave never sees it."""
LOG_KEEPER: Final = ""
"""Where the owner of a broker is named, whoever keeps the workspace's log: the relay answers for it."""
_CONSISTENCY: Final = re.compile(r"/log/v0/consistency/([0-9]{1,15})/([0-9]{1,15})")
_INIT_FORMAT: Final = "opaque-jobs/v1"
_RUN_ID: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,127}")
_REASON: Final = re.compile(r"[a-z][a-z-]{0,63}")


def _text(document: Any) -> str:
    return canonical_bytes(document).decode()


def _wrong(what: str) -> InvalidInputError:
    return InvalidInputError(f"{what} has another form than expected", hint="agent and broker must match")


def resource_path(*, workspace_id: str, dataset_id: str, version: int) -> str:
    """Give the path at which a dataset's keys are fetched."""
    return f"/kbs/v0/resource/{workspace_id}/{dataset_id}/{version}"


def auth_body(kind: TeeKind) -> str:
    """Ask for a nonce for evidence of a kind."""
    return _text({"version": PROTOCOL_VERSION, "tee": str(kind), "extra-params": {}})


def parse_auth(body: bytes) -> TeeKind:
    """Read the untrusted request for a nonce.

    Raises:
        InvalidInputError: Another form, version or an unknown kind.
    """
    document = require_fields(parse_json(body, what="request"), ("version", "tee", "extra-params"), what="request")
    if (
        document["version"] != PROTOCOL_VERSION
        or document["tee"] not in list(TeeKind)
        or document["extra-params"] not in ({}, "")
    ):
        raise _wrong("the request for a nonce")
    return TeeKind(document["tee"])


def auth_answer(nonce: str) -> str:
    """Answer with a nonce."""
    return _text({"nonce": nonce, "extra-params": {}})


def parse_auth_answer(body: str) -> str:
    """Read the nonce out of a broker's untrusted answer.

    Raises:
        InvalidInputError: Another form.
    """
    document = require_fields(parse_json(body.encode(), what="answer"), ("nonce", "extra-params"), what="answer")
    if not isinstance(document["nonce"], str) or len(decode_base64(document["nonce"], what="nonce")) < 16:
        raise _wrong("the broker's nonce")
    return document["nonce"]


@dataclass(frozen=True, slots=True, kw_only=True)
class AttestRequest:
    """What an agent shows a broker. Nothing of it is verified yet.

    Args:
        nonce: The broker's nonce.
        keys: The enclave's public keys.
        job_spec: Bytes of the job specification.
        bundle: Bytes of the approval bundle.
        run_id: The run.
        inputs: Effective input values.
        refreshed: Data set's name -> its manifest's envelope (JSON text), of those read in a newer version than the job names.
        evidence: Bytes of the evidence.
    """

    nonce: str
    keys: TeePublicKeys
    job_spec: bytes
    bundle: bytes
    run_id: str
    inputs: Mapping[str, Any]
    refreshed: Mapping[str, str]
    evidence: bytes


def attest_body(request: AttestRequest) -> str:
    """Show a broker the evidence and what it is about."""
    return _text(
        {
            "runtime-data": {"nonce": request.nonce, "tee-pubkey": request.keys.to_document()},
            "init-data": {
                "format": _INIT_FORMAT,
                "body": {
                    "job_spec": base64.b64encode(request.job_spec).decode("ascii"),
                    "bundle": base64.b64encode(request.bundle).decode("ascii"),
                    "run_id": request.run_id,
                    "inputs": dict(request.inputs),
                    "refreshed": dict(request.refreshed),
                },
            },
            "tee-evidence": {"primary_evidence": base64.b64encode(request.evidence).decode("ascii")},
        }
    )


def parse_attest(body: bytes) -> AttestRequest:
    """Read an agent's untrusted request.

    Raises:
        InvalidInputError: Another form.
    """
    what = "the attestation request"
    document = require_fields(parse_json(body, what=what), ("runtime-data", "init-data", "tee-evidence"), what=what)
    runtime = require_fields(document["runtime-data"], ("nonce", "tee-pubkey"), what=what)
    init = require_fields(document["init-data"], ("format", "body"), what=what)
    about = require_fields(init["body"], ("job_spec", "bundle", "run_id", "inputs", "refreshed"), what=what)
    evidence = require_fields(document["tee-evidence"], ("primary_evidence",), what=what)
    if (
        init["format"] != _INIT_FORMAT
        or not isinstance(runtime["nonce"], str)
        or not isinstance(about["run_id"], str)
        or not _RUN_ID.fullmatch(about["run_id"])
        or not isinstance(about["inputs"], dict)
        or not isinstance(about["refreshed"], dict)
        or not all(isinstance(each, str) for each in about["refreshed"].values())
    ):
        raise _wrong(what)
    return AttestRequest(
        nonce=runtime["nonce"],
        keys=TeePublicKeys.parse_document(runtime["tee-pubkey"]),
        job_spec=decode_base64(about["job_spec"], what=what),
        bundle=decode_base64(about["bundle"], what=what),
        run_id=about["run_id"],
        inputs=about["inputs"],
        refreshed=about["refreshed"],
        evidence=decode_base64(evidence["primary_evidence"], what=what),
    )


def attest_answer(token: str) -> str:
    """Answer with an attestation result."""
    return _text({"token": token})


def parse_attest_answer(body: str) -> str:
    """Read the attestation result (not verified) out of a broker's untrusted answer.

    Raises:
        InvalidInputError: Another form.
    """
    document = require_fields(parse_json(body.encode(), what="answer"), ("token",), what="answer")
    if not isinstance(document["token"], str):
        raise _wrong("the broker's answer")
    return document["token"]


def consistency_path(first: int, second: int) -> str:
    """Give the path at which the keeper of the log proves that its tree of the second size continues that of the first."""
    return f"/log/v0/consistency/{first}/{second}"


def parse_consistency_path(path: str) -> tuple[int, int]:
    """Read the two sizes.

    Raises:
        InvalidInputError: Another path.
    """
    found = _CONSISTENCY.fullmatch(path)
    if found is None:
        raise _wrong("the request to the keeper of the log")
    return int(found[1]), int(found[2])


def consistency_answer(path: Sequence[bytes]) -> str:
    """Answer with the hashes of a proof (RFC 9162, 2.1.4)."""
    return _text({"path": [each.hex() for each in path]})


def parse_consistency_answer(body: str) -> tuple[str, ...]:
    """Read the hashes (not verified, nor that they are any) out of the untrusted answer.

    Raises:
        InvalidInputError: Another form.
    """
    path = require_fields(parse_json(body.encode(), what="answer"), ("path",), what="answer")["path"]
    if not isinstance(path, list) or not all(isinstance(each, str) for each in path):
        raise _wrong("the answer of the log's keeper")
    return tuple(path)


def problem_body(*, status: int, title: str, reasons: Collection[str]) -> str:
    """Give a refusal (RFC 9457) with its fixed codes."""
    return _text({"type": "about:blank", "title": title, "status": status, "reasons": list(reasons)})


def unlogged_body(statement: bytes) -> str:
    """Answer that a release has to be in the workspace's log first, with the statement to append."""
    return _text(
        {
            "type": "about:blank",
            "title": "the release must be in the log first",
            "status": UNLOGGED_STATUS,
            "reasons": ["release-not-in-log"],
            "statement": statement.decode(),
        }
    )


def parse_unlogged(body: str) -> bytes:
    """Read the statement that has to be appended to the log (not verified).

    Raises:
        InvalidInputError: Another form.
    """
    document = parse_json(body.encode(), what="answer")
    statement = document.get("statement") if isinstance(document, dict) else None
    if not isinstance(statement, str):
        raise _wrong("the broker's answer")
    return statement.encode()


def parse_reasons(body: str) -> tuple[str, ...]:
    """Read the codes out of an untrusted refusal; nothing but code words gets through, empty if there are none."""
    try:
        document = parse_json(body.encode(), what="refusal")
    except InvalidInputError:
        return ()
    reasons = document.get("reasons") if isinstance(document, dict) else None
    if not isinstance(reasons, list):
        return ()
    return tuple(word for word in reasons[:32] if isinstance(word, str) and _REASON.fullmatch(word))
