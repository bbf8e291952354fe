"""The agent's end of the control channel. Lease, time limit and cancels are its parent's, see `guard`.

Ending is `os._exit`: the parent ends with the agent, and everything inside with the parent, keys first of all.
"""

import os
import queue
import socket
import threading
from collections.abc import Callable, Sequence
from typing import Final, NoReturn

from opaque_jobs.crypto.keys import decode_base64
from opaque_jobs.errors import InvalidInputError, OpaqueJobsError, SandboxError
from opaque_jobs.protocol.enclave import (
    CONTROL_FD,
    BrokerRequest,
    BrokerResponse,
    Channel,
    EvidenceRequest,
    EvidenceResponse,
    FailureWord,
    Finished,
    Message,
    Start,
    Status,
    StatusWord,
    TimeLimit,
)

__all__ = ["Wire"]

_ANSWER_S: Final = 120.0


class Wire:
    """Talks to the host.

    Args:
        connection: The control socket; by default the inherited one.
        end: Ends the whole agent.
    """

    def __init__(
        self,
        connection: socket.socket | None = None,
        *,
        end: Callable[[int], NoReturn] = os._exit,
    ) -> None:
        self._channel = Channel(connection or socket.socket(fileno=CONTROL_FD))
        self._end = end
        self._sending = threading.Lock()
        self._answers: queue.Queue[EvidenceResponse | BrokerResponse] = queue.Queue()
        self._asking = threading.Lock()
        self._requests = 0

    def begin(self) -> Start:
        """Wait for the first message, then read on a thread of its own.

        Raises:
            InvalidInputError: The host says something else first.
        """
        message = self._channel.receive()
        if not isinstance(message, Start):
            raise InvalidInputError("the run does not begin with a start", hint="host and agent must match")
        threading.Thread(target=self._read, daemon=True).start()
        return message

    def limit(self, seconds: int) -> None:
        """Let the guard end the run after so long."""
        self._send(TimeLimit(seconds=seconds))

    def status(self, word: StatusWord) -> None:
        """Tell progress."""
        self._send(Status(word=word.value))

    def evidence(self, *, report_data: bytes, init_data: bytes) -> bytes:
        """Get evidence over these data.

        Raises:
            SandboxError: No answer.
        """
        answer = self._ask(EvidenceRequest(report_data=report_data.hex(), init_data=init_data.hex()))
        if not isinstance(answer, EvidenceResponse):
            raise SandboxError("the host gave another answer", hint="host and agent must match")
        return decode_base64(answer.evidence, what="evidence")

    def broker(self, *, org_id: str, method: str, path: str, cookie: str, body: str) -> BrokerResponse:
        """Have a request carried to a broker. The answer is untrusted.

        Raises:
            SandboxError: No answer.
        """
        self._requests += 1
        request = BrokerRequest(request_id=self._requests, org_id=org_id, method=method, path=path, cookie=cookie, body=body)
        answer = self._ask(request)
        if not isinstance(answer, BrokerResponse) or answer.request_id != request.request_id:
            raise SandboxError("the host gave another answer", hint="host and agent must match")
        return answer

    def finish(self, failure: FailureWord | None, reasons: Sequence[str] = ()) -> NoReturn:
        """Say the last word and end."""
        try:
            self._send(Finished(failure=failure.value if failure else "", reasons=list(reasons)))
        except OSError:
            self._end(1)
        self._end(0)

    def _send(self, message: Message) -> None:
        with self._sending:
            self._channel.send(message)

    def _ask(self, message: Message) -> EvidenceResponse | BrokerResponse:
        with self._asking:
            self._send(message)
            try:
                return self._answers.get(timeout=_ANSWER_S)
            except queue.Empty:
                raise SandboxError("the host does not answer", hint="try again") from None

    def _read(self) -> None:
        while True:
            try:
                message = self._channel.receive()
            except (OSError, OpaqueJobsError):
                self._end(1)
            if message is None:
                self._end(1)
            if isinstance(message, EvidenceResponse | BrokerResponse):
                self._answers.put(message)
            else:
                self._end(1)
