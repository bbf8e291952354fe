"""What a command works with: the services of this home, the member it acts for, and that member's key files.

Private keys are opened here, used by the command that asked, and given to no service.
"""

import contextlib
import functools
import glob
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from opaque_jobs.broker.config import key_path
from opaque_jobs.cli.command import load_settings
from opaque_jobs.cli.finding import find_member
from opaque_jobs.cli.own_organisation import organisation_of
from opaque_jobs.cli.passphrase import ask_for_key
from opaque_jobs.crypto.key_files import open_broker_keys, open_organisation_key, open_signing_key, read_public_keys
from opaque_jobs.crypto.keys import BrokerKeys, SealingKey, Signer, VerifyKey
from opaque_jobs.domain.workspace import MemberEntry
from opaque_jobs.errors import ConflictError, InvalidInputError, NotFoundError, TrustError
from opaque_jobs.services import Services, open_services
from opaque_jobs.settings import Settings

__all__ = [
    "Acting",
    "acting_member",
    "check_no_key",
    "former_key_path",
    "former_key_paths",
    "known_member",
    "member_key",
    "member_key_path",
    "open_broker",
    "open_sealing_key",
    "organisation_key_path",
    "own_key_ids",
    "own_member",
    "own_public_keys",
    "present_key_id",
    "services",
]

_MEMBER_SUFFIX = ".member.json"
_ID_CHARACTERS = 12

Acting = Annotated[
    str | None,
    typer.Option(
        "--as",
        metavar="MEMBER",
        envvar="OPAQUE_JOBS_AS",
        help="The member to act for; not needed when this home holds the key of one member only.",
    ),
]


@contextmanager
def services() -> Iterator[Services]:
    """Open the services of this home, with the tables up to date."""
    settings = load_settings()
    settings.prepare()
    opened = open_services(settings, migrate=True)
    try:
        yield opened
    finally:
        opened.close()


def member_key_path(settings: Settings, name: str) -> Path:
    """Give the path of a member's key file."""
    return settings.keys_dir / f"{name}{_MEMBER_SUFFIX}"


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


def acting_member(opened: Services, name: str | None) -> MemberEntry:
    """Give the member to act for, as registered: the one named, or the only one whose key file is here.

    Raises:
        InvalidInputError: None is named and there is not exactly one.
        NotFoundError: Nobody by that name is registered.
    """
    settings = opened.context.settings
    return find_member(opened, _acting_name(settings, name), known=_names_here(settings))


def own_member(opened: Services, name: str | None) -> MemberEntry:
    """Give the member to act for as this home knows them; where it does not, the database is asked.

    For what a member takes back or holds: a database that changes or forgets who they are must not keep them from it. Raises as
    `acting_member`.
    """
    settings = opened.context.settings
    return known_member(settings, name) or find_member(opened, _acting_name(settings, name), known=_names_here(settings))


def known_member(settings: Settings, name: str | None) -> MemberEntry | None:
    """Give the member to act for by their key file and their organisation's pin; None where one of them is not here.

    Raises:
        InvalidInputError: None is named and there is not exactly one.
    """
    found = _acting_name(settings, name)
    path = member_key_path(settings, found)
    if not path.exists():
        return None
    known = read_public_keys(path)
    with contextlib.suppress(NotFoundError):
        organisation_id = organisation_of(settings, found).entry.id
        if known.signing is not None:
            return MemberEntry(id=known.owner_id, name=found, organisation_id=organisation_id, public_key=known.signing.text)
    return None


def _acting_name(settings: Settings, name: str | None) -> str:
    if name is not None:
        return name
    here = _names_here(settings)
    if len(here) != 1:
        raise InvalidInputError("whom to act for is not clear", hint="give --as MEMBER or set OPAQUE_JOBS_AS")
    return here[0]


def _names_here(settings: Settings) -> list[str]:
    return sorted(file.name.removesuffix(_MEMBER_SUFFIX) for file in settings.keys_dir.glob(f"*{_MEMBER_SUFFIX}"))


def former_key_path(path: Path, key_id: str) -> Path:
    """Give where a key file is kept aside once another key has taken its place: named by the key."""
    return path.with_name(f"{path.name.removesuffix('.json')}.former-{key_id.removeprefix('sha256:')[:_ID_CHARACTERS]}.json")


def former_key_paths(path: Path) -> list[Path]:
    """Give the key files that are kept aside, newest first."""
    found = path.parent.glob(f"{glob.escape(path.name.removesuffix('.json'))}.former-*.json")
    return sorted(found, key=lambda each: each.stat().st_mtime, reverse=True)


class _MemberKey:
    """A member's signing key, opened when it is first needed: nobody is asked for a passphrase to be refused afterwards."""

    def __init__(self, path: Path, whose: str, passphrase_file: Path | None) -> None:
        self._path, self._whose, self._passphrase_file = path, whose, passphrase_file

    @functools.cached_property
    def _key(self) -> Signer:
        return open_signing_key(self._path, ask_for_key(self._path, self._whose, file=self._passphrase_file))

    @property
    def public(self) -> VerifyKey:
        """The public half."""
        return self._key.public

    def sign(self, data: bytes) -> bytes:
        """Sign with Ed25519."""
        return self._key.sign(data)


def member_key(settings: Settings, member: MemberEntry, passphrase_file: Path | None) -> Signer:
    """Give the member's signing key that the entry names: the present one, or one kept aside until a new epoch.

    Its first use asks for the passphrase, and raises `TrustError` if that is wrong.

    Raises:
        NotFoundError: The key file is not here.
        TrustError: The key here is another.
    """
    path = member_key_path(settings, member.name)
    _check_here(path, f"the key of '{member.name}'")
    for each in (path, *former_key_paths(path)):
        public = read_public_keys(each).signing
        if public is not None and public.text == member.public_key:
            return _MemberKey(each, f"member '{member.name}'", passphrase_file)
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
    _check_here(path, f"the key of '{member.name}'")
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
    settings: Settings, organisation_name: str, passphrase_file: Path | None, *, recipients: Collection[str] = ()
) -> SealingKey:
    """Open the key of an organisation that something is sealed to: the present one, or one that is kept aside.

    Args:
        settings: Of this home.
        organisation_name: The organisation.
        passphrase_file: For that key; it is asked for where None is given.
        recipients: Ids of the keys that it is sealed to; none for the present key.

    Raises:
        NotFoundError: The key file is not here.
        TrustError: The passphrase is wrong.
    """
    present = organisation_key_path(settings, organisation_name)
    _check_here(present, f"the key of organisation '{organisation_name}'")
    public = {path: read_public_keys(path).sealing for path in (present, *former_key_paths(present))}
    path = next((path for path, key in public.items() if key is not None and key.key_id in recipients), present)
    whose = f"organisation '{organisation_name}'" if path == present else f"organisation '{organisation_name}', a former one"
    return open_organisation_key(path, ask_for_key(path, whose, file=passphrase_file))


def open_broker(opened: Services, organisation_id: str, passphrase_file: Path | None) -> BrokerKeys:
    """Open the keys of an organisation's broker: the organisation's hand.

    Raises:
        NotFoundError: The broker does not live here.
        TrustError: The passphrase is wrong.
    """
    name = opened.workspaces.organisation(organisation_id).entry.name
    path = key_path(opened.context.settings.broker_dir(organisation_id))
    _check_here(path, f"the key broker of '{name}'")
    return open_broker_keys(path, ask_for_key(path, f"the key broker of '{name}'", file=passphrase_file))


def _check_here(path: Path, what: str) -> None:
    if not path.exists():
        raise NotFoundError(f"{what} is not in this home", hint=f"it belongs at {path}; only its owner can make it")
