"""Members in homes of their own, who reach the coordinator by its API and their own brokers directly: no file is shared."""

from dataclasses import replace
from pathlib import Path

from coordinator_scene import ORIGIN
from members_desk import Desk
from own_files import write_public_part

from opaque_jobs.api.coordinator import coordinator_api, whole
from opaque_jobs.api.in_process import InProcess
from opaque_jobs.client.organisation import OwnOrganisation, pin_organisation
from opaque_jobs.client.remote import remote_session
from opaque_jobs.client.session import Session
from opaque_jobs.settings import Settings


class CountedKey:
    """A signing key that counts what it signs."""

    def __init__(self, key) -> None:
        self.key, self.public, self.count = key, key.public, 0

    def sign(self, data: bytes) -> bytes:
        self.count += 1
        return self.key.sign(data)


class RemoteDesk(Desk):
    """See `Desk`; `who` gives a member's session at the coordinator from their own home."""

    transport = None

    def __init__(self, cast, house) -> None:
        super().__init__(cast, house)
        self.transport = InProcess(whole(coordinator_api(cast.services, origins=[ORIGIN])))
        self.sessions: dict[str, Session] = {}
        self.keys: dict[str, CountedKey] = {}

    def settings_of(self, name: str) -> Settings:
        home = Path(self.cast.home.parent) / "members" / name
        return replace(self.cast.services.context.settings, home=home, database_url="sqlite:////nowhere/none.db", storage=None)

    def pin(self, address: str | None = None) -> None:
        for name in ("anna", "ben", "lea"):
            settings, person = self.settings_of(name), self.cast.people[name]
            settings.prepare()
            settings.keys_dir.mkdir()
            owner = person.entry.organisation_id.removeprefix("org-")
            own = OwnOrganisation(
                v=1, entry=self.cast.organisations[owner].entry, broker_address=address or self.house.addresses[owner]
            )
            write_public_part(settings, person.entry)
            pin_organisation(settings, name, own)

    def session(self, name: str, transport=None) -> Session:
        key = self.keys.setdefault(name, CountedKey(self.cast.people[name].key))
        return remote_session(
            self.settings_of(name),
            ORIGIN,
            member_id=self.cast.id(name),
            signer=key,
            transport=transport or self.transport,
            now=self.cast.clock,
        )

    def who(self, name: str) -> tuple:
        if name not in self.sessions:
            self.sessions[name] = self.session(name)
        return self.sessions[name], self.cast.people[name].entry, self.cast.people[name].key
