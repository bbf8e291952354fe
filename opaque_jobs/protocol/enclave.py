"""What crosses the wall between the host (untrusted) and the agent, version 1.

Frames on one inherited socket: 4 bytes length (big-endian, at most `MAX_FRAME_BYTES`), then RFC 8785 JSON of exactly one
message. Schemas are closed: an unknown field or message is refused. Nothing here carries plaintext or a key; what the agent
sends is ids, digests, ciphertext and words of the fixed list `StatusWord` / `FailureWord`.
"""

import socket
import struct
from dataclasses import dataclass, fields
from enum import StrEnum
from typing import Any, Final, cast, get_origin

from opaque_jobs.domain.canonical import canonical_bytes, parse_canonical
from opaque_jobs.errors import InvalidInputError

__all__ = [
    "CONTROL_FD",
    "HEARTBEAT_S",
    "LEASE_S",
    "MAX_FRAME_BYTES",
    "BrokerRequest",
    "BrokerResponse",
    "Cancel",
    "Channel",
    "EvidenceRequest",
    "EvidenceResponse",
    "FailureWord",
    "Finished",
    "Heartbeat",
    "Message",
    "Mode",
    "Start",
    "Status",
    "StatusWord",
    "TimeLimit",
    "encode",
    "frame",
    "parse_message",
]

MAX_FRAME_BYTES: Final = 64 * 1024 * 1024
CONTROL_FD: Final = 3
"""File descriptor of the control socket inside the sandbox."""
HEARTBEAT_S: Final = 5
LEASE_S: Final = 30
"""Without a heartbeat for so long the agent ends itself."""
_LENGTH: Final = struct.Struct(">I")


class Mode(StrEnum):
    """`REAL` has keys, brokers and a receipt; `TEST` has plaintext test data and none of them."""

    REAL = "real"
    TEST = "test"


class StatusWord(StrEnum):
    """All that the host learns about progress."""

    MEASURING = "measuring"
    ATTESTING = "attesting"
    FETCHING_KEYS = "fetching-keys"
    STARTING_ENGINE = "starting-engine"
    COMPUTING = "computing"
    SEALING = "sealing"
    DONE = "done"


class FailureWord(StrEnum):
    """All that the host learns about why a run failed."""

    DIGEST_MISMATCH = "digest-mismatch"
    INPUTS_REFUSED = "inputs-refused"
    MANIFEST_REFUSED = "manifest-refused"
    BROKER_REFUSED = "broker-refused"
    BROKER_UNREACHABLE = "broker-unreachable"
    ENGINE_FAILED = "engine-failed"
    DATA_REFUSED = "data-refused"
    AUTHOR_ERROR = "author-error"
    OUTPUT_REFUSED = "output-refused"
    TIME_LIMIT = "time-limit"
    RESOURCE_LIMIT = "resource-limit"
    CANCELLED = "cancelled"
    INTERNAL = "internal"


@dataclass(frozen=True, slots=True, kw_only=True)
class Start:
    """First message of the host: everything about the run, in public documents.

    Args:
        mode: See `Mode`.
        run_id: Id of the run.
        job_spec: Base64 of the approved `JobSpec` bytes.
        bundle: Base64 of the `ApprovalBundle` bytes; empty in test mode.
        manifests: Alias -> DSSE envelope (JSON text) of the dataset manifest; empty in test mode.
        inputs: Input variable -> value, as JSON scalars.
        heap_bytes: What the engine's heap may take.
        cores: Threads of the engine.
        sent_at: UTC, RFC 3339, the host's clock.
        tee: Kind of evidence that this host can get; empty in test mode.
    """

    mode: str
    run_id: str
    job_spec: str
    bundle: str
    manifests: dict[str, str]
    inputs: dict[str, Any]
    heap_bytes: int
    cores: int
    sent_at: str
    tee: str


@dataclass(frozen=True, slots=True, kw_only=True)
class EvidenceRequest:
    """Agent -> host in simulated mode: sign this (both hex)."""

    report_data: str
    init_data: str


@dataclass(frozen=True, slots=True, kw_only=True)
class EvidenceResponse:
    """Host -> agent: evidence as base64 of its bytes."""

    evidence: str


@dataclass(frozen=True, slots=True, kw_only=True)
class BrokerRequest:
    """Agent -> host: relay this HTTP request to the broker of `org_id`; if that is empty, answer it for the workspace's log."""

    request_id: int
    org_id: str
    method: str
    path: str
    cookie: str
    body: str


@dataclass(frozen=True, slots=True, kw_only=True)
class BrokerResponse:
    """Host -> agent: the broker's answer; status 0 means that it could not be reached."""

    request_id: int
    status: int
    cookie: str
    body: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Heartbeat:
    """Host -> agent: the lease goes on."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cancel:
    """Host -> agent: stop now."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Status:
    """Agent -> host: progress."""

    word: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Finished:
    """Agent -> host, last message: `failure` is empty on success, else a `FailureWord`; reasons are a broker's refusal codes."""

    failure: str
    reasons: list[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class TimeLimit:
    """Agent -> its guard, never further: end the run after so long, whatever the agent does then."""

    seconds: int


Message = (
    Start
    | EvidenceRequest
    | EvidenceResponse
    | BrokerRequest
    | BrokerResponse
    | Heartbeat
    | Cancel
    | Status
    | Finished
    | TimeLimit
)
_KINDS: Final[dict[str, type[Any]]] = {
    "start": Start,
    "evidence-request": EvidenceRequest,
    "evidence-response": EvidenceResponse,
    "broker-request": BrokerRequest,
    "broker-response": BrokerResponse,
    "heartbeat": Heartbeat,
    "cancel": Cancel,
    "status": Status,
    "finished": Finished,
    "time-limit": TimeLimit,
}
_NAMES: Final = {kind: name for name, kind in _KINDS.items()}


def _origin(annotation: Any) -> type[Any]:
    """Give the plain type behind a field's annotation (`dict` for `dict[str, str]`)."""
    return cast("type[Any]", get_origin(annotation) or annotation)


def encode(message: Message) -> bytes:
    """Give the frame's payload for a message."""
    body = {field.name: getattr(message, field.name) for field in fields(message)}
    return canonical_bytes({"v": 1, "kind": _NAMES[type(message)], "body": body})


def frame(payload: bytes) -> bytes:
    """Give the frame around a payload."""
    return _LENGTH.pack(len(payload)) + payload


def parse_message(payload: bytes) -> Message:
    """Parse one untrusted payload.

    Raises:
        InvalidInputError: It is not exactly one message of this version.
    """
    document = parse_canonical(payload, fields=("v", "kind", "body"), what="control message")
    kind = _KINDS.get(document["kind"]) if isinstance(document["kind"], str) else None
    body = document["body"]
    if document["v"] != 1 or kind is None or not isinstance(body, dict):
        raise InvalidInputError("control message of an unknown version or kind", hint="host and agent must match")
    expected = {field.name: _origin(field.type) for field in fields(kind)}
    if set(body) != set(expected) or any(type(body[name]) is not wanted for name, wanted in expected.items()):
        raise InvalidInputError("control message with wrong fields", hint="host and agent must match")
    return kind(**body)  # type: ignore[no-any-return]


class Channel:
    """Frames over a connected stream socket. One reader; writers must serialise among themselves."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection

    def send(self, message: Message) -> None:
        """Write one frame.

        Raises:
            OSError: The peer is gone.
        """
        self._connection.sendall(frame(encode(message)))

    def receive(self) -> Message | None:
        """Read one frame; None at the end of the stream.

        Raises:
            InvalidInputError: The frame is too long or does not parse.
            OSError: The connection broke.
        """
        head = self._exactly(_LENGTH.size)
        if head is None:
            return None
        (length,) = _LENGTH.unpack(head)
        if length > MAX_FRAME_BYTES:
            raise InvalidInputError("control frame is too long", hint="host and agent must match", limit_bytes=MAX_FRAME_BYTES)
        payload = self._exactly(length)
        return None if payload is None else parse_message(payload)

    def close(self) -> None:
        """Close the socket; the peer sees the end of the stream."""
        self._connection.close()

    def _exactly(self, count: int) -> bytes | None:
        chunks = bytearray()
        while len(chunks) < count:
            chunk = self._connection.recv(min(count - len(chunks), 1 << 20))
            if not chunk:
                return None
            chunks += chunk
        return bytes(chunks)
