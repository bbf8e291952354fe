"""Where a new key goes, as the command line says it: a key store and its settings, none of them secret."""

from typing import Annotated

import typer

from opaque_jobs.cli.command import repeatable
from opaque_jobs.crypto.key_files import Place
from opaque_jobs.crypto.key_stores import BUILT_IN, FILE, checked_settings, key_store
from opaque_jobs.errors import InvalidInputError

__all__ = ["KeyStoreName", "KeyStoreSettings", "new_place"]

KeyStoreName = Annotated[
    str,
    typer.Option("--key-store", metavar="NAME", help=f"Where the new key is kept: {', '.join(BUILT_IN)}, or an installed one."),
]
KeyStoreSettings = Annotated[
    list[str],
    repeatable(
        "--key-store-setting",
        "NAME=VALUE, for pkcs11: module (full path) and token (label); for vault: address, and mount or ca-file. Repeatable.",
    ),
]


def new_place(store: str = FILE, settings: list[str] | None = None) -> Place:
    """Give the place that the options name.

    Raises:
        InvalidInputError: There is no such store, or its settings are others.
        ConfigurationError: What the store needs is not installed.
    """
    pairs = [text.partition("=") for text in settings or []]
    where = {name: value for name, _, value in pairs}
    if len(where) != len(pairs) or not all(sign for _, sign, _ in pairs):
        raise InvalidInputError("a setting of the key store is not NAME=VALUE, or stands there twice", hint="see --help")
    return Place(store=store, where=checked_settings(key_store(store), where))
