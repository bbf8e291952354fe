"""A broker's own folder: its key file, what its organisation pinned by hand, and its database.

What is pinned here (own members' keys, development keys) is the root of all that the broker believes. It comes from the
organisation itself, never from the other side of the wire. It is read again at each decision, so a change needs no restart; and
it is authenticated under a key that only the broker's own keys give, so whoever can merely write the file changes nothing. Each
change has a higher version, which the broker's database remembers: an older file, authentic as it is, is refused.
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from opaque_jobs.broker.authentic import Authenticator, Purpose
from opaque_jobs.broker.store import Store
from opaque_jobs.crypto.key_files import (
    IN_FILE,
    KeyKind,
    Place,
    PublicKeys,
    create_key_file,
    open_broker_keys,
    write_new_private_file,
)
from opaque_jobs.crypto.keys import BrokerKeys, VerifyKey
from opaque_jobs.domain.document import from_bytes, to_bytes
from opaque_jobs.domain.workspace import MemberEntry
from opaque_jobs.errors import ConfigurationError, InvalidInputError, NotFoundError, TrustError

__all__ = [
    "BrokerConfig",
    "believe_simulated",
    "claimed_config",
    "config_path",
    "database_path",
    "disbelieve_simulated",
    "key_path",
    "load_config",
    "pin_member",
    "set_up_broker",
    "unpin_member",
    "write_config",
]

_MAX_BYTES: Final = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class BrokerConfig:
    """What an organisation tells its broker by hand.

    Args:
        v: Format version, 1.
        version: Which of its settings; `write_config` counts.
        organisation_id: Whose broker it is.
        port: Loopback port.
        members: The organisation's own members with their true keys.
        simulated_keys: Public development keys (base64) whose simulated evidence is believed; empty believes none.
    """

    v: int
    version: int = 0
    organisation_id: str
    port: int
    members: tuple[MemberEntry, ...]
    simulated_keys: tuple[str, ...]

    def __post_init__(self) -> None:
        strangers = [member for member in self.members if member.organisation_id != self.organisation_id]
        if self.v != 1 or strangers or not 0 <= self.port < 1 << 16:
            raise InvalidInputError(
                "the broker's settings are not valid", hint="only own members can be pinned; a port is below 65536"
            )
        for text in self.simulated_keys:
            VerifyKey.parse(text)

    @property
    def member_keys(self) -> dict[str, VerifyKey]:
        """Key id -> key of the pinned members."""
        return {member.key_id: VerifyKey.parse(member.public_key) for member in self.members}


@dataclass(frozen=True, slots=True, kw_only=True)
class _Authentic:
    """The file: canonical settings, and hexadecimal HMAC over them."""

    settings: str
    mac: str


def config_path(folder: Path) -> Path:
    """Give the path of the settings."""
    return folder / "broker.json"


def key_path(folder: Path) -> Path:
    """Give the path of the key file."""
    return folder / "key.json"


def database_path(folder: Path) -> Path:
    """Give the path of the database."""
    return folder / "broker.db"


def write_config(folder: Path, config: BrokerConfig, keys: BrokerKeys) -> None:
    """Keep settings in place of those before, authenticated by the broker's own keys.

    Raises:
        ConfigurationError: They cannot be written.
    """
    store = Store(database_path(folder), keys)
    version = max(store.settings, config.version) + 1
    text = to_bytes(replace(config, version=version)).decode()
    mac = Authenticator.of(keys, Purpose.SETTINGS).mac(text.encode()).hex()
    fresh = config_path(folder).with_name(f".broker.json.{os.urandom(8).hex()}")
    write_new_private_file(fresh, to_bytes(_Authentic(settings=text, mac=mac)))
    fresh.replace(config_path(folder))
    store.keep_settings(version)


def set_up_broker(
    folder: Path,
    *,
    organisation_id: str,
    passphrase: str,
    port: int,
    members: Sequence[MemberEntry] = (),
    simulated_keys: Sequence[VerifyKey] = (),
    place: Place = IN_FILE,
) -> PublicKeys:
    """Make a broker's folder with fresh keys.

    Returns:
        Its public keys, for the roster.

    Raises:
        ConflictError: There is one already.
        InvalidInputError: The passphrase is too short, or a member is not of this organisation.
    """
    config = BrokerConfig(
        v=1,
        organisation_id=organisation_id,
        port=port,
        members=tuple(members),
        simulated_keys=tuple(key.text for key in simulated_keys),
    )
    public = create_key_file(key_path(folder), kind=KeyKind.BROKER, owner_id=organisation_id, passphrase=passphrase, place=place)
    write_config(folder, config, open_broker_keys(key_path(folder), passphrase))
    return public


def load_config(folder: Path, keys: BrokerKeys, store: Store | None = None) -> BrokerConfig:
    """Read the settings.

    Args:
        folder: The broker's.
        keys: The broker's.
        store: Its database, if that is open already.

    Raises:
        NotFoundError: There is no broker in this folder.
        InvalidInputError: They do not parse.
        TrustError: Somebody else than the holder of the broker's keys wrote them, or they are older than others that were seen.
    """
    document = _read(folder)
    if not Authenticator.of(keys, Purpose.SETTINGS).verifies(document.settings.encode(), document.mac):
        raise TrustError(
            "the broker's settings were changed by somebody who does not have its passphrase",
            hint="it releases nothing; restore broker.json from your copy and find out who can write there",
            reasons="broker-settings-changed",
        )
    config, known = _parsed(document), store or Store(database_path(folder), keys)
    if config.version < known.settings:
        raise TrustError(
            "the broker's settings are older than those that it has seen",
            hint="it releases nothing; restore the newest broker.json and find out who can write there",
            reasons="broker-settings-changed",
        )
    known.saw_settings(config.version)
    return config


def claimed_config(folder: Path) -> BrokerConfig:
    """Read the settings without the broker's keys, to find a broker and its port.

    Trust: nothing is verified.

    Raises:
        NotFoundError: There is no broker in this folder.
        InvalidInputError: They do not parse.
    """
    return _parsed(_read(folder))


def _parsed(document: "_Authentic") -> BrokerConfig:
    return from_bytes(BrokerConfig, document.settings.encode(), what="the broker's settings")


def _read(folder: Path) -> "_Authentic":
    try:
        with config_path(folder).open("rb") as file:
            data = file.read(_MAX_BYTES)
    except FileNotFoundError:
        raise NotFoundError("there is no broker here", hint="make one with `opaque-jobs org create`") from None
    except OSError as error:
        raise ConfigurationError(f"the broker's settings cannot be read: {error.strerror}", hint="check who owns them") from None
    return from_bytes(_Authentic, data, what="the broker's settings")


def pin_member(folder: Path, member: MemberEntry, keys: BrokerKeys) -> None:
    """Pin a member of the own organisation, or a member's new key in place of the old one.

    Raises:
        InvalidInputError: The member is of another organisation.
        NotFoundError: There is no broker in this folder.
    """
    config = load_config(folder, keys)
    others = tuple(each for each in config.members if each.id != member.id)
    write_config(folder, replace(config, members=(*others, member)), keys)


def believe_simulated(folder: Path, key: VerifyKey, keys: BrokerKeys) -> None:
    """Believe another machine's simulated hardware too.

    Raises:
        NotFoundError: There is no broker in this folder.
        TrustError: Its settings were changed by somebody else.

    Trust: whoever runs that machine can read what this broker releases to it.
    """
    config = load_config(folder, keys)
    write_config(folder, replace(config, simulated_keys=tuple(dict.fromkeys((*config.simulated_keys, key.text)))), keys)


def disbelieve_simulated(folder: Path, key: VerifyKey, keys: BrokerKeys) -> None:
    """Believe another machine's simulated hardware no more.

    Raises:
        NotFoundError: There is no broker in this folder, or it does not believe that machine.
    """
    config = load_config(folder, keys)
    if key.text not in config.simulated_keys:
        raise NotFoundError("this key is not believed by the broker", hint="give it as 'opaque-jobs broker believe' was given it")
    write_config(folder, replace(config, simulated_keys=tuple(each for each in config.simulated_keys if each != key.text)), keys)


def unpin_member(folder: Path, member_id: str, keys: BrokerKeys) -> None:
    """Let a member of the own organisation go: only then may a workspace's next member list leave them out.

    Raises:
        NotFoundError: There is no broker in this folder, or the member is not pinned.
    """
    config = load_config(folder, keys)
    others = tuple(each for each in config.members if each.id != member_id)
    if len(others) == len(config.members):
        raise NotFoundError("this member is not pinned at the broker", hint="is it a member of this organisation?")
    write_config(folder, replace(config, members=others), keys)
