"""Key files of members and organisations in a home: where they are, which are former ones, and opening them.

Private keys are opened here, used by whoever asked, and handed to no server.
"""

import functools
import glob
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Final

from opaque_jobs.crypto.key_files import open_organisation_key, open_signing_key, read_public_keys
from opaque_jobs.crypto.keys import SealingKey, Signer, VerifyKey
from opaque_jobs.domain.workspace import MemberEntry
from opaque_jobs.errors import ConflictError, NotFoundError, TrustError
from opaque_jobs.settings import Settings

__all__ = [
    "MEMBER_SUFFIX",
    "Passphrase",
    "check_here",
    "check_no_key",
    "former_key_path",
    "former_key_paths",
    "member_key",
    "member_key_path",
    "open_sealing_key",
    "organisation_key_path",
    "own_key_ids",
    "own_public_keys",
    "present_key_id",
]

MEMBER_SUFFIX: Final = ".member.json"
_ID_CHARACTERS: Final = 12

Passphrase = Callable[[Path, str], str]
"""Asks for the passphrase of a key file; the text says whose key it is."""


def member_key_path(settings: Settings, name: str) -> Path:
    """Give the path of a member's key file."""
    return settings.keys_dir / f"{name}{MEMBER_SUFFIX}"


def organisation_key_path(settings: Settings, name: str) -> Path:
    """Give the path of an organisation's sealing key file."""
    return settings.keys_dir / f"{name}.organisation.json"


def check_no_key(path: Path) -> None:
    """Check that a new key would not meet an old one.

    Raises:
        ConflictError: The file exists.
    """
    if path.exists():
        raise ConflictError(
            f"there is a key file {path.name} in this home already", hint="keys are never overwritten: choose another name"
        )


def former_key_path(path: Path, key_id: str) -> Path:
    """Give where a key file is kept aside once another key has taken its place: named by the key."""
    return path.with_name(f"{path.name.removesuffix('.json')}.former-{key_id.removeprefix('sha256:')[:_ID_CHARACTERS]}.json")


def former_key_paths(path: Path) -> list[Path]:
    """Give the key files that are kept aside, newest first."""
    found = path.parent.glob(f"{glob.escape(path.name.removesuffix('.json'))}.former-*.json")
    return sorted(found, key=lambda each: each.stat().st_mtime, reverse=True)


class _MemberKey:
    """A member's signing key, opened when it is first needed: nobody is asked for a passphrase to be refused afterwards."""

    def __init__(self, path: Path, whose: str, passphrase: Passphrase) -> None:
        self._path, self._whose, self._passphrase = path, whose, passphrase

    @functools.cached_property
    def _key(self) -> Signer:
        return open_signing_key(self._path, self._passphrase(self._path, self._whose))

    @property
    def public(self) -> VerifyKey:
        """The public half."""
        return self._key.public

    def sign(self, data: bytes) -> bytes:
        """Sign with Ed25519."""
        return self._key.sign(data)


def member_key(settings: Settings, member: MemberEntry, passphrase: Passphrase) -> Signer:
    """Give the member's signing key that the entry names: the present one, or one kept aside until a new epoch.

    Its first use asks `passphrase`, and raises `TrustError` if that is wrong.

    Raises:
        NotFoundError: The key file is not here.
        TrustError: The key here is another.
    """
    path = member_key_path(settings, member.name)
    check_here(path, f"the key of '{member.name}'")
    for each in (path, *former_key_paths(path)):
        public = read_public_keys(each).signing
        if public is not None and public.text == member.public_key:
            return _MemberKey(each, f"member '{member.name}'", passphrase)
    raise TrustError(
        f"the key here is not the one by which '{member.name}' is known there",
        hint="use the key file of that member; was the key changed elsewhere? 'opaque-jobs workspace show' tells what waits",
    )


def own_public_keys(settings: Settings, member: MemberEntry) -> tuple[VerifyKey, ...]:
    """Give a member's signing keys in this home: the present one, then those kept aside.

    Raises:
        NotFoundError: The key file is not here.
    """
    path = member_key_path(settings, member.name)
    check_here(path, f"the key of '{member.name}'")
    found = (read_public_keys(each).signing for each in (path, *former_key_paths(path)))
    return tuple(public for public in found if public is not None)


def own_key_ids(settings: Settings, member: MemberEntry) -> frozenset[str]:
    """Give the ids of the same. Raises as `own_public_keys`."""
    return frozenset(public.key_id for public in own_public_keys(settings, member))


def present_key_id(settings: Settings, name: str) -> str:
    """Give the id of a member's present signing key, from the key file in this home.

    Raises:
        NotFoundError: The key file is not here.
    """
    path = member_key_path(settings, name)
    if not path.exists():
        raise NotFoundError(
            f"the key of '{name}' is not in this home, so its id must be told",
            hint="give the id that 'opaque-jobs member show' prints where the key is",
        )
    public = read_public_keys(path).signing
    return public.key_id if public else ""


def open_sealing_key(
    settings: Settings, organisation_name: str, passphrase: Passphrase, *, recipients: Collection[str] = ()
) -> SealingKey:
    """Open the key of an organisation that something is sealed to: the present one, or one that is kept aside.

    Args:
        settings: Of this home.
        organisation_name: The organisation.
        passphrase: Asked for that key alone.
        recipients: Ids of the keys that it is sealed to; none for the present key.

    Raises:
        NotFoundError: The key file is not here.
        TrustError: The passphrase is wrong.
    """
    present = organisation_key_path(settings, organisation_name)
    check_here(present, f"the key of organisation '{organisation_name}'")
    public = {path: read_public_keys(path).sealing for path in (present, *former_key_paths(present))}
    path = next((path for path, key in public.items() if key is not None and key.key_id in recipients), present)
    whose = f"organisation '{organisation_name}'" if path == present else f"organisation '{organisation_name}', a former one"
    return open_organisation_key(path, passphrase(path, whose))


def check_here(path: Path, what: str) -> None:
    """Check that a key file is there.

    Raises:
        NotFoundError: It is not.
    """
    if not path.exists():
        raise NotFoundError(f"{what} is not in this home", hint=f"it belongs at {path}; only its owner can make it")
