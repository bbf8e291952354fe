"""What the author's organisation may read about a run afterwards, sealed, and bounded in size.

In a test run that is all that was printed. In a real run printed text and exception messages could carry rows past the output
policy, so they are dropped: what remains is the agent's own lines, a word of a fixed list, and a line number.
"""

import builtins
import os
import threading
from typing import IO, Final

import pyspark.errors

__all__ = ["RunLog"]

_LIMIT: Final = 256 * 1024
_LINE_LIMIT: Final = 1000


class RunLog:
    """Collects lines from the agent and output of its children.

    Args:
        verbose: Keep what children print and messages of errors: test runs only.
    """

    def __init__(self, *, verbose: bool) -> None:
        self.verbose: Final = verbose
        self._text = bytearray()
        self._lock = threading.Lock()
        self._readers: list[threading.Thread] = []

    def note(self, line: str) -> None:
        """Add a line of the agent's own: never anything from data or from the author's process."""
        self._add((line + "\n").encode())

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
        known = hasattr(pyspark.errors, error) or isinstance(getattr(builtins, error, None), type)
        said = f"the code failed: {error if known else 'an exception'}"
        if condition and _is_condition(condition):
            said += f" [{condition}]"
        if 0 < line <= len(lines):
            said += f", at line {line}: {lines[line - 1].strip()[:200]}"
        self.note(said)
        if self.verbose and message:
            self.note(message)

    def follow(self, source: IO[bytes]) -> None:
        """Drain what a child prints until it closes its end; keep it if verbose."""
        reader = threading.Thread(target=self._drain, args=(source,), daemon=True)
        reader.start()
        self._readers.append(reader)

    def pipe(self) -> IO[bytes]:
        """Give the writing end of a pipe that is followed."""
        reading, writing = os.pipe()
        self.follow(os.fdopen(reading, "rb"))
        return os.fdopen(writing, "wb")

    def settle(self) -> None:
        """Wait shortly for what children printed last."""
        for reader in self._readers:
            reader.join(timeout=0.2)

    def content(self) -> bytes:
        """Give the log so far."""
        with self._lock:
            return bytes(self._text)

    def _drain(self, source: IO[bytes]) -> None:
        with source:
            while chunk := os.read(source.fileno(), 65536):
                if self.verbose:
                    self._add(chunk)

    def _add(self, data: bytes) -> None:
        with self._lock:
            self._text += data[: max(0, _LIMIT - len(self._text))]


def _is_condition(text: str) -> bool:
    """Tell whether Spark knows this error condition; what a program made up is not repeated."""
    from pyspark.errors.error_classes import ERROR_CLASSES_MAP  # noqa: PLC0415 - large, and seldom needed

    return len(text) <= _LINE_LIMIT and (text.partition(".")[0] in ERROR_CLASSES_MAP)
