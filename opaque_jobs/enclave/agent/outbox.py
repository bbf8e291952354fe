"""The one way out of the enclave: bytes that the agent has in its own memory are digested there, then written to the host.

Nothing below the output folder is ever read back: it is the host's, who may change it at any time, so a receipt speaks of what
the agent made, not of what lies there.
"""

import hashlib
import os
from collections.abc import Iterable
from pathlib import Path

from opaque_jobs.domain.run import OutputFile
from opaque_jobs.enclave.agent.places import OUT

__all__ = ["Outbox"]


class Outbox:
    """Takes files, each once.

    Args:
        folder: The output folder.
    """

    def __init__(self, folder: Path = OUT) -> None:
        self._folder = folder
        self._files: dict[str, OutputFile] = {}

    @property
    def files(self) -> tuple[OutputFile, ...]:
        """What went out, by name."""
        return tuple(self._files[name] for name in sorted(self._files))

    def put(self, name: str, content: Iterable[bytes]) -> None:
        """Send out one file.

        Args:
            name: One of the fixed layout (`result_files`).
            content: Its bytes, in pieces that are in memory.

        Raises:
            OSError: The host's folder cannot be written, or somebody else made a file there.
        """
        path = self._folder / name
        path.parent.mkdir(exist_ok=True)
        found, size = hashlib.sha256(), 0
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
        with os.fdopen(descriptor, "wb", buffering=0) as file:
            for piece in content:
                found.update(piece)
                size += len(piece)
                _write(file.fileno(), piece)
        self._files[name] = OutputFile(name=name, size_bytes=size, sha256=f"sha256:{found.hexdigest()}")


def _write(descriptor: int, piece: bytes) -> None:
    left = memoryview(piece)
    while left:
        left = left[os.write(descriptor, left) :]
