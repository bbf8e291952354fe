"""Where passphrases come from, and the PINs and tokens of other key stores: a prompt, or a private file.

Never the command line or the environment: other processes read those. `OPAQUE_JOBS_PASSPHRASE_FILE` names a file; it does not
hold a passphrase.
"""

import getpass
import os
import stat
import sys
from pathlib import Path
from typing import Annotated, Final

import typer

from opaque_jobs.crypto.key_files import Place, key_secret_name
from opaque_jobs.crypto.key_stores import key_store
from opaque_jobs.errors import ConfigurationError, InvalidInputError, NotFoundError

__all__ = [
    "PASSPHRASE_FILE",
    "BrokerPassphraseFile",
    "NewPassphraseFile",
    "PassphraseFile",
    "ask_for_key",
    "ask_for_new_key",
    "ask_passphrase",
    "read_passphrase",
]

PASSPHRASE_FILE: Final = "OPAQUE_JOBS_PASSPHRASE_FILE"  # noqa: S105 - the name of a variable that names a file
_LIMIT_BYTES: Final = 4096

PassphraseFile = Annotated[
    Path | None,
    typer.Option(
        "--passphrase-file",
        metavar="FILE",
        help=f"Read the passphrase (PIN, token) from the first line of a file that only you may read (or set {PASSPHRASE_FILE}); "
        "otherwise it is asked for.",
    ),
]

BrokerPassphraseFile = Annotated[
    Path | None,
    typer.Option(
        "--broker-passphrase-file",
        metavar="FILE",
        help="The same for the organisation's key broker, where that is in this home: it authenticates whom it has pinned.",
    ),
]

NewPassphraseFile = Annotated[
    Path | None,
    typer.Option(
        "--new-passphrase-file",
        metavar="FILE",
        help="The same for the new key; --passphrase-file's if left out.",
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
    except OSError as error:
        raise NotFoundError(
            f"{_shown(file)} cannot be read: {error.strerror}", hint="give the path of a file that you may read"
        ) from None
    if stat.S_ISREG(mode) and mode & 0o077:
        raise ConfigurationError(f"others may read {_shown(file)}", hint=f"run: chmod 600 {file}")
    try:
        first = data.decode().split("\n", 1)[0].removesuffix("\r")
    except UnicodeDecodeError:
        first = ""
    if not first or len(data) > _LIMIT_BYTES:
        raise InvalidInputError(f"{_shown(file)} has no passphrase in its first line", hint="write it there as UTF-8 text")
    return first


def _shown(file: Path) -> str:
    # Whoever takes the option for the passphrase itself gives a bare name of no file: that is not repeated.
    return f"the passphrase file {file}" if len(file.parts) > 1 or file.exists() else "the passphrase file"


def ask_passphrase(whose: str, *, file: Path | None = None, fresh: bool = False, what: str = "passphrase") -> str:
    """Get a passphrase from the file, the file that the environment names, or the person at the terminal.

    Args:
        whose: What the passphrase opens, for the prompt.
        file: From `--passphrase-file`.
        fresh: It is chosen now: ask twice.
        what: What the key store calls it.

    Raises:
        ConfigurationError: There is neither a file nor a terminal.
        InvalidInputError: The two new passphrases differ.
    """
    named = os.environ.get(PASSPHRASE_FILE)
    if file is not None or named:
        return read_passphrase(file or Path(str(named)))
    if not sys.stdin.isatty():
        raise ConfigurationError(
            f"the {what} of {whose} is needed and nobody can be asked",
            hint=f"give --passphrase-file FILE or set {PASSPHRASE_FILE}",
        )
    passphrase = getpass.getpass(f"{what[:1].upper()}{what[1:]} of {whose}: ")
    if fresh and getpass.getpass("Once more: ") != passphrase:
        raise InvalidInputError("the two passphrases differ", hint="try again; nothing was made")
    return passphrase


def ask_for_key(path: Path, whose: str, *, file: Path | None = None) -> str:
    """Get what opens a key file, called as its key store calls it. Raises as `ask_passphrase` and `key_secret_name`."""
    return ask_passphrase(whose, file=file, what=key_secret_name(path))


def ask_for_new_key(place: Place, whose: str, *, file: Path | None = None) -> str:
    """Get what a new key is made with: a passphrase chosen now, or what opens the key store. Raises as `ask_passphrase`."""
    store = key_store(place.store)
    return ask_passphrase(whose, file=file, fresh=store.chosen, what=store.secret_name)
