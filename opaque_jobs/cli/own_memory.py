"""Files beside a member's key in which their own client keeps what it must not have to ask a database for."""

import os
from pathlib import Path
from typing import TypeVar

from opaque_jobs.crypto.key_files import write_new_private_file
from opaque_jobs.domain.canonical import parse_json
from opaque_jobs.domain.document import from_json, to_bytes
from opaque_jobs.errors import ConfigurationError

__all__ = ["read_own", "write_own"]

Kept = TypeVar("Kept")


def read_own(path: Path, kind: type[Kept], nothing: Kept) -> Kept:
    """Give what is kept in a file, or nothing if it was never written.

    Raises:
        ConfigurationError: It cannot be read.
        InvalidInputError: It is damaged.
    """
    try:
        return from_json(kind, parse_json(path.read_bytes(), what=path.name), what=path.name)
    except FileNotFoundError:
        return nothing
    except OSError as error:
        raise ConfigurationError(f"{path.name} cannot be read: {error.strerror}", hint="check who owns it") from None


def write_own(path: Path, document: object) -> None:
    """Keep a document (0600) in place of the one before; at every moment the file is whole.

    Raises:
        ConfigurationError: It cannot be written.
    """
    fresh = path.with_name(f".{path.name}.{os.urandom(8).hex()}")
    write_new_private_file(fresh, to_bytes(document))
    fresh.replace(path)
