"""Where passphrases come from: a prompt, or a private file. Never the command line or the environment.

Both of those are readable by other processes. `OPAQUE_JOBS_PASSPHRASE_FILE` names a file; it does not hold a passphrase.
"""

import getpass
import os
import stat
import sys
from pathlib import Path
from typing import Annotated, Final

import typer

from opaque_jobs.errors import ConfigurationError, InvalidInputError, NotFoundError

__all__ = ["PASSPHRASE_FILE", "PassphraseFile", "ask_passphrase", "read_passphrase"]

PASSPHRASE_FILE: Final = "OPAQUE_JOBS_PASSPHRASE_FILE"  # noqa: S105 - the name of a variable that names a file
_LIMIT_BYTES: Final = 4096

PassphraseFile = Annotated[
    Path | None,
    typer.Option(
        "--passphrase-file",
        metavar="FILE",
        help=f"Read the passphrase from the first line of a file that only you may read (or set {PASSPHRASE_FILE}); "
        "otherwise it is asked for.",
    ),
]


def read_passphrase(file: Path) -> str:
    """Read the first line of a private file.

    Raises:
        NotFoundError: No such file.
        ConfigurationError: Others may read it.
        InvalidInputError: It is empty, too long or not text.
    """
    try:
        with file.open("rb") as opened:
            mode = os.fstat(opened.fileno()).st_mode
            data = opened.read(_LIMIT_BYTES + 1)
    except OSError:
        raise NotFoundError("the passphrase file cannot be read", hint="give the path of a file that you may read") from None
    if stat.S_ISREG(mode) and mode & 0o077:
        raise ConfigurationError("others may read the passphrase file", hint="run: chmod 600 FILE")
    try:
        first = data.decode().split("\n", 1)[0].removesuffix("\r")
    except UnicodeDecodeError:
        first = ""
    if not first or len(data) > _LIMIT_BYTES:
        raise InvalidInputError("the passphrase file has no passphrase in its first line", hint="write it there as UTF-8 text")
    return first


def ask_passphrase(whose: str, *, file: Path | None = None, fresh: bool = False) -> str:
    """Get a passphrase from the file, the file that the environment names, or the person at the terminal.

    Args:
        whose: What the passphrase opens, for the prompt.
        file: From `--passphrase-file`.
        fresh: The key is new: ask twice.

    Raises:
        ConfigurationError: There is neither a file nor a terminal.
        InvalidInputError: The two new passphrases differ.
    """
    named = os.environ.get(PASSPHRASE_FILE)
    if file is not None or named:
        return read_passphrase(file or Path(str(named)))
    if not sys.stdin.isatty():
        raise ConfigurationError(
            f"the passphrase of {whose} is needed and nobody can be asked",
            hint=f"give --passphrase-file FILE or set {PASSPHRASE_FILE}",
        )
    passphrase = getpass.getpass(f"Passphrase of {whose}: ")
    if fresh and getpass.getpass("Once more: ") != passphrase:
        raise InvalidInputError("the two passphrases differ", hint="try again; nothing was made")
    return passphrase
