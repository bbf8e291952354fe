"""A coordinator with one toy noun: what is true of every operation is tested on it."""

from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta

import httpx

from opaque_jobs.api.app import Noun, create_api
from opaque_jobs.api.authentication import KeyAuthenticator
from opaque_jobs.api.coordinator import whole
from opaque_jobs.api.in_process import InProcess
from opaque_jobs.api.tokens import Tokens
from opaque_jobs.client.connection import Connection, bind
from opaque_jobs.crypto.keys import SigningKey
from opaque_jobs.crypto.login import Login, sign_login, sign_proof
from opaque_jobs.errors import ConflictError, DeniedError, NotFoundError
from opaque_jobs.protocol.operations import IfMatch, Page, delete, get, operations_of, post, put

ORIGIN = "http://coordinator.test"
NOW = datetime(2026, 1, 15, 12, 0, tzinfo=UTC)


@dataclass(frozen=True, slots=True, kw_only=True)
class Toy:
    id: str
    colour: str
    made_at: datetime
    picture: bytes
    version: int


class Toys:
    """Declared as the coordinator's nouns are."""

    @get("/toys")
    def list(self, *, colour: tuple[str, ...] = (), cursor: str | None = None, limit: int = 100) -> Page[Toy]:
        """List toys."""

    @get("/toys/{toy_id}")
    def show(self, toy_id: str) -> Toy:
        """Show a toy."""

    @post("/toys")
    def make(self, *, colour: str, picture: bytes) -> Toy:
        """Make a toy."""

    @put("/toys/{toy_id}")
    def paint(self, toy_id: str, *, colour: str, version: IfMatch) -> Toy:
        """Paint a toy."""

    @delete("/toys/{toy_id}")
    def throw_away(self, toy_id: str) -> None:
        """Throw a toy away."""

    @post("/broken")
    def break_down(self) -> Toy:
        """Fail in a way that is nobody's."""


@dataclass
class ToyUseCases:
    toys: dict[str, Toy] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)

    def list(self, *, actor, colour=(), cursor=None, limit=100):
        found = [each for each in self.toys.values() if not colour or each.colour in colour]
        return Page(items=tuple(found[:limit]), next=None)

    def show(self, *, actor, toy_id):
        if toy_id not in self.toys:
            raise NotFoundError("no such toy", hint="make one", toy=toy_id)
        return self.toys[toy_id]

    def make(self, *, actor, colour, picture):
        self.asked.append(actor.member_id)
        toy = Toy(id=f"toy-{len(self.toys) + 1}", colour=colour, made_at=NOW, picture=picture, version=1)
        self.toys[toy.id] = toy
        return toy

    def paint(self, *, actor, toy_id, colour, version):
        toy = self.show(actor=actor, toy_id=toy_id)
        if toy.version != version:
            raise ConflictError("somebody else changed this meanwhile", hint="look again")
        self.toys[toy_id] = Toy(id=toy.id, colour=colour, made_at=toy.made_at, picture=toy.picture, version=version + 1)
        return self.toys[toy_id]

    def throw_away(self, *, actor, toy_id):
        if actor.member_id != "anna":
            raise DeniedError("only anna throws away", hint="ask her")
        del self.toys[toy_id]

    def break_down(self, *, actor):
        raise RuntimeError("canary-5e1f")


class KeptAnswers:
    """Answers in memory."""

    def __init__(self):
        self.kept = {}

    def begin(self, owner, key, asked, *, now):
        known = self.kept.get((owner, key))
        if known is None:
            self.kept[owner, key] = (asked, None)
            return None
        if known[0] != asked or known[1] is None:
            raise ConflictError("this idempotency key is in use", hint="use another")
        return known[1]

    def finish(self, owner, key, answer):
        if answer is None:
            del self.kept[owner, key]
        else:
            self.kept[owner, key] = (self.kept[owner, key][0], answer)


class ToyCoordinator:
    """The application, its clock, and members' keys."""

    def __init__(self):
        self.now = NOW
        self.keys = {name: SigningKey.generate() for name in ("anna", "lea")}
        self.use_cases = ToyUseCases()
        self.authenticator = KeyAuthenticator(Tokens(b"s" * 32), self._key_of, origins=[ORIGIN], now=lambda: self.now)
        self.app, _ = create_api(
            {"toys": Noun(declared=Toys, use_cases=self.use_cases)},
            keys=self.authenticator,
            answers=KeptAnswers(),
            now=lambda: self.now,
            version="1",
        )
        self.http = httpx.Client(transport=InProcess(whole(self.app)), base_url=ORIGIN)
        self.operations = operations_of("toys", Toys)

    def _key_of(self, member_id):
        if member_id not in self.keys:
            raise NotFoundError("nobody", hint="-")
        return self.keys[member_id].public

    def login(self, name="anna", *, key=None, challenge=None, origin=ORIGIN, session=None, hours=12, member=None):
        session = session or SigningKey.generate()
        login = Login(
            v=1,
            coordinator=origin,
            member_id=member or name,
            session_key=session.public.text,
            challenge=challenge or self.http.post("/opaque-jobs/api/v1/auth/challenge").json()["challenge"],
            issued_at=self.now,
            expires_at=self.now + timedelta(hours=hours),
        )
        return sign_login(login, key or self.keys[name]), session

    def ask_token(self, envelope, session, *, member="anna"):
        path = "/opaque-jobs/api/v1/auth/token"
        proof = sign_proof(session, method="POST", target=path, token="", now=self.now)
        body = {"member_id": member, "login": envelope.decode()}
        return self.http.post(path, json=body, headers={"DPoP": proof})

    def sessions(self, name="anna"):
        envelope, session = self.login(name)
        return ToySessions(self.ask_token(envelope, session, member=name).json()["token"], session)

    def toys(self, name="anna"):
        connection = Connection(self.http, self.sessions(name), now=lambda: self.now)
        return bind(Toys, "toys", connection)


class ToySessions:
    """One token and its key."""

    def __init__(self, token, key):
        self.held = (token, key)

    def token(self, *, renew):
        return self.held
