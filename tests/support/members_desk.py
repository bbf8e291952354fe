"""Members' own clients beside a database that somebody else may write, and the brokers that they tell."""

import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import datetime, timedelta
from typing import TypeVar

from broker_house import BrokerHouse, fast_folder
from consortium import Consortium, open_consortium
from own_files import write_public_part

from opaque_jobs.client.memory import own_memory
from opaque_jobs.client.organisation import OwnOrganisation, pin_organisation
from opaque_jobs.domain.workspace import Roster
from opaque_jobs.standalone.local_session import local_session

NOBODY = "http://127.0.0.1:1"
D = TypeVar("D", bound="Desk")


class Desk:
    """The members' own clients, the database, and the brokers of both organisations."""

    def __init__(self, cast: Consortium, house: BrokerHouse) -> None:
        self.cast, self.house = cast, house

    def who(self, name: str) -> tuple:
        person = self.cast.people[name]
        return local_session(self.cast.services, person.entry), person.entry, person.key

    def pin(self, address: str | None = None) -> None:
        """Tell every member where their own broker answers, and which key is theirs."""
        for name in ("anna", "ben", "lea"):
            home = self.cast.people[name].entry.organisation_id.removeprefix("org-")
            own = OwnOrganisation(
                v=1, entry=self.cast.organisations[home].entry, broker_address=address or self.house.addresses[home]
            )
            pin_organisation(self.cast.services.context.settings, name, own)
            write_public_part(self.cast.services.context.settings, self.cast.people[name].entry)

    def sql(self, *statements: str) -> None:
        with closing(sqlite3.connect(self.cast.home / "opaque-jobs.db")) as database, database:
            for each in statements:
                database.execute(each)

    def run(self, statement: str, *values: object) -> None:
        """Act as the database's administrator."""
        with closing(sqlite3.connect(self.cast.home / "opaque-jobs.db")) as database, database:
            database.execute(statement, values)

    def first_list(self) -> Roster:
        return self.cast.services.workspaces.show(self.cast.workspace_id, actor=self.cast.id("lea")).roster

    def submitted(self, *approving: str, **over) -> str:
        job = self.cast.make_job().id
        self.cast.submit(job, **over)
        for name in approving:
            self.cast.vote(job, name)
        return job

    def expired(self) -> str:
        job = self.submitted("ben", deadline=self.cast.clock() + timedelta(minutes=1))
        self.cast.clock.forward(minutes=2)
        self.cast.services.reviews.expire_due()
        return job

    def told(self, digest: str) -> list[int]:
        """How many withdrawals of a document each broker knows."""
        counts = []
        for broker in self.house.brokers.values():
            with broker.store.transaction() as memory:
                counts.append(len(memory.withdrawals(self.cast.workspace_id, digest)))
        return counts

    def digest(self, job: str) -> str:
        return self.cast.spec(job).digest

    def kept(self, name: str) -> dict[str, str | None]:
        settings, entry = self.cast.services.context.settings, self.cast.people[name].entry
        return {each.job.digest: each.withdrawal for each in own_memory(settings, entry).consents()}


@contextmanager
def open_desk(kind: type[D], *, now: datetime | None = None) -> Iterator[D]:
    """Give a desk of a kind, whose members have settled in; at a time, if one is given."""
    folder = fast_folder("opaque-jobs-desk-")
    cast = open_consortium(folder / "home")
    cast.services.context.settings.prepare()
    if now is not None:
        cast.clock.moment = now
    cast.settle_in()
    try:
        with BrokerHouse(folder / "brokers") as house:
            house.open(cast)
            made = kind(cast, house)
            made.pin()
            yield made
    finally:
        cast.services.close()
        shutil.rmtree(folder)
