"""One run from the host's side: start the sandbox, answer the agent, keep the lease, learn how it ended.

The host is not trusted with the run's content: it carries ids, digests and ciphertext between agent and brokers. In simulated
mode it also plays the hardware, so it hands the attester the measurement of the very tree that it mounted.
"""

import base64
import re
import shutil
import stat
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from opaque_jobs.attestation.evidence import Attester
from opaque_jobs.enclave.runtime import Runtime
from opaque_jobs.enclave.sandbox import (
    BubblewrapSandbox,
    Ending,
    Limits,
    Mount,
    RunningSandbox,
    Sandbox,
    SandboxSpec,
)
from opaque_jobs.errors import InvalidInputError, SandboxError, TrustError
from opaque_jobs.protocol.enclave import (
    LEASE_S,
    BrokerRequest,
    BrokerResponse,
    Cancel,
    Channel,
    EvidenceRequest,
    EvidenceResponse,
    FailureWord,
    Finished,
    Heartbeat,
    Message,
    Mode,
    Start,
    Status,
    StatusWord,
)
from opaque_jobs.protocol.result_files import is_layout

__all__ = ["AGENT_ARGV", "SessionOutcome", "SessionRequest", "run_session"]

AGENT_ARGV: Final = ("/opt/python/bin/python3", "-m", "opaque_jobs.enclave.agent")
_ALIAS: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,62}")
_PART: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")
_ASK_S: Final = 2.0
"""Between two questions whether the run is still open; each "yes" renews the agent's lease."""
_GRACE_S: Final = 2.0
"""What a cancelled agent gets to end by itself."""
_EXIT_S: Final = 15.0
"""What a finished agent gets to end by itself."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionRequest:
    """One run.

    Args:
        start: First message to the agent.
        parts: Alias -> encrypted files, seen inside as `/data/<alias>/<file name>`.
        out_dir: Empty folder that receives what the agent sealed.
        limits: Of the whole sandbox.
        runtime: The tree to mount, checked.

    Raises:
        InvalidInputError: A name could lead elsewhere, a part is no regular file, or the folder is not empty.
    """

    start: Start
    parts: Mapping[str, Sequence[Path]]
    out_dir: Path
    limits: Limits
    runtime: Runtime

    def __post_init__(self) -> None:
        """Refuse what could make the inside see another file than the one meant."""
        for alias, paths in self.parts.items():
            names = [path.name for path in paths]
            if not _ALIAS.fullmatch(alias) or not all(map(_PART.fullmatch, names)) or len(set(names)) != len(names):
                raise InvalidInputError(
                    "a dataset's alias or file name cannot be used", hint="was the dataset published by this program?"
                )
            if not all(_is_plain_file(path) for path in paths):
                raise InvalidInputError(
                    "a part of a dataset is missing or no plain file", hint="check the dataset's folder", alias=alias
                )
        if not self.out_dir.is_dir() or any(self.out_dir.iterdir()):
            raise InvalidInputError("the folder for the result is missing or not empty", hint="give a new, empty folder")


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionOutcome:
    """How a run ended.

    Args:
        failure: None on success.
        reasons: Refusal codes of a broker.
        files: What the agent left, relative to the request's `out_dir`.
        elapsed_s: From the start of the sandbox to its end.
    """

    failure: FailureWord | None
    reasons: tuple[str, ...]
    files: tuple[str, ...]
    elapsed_s: float


def run_session(
    request: SessionRequest,
    *,
    relay: Callable[[BrokerRequest], BrokerResponse],
    attester: Attester,
    keep_open: Callable[[], bool],
    on_status: Callable[[StatusWord], None],
    sandbox: Sandbox | None = None,
) -> SessionOutcome:
    """Run the agent once and clean up after it, whatever happens.

    Args:
        request: The run.
        relay: Carries one request to a broker; gives status 0 if it cannot be reached.
        attester: See `Attester`.
        keep_open: Asked every other second from a thread of its own; False cancels. If it raises, the lease is not renewed.
        on_status: Told about progress.
        sandbox: The technology; bubblewrap if not given.

    Raises:
        ConfigurationError: The machine lacks what the sandbox needs.
        SandboxError: The sandbox ended before the agent said anything; trying again may help.
        TrustError: What the agent left is not what an agent leaves.
    """
    began = time.monotonic()
    running = (sandbox or BubblewrapSandbox()).start(_spec(request))
    conversation = _Conversation(running, request, relay=relay, attester=attester, on_status=on_status)
    lease = _Lease(running, conversation.send, keep_open)
    try:
        conversation.send(request.start)  # the agent's first message, so before the first heartbeat
        lease.begin()
        finished = conversation.hold()
        ending = running.wait(_EXIT_S if finished else _GRACE_S)
    finally:
        lease.end()
        running.kill()
        running.channel.close()
    ending = ending or running.wait(0) or Ending.KILLED
    failure = _failure(finished, ending, cancelled=lease.cancelled, spoke=conversation.spoke)
    if finished is None or (failure is not None and not finished.failure):
        _empty(request.out_dir)
    return SessionOutcome(
        failure=failure,
        reasons=tuple(finished.reasons) if finished else (),
        files=_checked_files(request.out_dir, Mode(request.start.mode), succeeded=failure is None),
        elapsed_s=time.monotonic() - began,
    )


class _Conversation:
    """Reads the agent's messages and answers them, on the caller's thread."""

    def __init__(
        self,
        running: RunningSandbox,
        request: SessionRequest,
        *,
        relay: Callable[[BrokerRequest], BrokerResponse],
        attester: Attester,
        on_status: Callable[[StatusWord], None],
    ) -> None:
        self._channel = Channel(running.channel)
        self._sending = threading.Lock()
        self._request = request
        self._relay = relay
        self._attester = attester
        self._on_status = on_status
        self.spoke = False

    def send(self, message: Message) -> None:
        """Send from any thread; an agent that is gone is noticed by the reader."""
        try:
            with self._sending:
                self._channel.send(message)
        except OSError:
            return

    def hold(self) -> Finished | None:
        """Talk until the agent has finished; None if it went without saying so or broke the protocol."""
        while True:
            try:
                message = self._channel.receive()
            except (InvalidInputError, OSError):
                return None
            if message is None:
                return None
            self.spoke = True
            if isinstance(message, Finished):
                return message if message.failure in ("", *FailureWord) else None
            answer = self._answer(message)
            if answer is not None:
                self.send(answer)

    def _answer(self, message: Message) -> Message | None:
        match message:
            case Status():
                if message.word in tuple(StatusWord):
                    self._on_status(StatusWord(message.word))
                return None
            case BrokerRequest():
                return self._relay(message)
            case EvidenceRequest():
                evidence = self._attester.evidence(
                    measurement=self._request.runtime.measurement,
                    report_data=_from_hex(message.report_data),
                    init_data=_from_hex(message.init_data),
                )
                return EvidenceResponse(evidence=base64.b64encode(evidence).decode("ascii"))
            case _:
                raise TrustError("the agent sent what only the host may send", hint="rebuild it: opaque-jobs runtime build")


class _Lease:
    """Renews the agent's lease while the run is open, and ends the agent when it is not."""

    def __init__(self, running: RunningSandbox, send: Callable[[Message], None], keep_open: Callable[[], bool]) -> None:
        self._running = running
        self._send = send
        self._keep_open = keep_open
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._renew, name="enclave-lease", daemon=True)
        self.cancelled = False

    def begin(self) -> None:
        """Start renewing."""
        self._thread.start()

    def end(self) -> None:
        """Stop renewing."""
        self._over.set()
        self._thread.join(_GRACE_S)

    def _renew(self) -> None:
        renewed = time.monotonic()
        while not self._over.is_set():
            still_open = self._ask()
            now = time.monotonic()
            if still_open:
                renewed = now
                self._send(Heartbeat())
            elif still_open is False or now - renewed > LEASE_S:
                self.cancelled = still_open is False
                self._send(Cancel())
                if self._running.wait(_GRACE_S) is None:
                    self._running.kill()
                return
            self._over.wait(_ASK_S)

    def _ask(self) -> bool | None:
        """Give None when the answer could not be had: the lease then runs on, but not for ever."""
        try:
            return bool(self._keep_open())
        except Exception:  # noqa: BLE001 - whatever the database says, no answer is no renewal
            return None


def _spec(request: SessionRequest) -> SandboxSpec:
    parts = [
        Mount(source=path.absolute(), target=f"/data/{alias}/{path.name}")
        for alias, paths in sorted(request.parts.items())
        for path in paths
    ]
    out = Mount(source=request.out_dir.absolute(), target="/out", writable=True)
    return SandboxSpec(root=request.runtime.root, argv=AGENT_ARGV, mounts=(*parts, out), limits=request.limits)


def _failure(finished: Finished | None, ending: Ending, *, cancelled: bool, spoke: bool) -> FailureWord | None:
    """Name what went wrong. An agent's own word counts, but a success needs its orderly end."""
    if finished is not None and finished.failure:
        return FailureWord(finished.failure)
    by_ending = {
        Ending.MEMORY_LIMIT: FailureWord.RESOURCE_LIMIT,
        Ending.DISK_LIMIT: FailureWord.RESOURCE_LIMIT,
        Ending.TIME_LIMIT: FailureWord.TIME_LIMIT,
    }
    if ending in by_ending:
        return by_ending[ending]
    if finished is not None:
        return None
    if cancelled:
        return FailureWord.CANCELLED
    if not spoke:
        raise SandboxError("the sandbox ended before the agent said anything", hint="find out why with: opaque-jobs doctor")
    return FailureWord.INTERNAL


def _from_hex(text: str) -> bytes:
    try:
        return bytes.fromhex(text)
    except ValueError:
        raise TrustError(
            "the agent asked for evidence over something that is no digest", hint="rebuild it: opaque-jobs runtime build"
        ) from None


def _is_plain_file(path: Path) -> bool:
    try:
        return stat.S_ISREG(path.lstat().st_mode)
    except OSError:
        return False


def _empty(folder: Path) -> None:
    for path in folder.iterdir():
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()


def _checked_files(folder: Path, mode: Mode, *, succeeded: bool) -> tuple[str, ...]:
    """List what the agent left: plain files, each with one name, of the fixed layout and no others.

    Raises:
        TrustError: There is anything else, or something is missing; all of it is removed.
    """
    found: list[str] = []
    plain = True
    for path in sorted(folder.rglob("*")):
        info = path.lstat()
        if stat.S_ISDIR(info.st_mode):
            continue
        plain = plain and stat.S_ISREG(info.st_mode) and info.st_nlink == 1
        found.append(path.relative_to(folder).as_posix())
    if not plain or not is_layout(found, mode, succeeded=succeeded):
        _empty(folder)
        raise TrustError("the enclave left other files than it may", hint="the run's output was removed")
    return tuple(found)
