"""What a command works with: the services of this home, the member it acts for, and that member's key files.

Private keys are opened here, used by the command that asked, and given to no service.
"""

import contextlib
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from opaque_jobs.broker.config import key_path
from opaque_jobs.cli.command import load_settings
from opaque_jobs.cli.finding import find_member
from opaque_jobs.cli.passphrase import ask_for_key
from opaque_jobs.client import keys
from opaque_jobs.client.keys import MEMBER_SUFFIX, check_here, member_key_path
from opaque_jobs.client.organisation import organisation_of
from opaque_jobs.client.remote import remote_session
from opaque_jobs.client.session import Session
from opaque_jobs.crypto.key_files import open_broker_keys, read_public_keys
from opaque_jobs.crypto.keys import BrokerKeys, SealingKey, Signer
from opaque_jobs.domain.workspace import MemberEntry
from opaque_jobs.errors import InvalidInputError, NotFoundError
from opaque_jobs.services import Services, open_services
from opaque_jobs.settings import Settings
from opaque_jobs.standalone.local_session import local_session

__all__ = [
    "Acting",
    "acting_member",
    "acting_session",
    "known_member",
    "member_key",
    "open_broker",
    "open_sealing_key",
    "own_member",
    "services",
]

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


@contextmanager
def acting_session(
    name: str | None, passphrase_file: Path | None = None, *, own: bool = False
) -> Iterator[tuple[Session, MemberEntry]]:
    """Open the session of the member to act for: at the coordinator that is set, or else of this very machine.

    Args:
        name: The member; None for the only one whose key file is here.
        passphrase_file: For their key, where the coordinator asks for a log-in.
        own: See `own_member`.

    Raises:
        ConfigurationError: The coordinator does not answer.
        InvalidInputError: None is named and there is not exactly one.
        NotFoundError: Nobody by that name is registered, or the key or the organisation of a member is not here.
    """
    settings = load_settings()
    if settings.coordinator is None:
        with services() as opened:
            member = own_member(opened, name) if own else acting_member(opened, name)
            yield local_session(opened, member), member
        return
    settings.prepare()
    known = known_member(settings, name)
    if known is None:
        raise NotFoundError(
            "the member's key, or what their organisation is, is not in this home",
            hint="'opaque-jobs member trust MEMBER FILE' tells what the organisation is; the key file is its member's",
        )
    signer = member_key(settings, known, passphrase_file)
    with remote_session(settings, settings.coordinator, member_id=known.id, signer=signer) as session:
        yield session, known


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
    return sorted(file.name.removesuffix(MEMBER_SUFFIX) for file in settings.keys_dir.glob(f"*{MEMBER_SUFFIX}"))


def member_key(settings: Settings, member: MemberEntry, passphrase_file: Path | None) -> Signer:
    """Return the member's signing key; its first use reads the passphrase file, or asks at the terminal. See `client.keys`."""
    return keys.member_key(settings, member, _asking(passphrase_file))


def open_sealing_key(
    settings: Settings, organisation_name: str, passphrase_file: Path | None, *, recipients: Collection[str] = ()
) -> SealingKey:
    """Open the key of an organisation that something is sealed to, likewise. See `client.keys`."""
    return keys.open_sealing_key(settings, organisation_name, _asking(passphrase_file), recipients=recipients)


def _asking(passphrase_file: Path | None) -> keys.Passphrase:
    return lambda path, whose: ask_for_key(path, whose, file=passphrase_file)


def open_broker(opened: Services, organisation_id: str, passphrase_file: Path | None) -> BrokerKeys:
    """Open the keys of an organisation's broker: the organisation's hand.

    Raises:
        NotFoundError: The broker does not live here.
        TrustError: The passphrase is wrong.
    """
    name = opened.workspaces.organisation(organisation_id).entry.name
    path = key_path(opened.context.settings.broker_dir(organisation_id))
    check_here(path, f"the key broker of '{name}'")
    return open_broker_keys(path, ask_for_key(path, f"the key broker of '{name}'", file=passphrase_file))
