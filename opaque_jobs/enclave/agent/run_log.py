"""What the author's organisation may read about a run afterwards, sealed, and bounded in size.

In a test run that is all that was printed. In a real run printed text and exception messages could carry rows past the output
policy, so they are dropped unless the approved policy lets the code print: what remains is the agent's own lines, words of a
fixed list (`known_words`), and a line number. The agent's lines come last and always have room.
"""

import os
import threading
from typing import IO, Final

from opaque_jobs.domain.output_policy import LogKind, OutputPolicy
from opaque_jobs.enclave.agent.known_words import error_class, is_condition

__all__ = ["RunLog"]

_LIMIT: Final = 256 * 1024
_NOTES_LIMIT: Final = 4000
"""Of a real run's own lines: less than the least padded size, so that they are all alike from outside."""
_CUT: Final = b"\n(cut here: there is a limit)\n"


class RunLog:
    """Collects lines from the agent and output of its children.

    Args:
        verbose: Keep what children print and messages of errors: test runs only.
        policy: The approved policy of a real run; without one, nothing that is printed is kept.
    """

    def __init__(self, *, verbose: bool, policy: OutputPolicy | None = None) -> None:
        self.verbose: Final = verbose
        self._kind = policy.log if policy else LogKind.WORDS
        self._limit = policy.max_log_bytes if policy else _LIMIT
        self._printed = bytearray()
        self._notes = bytearray()
        self._lock = threading.Lock()
        self._readers: list[threading.Thread] = []

    def note(self, line: str) -> None:
        """Add a line of the agent's own: never anything from data or from the author's process."""
        with self._lock:
            limit = _LIMIT if self.verbose else _NOTES_LIMIT
            self._notes += (line + "\n").encode()[: max(0, limit - len(self._notes))]

    def author_error(self, *, error: str, condition: str, line: int, code: str, message: str = "") -> None:
        """Tell where and how the author's code failed.

        Trust: `error`, `condition` and `line` may come from the author's process: only known words and real line numbers pass.

        Args:
            error: Class name of the exception.
            condition: Spark's error condition.
            line: Line of the code, 0 if unknown.
            code: The code.
            message: Dropped in real runs.
        """
        lines = code.splitlines()
        said = f"the code failed: {error_class(error)}"
        if is_condition(condition):
            said += f" [{condition}]"
        if 0 < line <= len(lines):
            said += f", at line {line}: {lines[line - 1].strip()[:200]}"
        self.note(said)
        if self.verbose and message:
            self.note(message)

    def pipe(self, *, authors: bool = False) -> IO[bytes]:
        """Give the writing end of a pipe that is drained until it is closed.

        Args:
            authors: It is for the author's process. What the engine prints is kept in test runs only: it tells of owners' rules.
        """
        reading, writing = os.pipe()
        kept = self.verbose or (authors and self._kind is LogKind.FULL)
        reader = threading.Thread(target=self._drain, args=(os.fdopen(reading, "rb"), kept), daemon=True)
        reader.start()
        self._readers.append(reader)
        return os.fdopen(writing, "wb")

    def settle(self) -> None:
        """Wait shortly for what children printed last."""
        for reader in self._readers:
            reader.join(timeout=0.2)

    def content(self) -> bytes:
        """Return the log so far: what was printed, then the agent's own lines."""
        with self._lock:
            if self._kind is LogKind.NONE and not self.verbose:
                return b""
            room = self._limit - len(self._notes)
            cut = len(self._printed) > room
            printed = self._printed[: max(0, room - len(_CUT))] + _CUT if cut else self._printed
            return bytes(printed + self._notes)

    def _drain(self, source: IO[bytes], kept: bool) -> None:
        with source:
            while chunk := os.read(source.fileno(), 65536):
                if kept:
                    with self._lock:
                        self._printed += chunk[: max(0, self._limit + 1 - len(self._printed))]
