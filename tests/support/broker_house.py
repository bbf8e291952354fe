"""The real key brokers of a consortium, served over HTTP by this process, and the real agent's own way to their keys.

Nothing is computed: what counts in the tests that use it is whether a broker gives keys, of what, and to whom.
"""

import shutil
import socket
import sqlite3
import tempfile
import threading
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import uvicorn
from consortium import Consortium
from starlette.responses import Response

from opaque_jobs.broker.app import create_app
from opaque_jobs.broker.config import BrokerConfig, pin_member, unpin_member, write_config
from opaque_jobs.broker.monitor import accept_page, followed_to
from opaque_jobs.broker.release import Broker
from opaque_jobs.broker.statements import accept_deposit
from opaque_jobs.client.broker import BrokerClient
from opaque_jobs.crypto.consent import sign_manifest
from opaque_jobs.crypto.custody import open_release, release_info, sign_deposit
from opaque_jobs.crypto.keys import BrokerKeys
from opaque_jobs.crypto.parquet import RootKey
from opaque_jobs.crypto.service_keys import create_service_key, load_service_key
from opaque_jobs.domain.canonical import canonical_bytes
from opaque_jobs.domain.dataset import ReleasePolicy
from opaque_jobs.domain.workspace import MemberEntry
from opaque_jobs.enclave.agent.admission import Admission, AdmissionError, admit
from opaque_jobs.enclave.agent.attestation import Brokers
from opaque_jobs.enclave.session import SessionOutcome, SessionRequest
from opaque_jobs.errors import TrustError
from opaque_jobs.protocol.enclave import BrokerRequest, FailureWord
from opaque_jobs.runner.execution import RunOutcome, execute
from opaque_jobs.services.log_book import page_after
from tests.world import salted


@dataclass(frozen=True, kw_only=True, order=True)
class Delivery:
    """Keys that an enclave could open."""

    organisation: str
    dataset: str
    version: int
    job_digest: str
    run_id: str
    columns: tuple[str, ...]
    row_rule: str


class Wire:
    """Stands where the agent's pipe to its host is: carries, attests, and keeps what came."""

    def __init__(self, relay: Any, attester: Any, measurement: str) -> None:
        self._relay, self._attester, self._measurement = relay, attester, measurement
        self.sealed: list[tuple[BrokerRequest, str]] = []

    def status(self, _word: Any) -> None:
        """Nobody listens."""

    def evidence(self, *, report_data: bytes, init_data: bytes) -> bytes:
        return self._attester.evidence(measurement=self._measurement, report_data=report_data, init_data=init_data)

    def broker(self, **request: str) -> Any:
        asked = BrokerRequest(request_id=1, **request)
        answer = self._relay(asked)
        if request["method"] == "GET" and answer.status == 200:
            self.sealed.append((asked, answer.body))
        return answer


@dataclass
class KeyAgent:
    """A session runner: the agent's admission and attestation as they are, up to the keys, and then an end."""

    deliveries: list[Delivery] = field(default_factory=list)
    reasons: tuple[str, ...] = ()

    def __call__(self, request: SessionRequest, *, relay, attester, keep_open, on_status) -> SessionOutcome:
        wire = Wire(relay, attester, request.runtime.measurement)
        word = FailureWord.INTERNAL
        try:
            admission = admit(request.start)
            brokers = Brokers(wire, admission)
            try:
                brokers.release_all()
            finally:
                self.deliveries += [_opened(admission, brokers, asked, body) for asked, body in wire.sealed]
        except AdmissionError as error:
            word, self.reasons = error.word, error.reasons
        return SessionOutcome(failure=word, reasons=self.reasons, files=(), elapsed_s=0.0)


def _opened(admission: Admission, brokers: Brokers, asked: BrokerRequest, body: str) -> Delivery:
    workspace_id, dataset, version = asked.path.split("/")[-3:]
    about = {"dataset_id": dataset, "version": int(version), "job_digest": admission.job_digest, "run_id": admission.run_id}
    info = release_info(workspace_id=workspace_id, organisation_id=asked.org_id, **about)
    release = open_release(body.encode(), brokers.attested.sealing, info)
    return Delivery(
        organisation=asked.org_id,
        dataset=dataset,
        version=release.keys.version,
        job_digest=admission.job_digest,
        run_id=admission.run_id,
        columns=tuple(sorted(release.keys.column_keys)),
        row_rule=str(release.salted.policy.row_rule),
    )


class BrokerHouse:
    """Serves one broker for each organisation of a consortium; they can be restarted, and set back, while it serves.

    Args:
        folder: Where the brokers' own folders lie.

    Whoever carries messages cannot bring the log to those in `deaf`.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.brokers: dict[str, Broker] = {}
        self.addresses: dict[str, str] = {}
        self.deaf: set[str] = set()
        self._apps: dict[str, Any] = {}
        self._servers: list[tuple[uvicorn.Server, threading.Thread]] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exception: object) -> None:
        for server, thread in self._servers:
            server.should_exit = True
            thread.join()

    def broker_folder(self, name: str) -> Path:
        return self.folder / name

    def open(self, cast: Consortium) -> None:
        """Set up an empty broker for each organisation, which pins its own members and believes this home's simulator."""
        path = cast.services.context.settings.simulated_key_path
        believed = load_service_key(path).public if path.exists() else create_service_key(path)
        for name, organisation in cast.organisations.items():
            config = BrokerConfig(
                v=1,
                organisation_id=organisation.entry.id,
                port=0,
                members=tuple(
                    person.entry for person in cast.people.values() if person.entry.organisation_id == organisation.entry.id
                ),
                simulated_keys=(believed.text,),
            )
            self.broker_folder(name).mkdir(parents=True, exist_ok=True)
            write_config(self.broker_folder(name), config, _keys(organisation))
            self.restart(name, cast)
            if name not in self.addresses:
                self._serve(name)
            cast.services.workspaces.move_broker(organisation.entry.id, broker_address=self.addresses[name])

    def pin(self, name: str, cast: Consortium, entry: MemberEntry) -> None:
        """Let a broker know a member's key, as its owner does."""
        pin_member(self.broker_folder(name), entry, _keys(cast.organisations[name]))

    def unpin(self, name: str, cast: Consortium, member_id: str) -> None:
        """Let a broker forget a member, as its owner does."""
        unpin_member(self.broker_folder(name), member_id, _keys(cast.organisations[name]))

    def restart(self, name: str, cast: Consortium) -> None:
        """Begin a broker anew from its folder, as after a crash: its sessions are gone."""
        organisation = cast.organisations[name]
        self.brokers[name] = Broker(self.broker_folder(name), _keys(organisation), clock=cast.clock)
        self._apps[name] = create_app(self.brokers[name])

    def deposit(
        self, cast: Consortium, dataset: str, owner: str, *, version: int = 1, columns: tuple[str, ...] = ("id",)
    ) -> None:
        """Hand a data set's key to its owner's broker."""
        manifest, _ = cast.manifest(dataset, owner, version=version)
        home = manifest.organisation_id.removeprefix("org-")
        person = cast.people[owner]
        root = RootKey(dataset_id=manifest.dataset_id, version=version, secret=dataset.encode().ljust(32, b"."))
        policy = salted(ReleasePolicy(columns=columns, row_rule=None))
        to = cast.organisations[home].deposit.public
        envelope = sign_deposit(manifest, root, policy, person.key, broker=to, now=cast.clock())
        body = {"deposit": envelope.decode(), "manifest": sign_manifest(manifest, person.key).decode()}
        accept_deposit(self.brokers[home], canonical_bytes(body))

    def tell(self, name: str, cast: Consortium, words: dict[str, Any]) -> bool:
        """Tell a broker what people signed; gives whether it believes that."""
        key = cast.organisations[name].signing.public
        with BrokerClient(self.addresses[name]) as client:
            try:
                client.push(key=key, **words)
            except TrustError:
                return False
        return True

    def carry(self, name: str, cast: Consortium, *, entries: int, pages: int) -> None:
        """Bring a broker some pages of the log with a few entries each, and perhaps not all."""
        broker, context = self.brokers[name], cast.services.context
        for _ in range(pages):
            first = followed_to(broker, cast.workspace_id)
            with context.store.read() as session:
                page = page_after(context, session, cast.workspace_id, first, count=entries)
            if page is not None:
                accept_page(broker, page.to_bytes())

    def _serve(self, name: str) -> None:
        listener = socket.socket()
        listener.bind(("127.0.0.1", 0))
        listener.listen(16)
        self.addresses[name] = f"http://127.0.0.1:{listener.getsockname()[1]}"

        async def current(scope: Any, receive: Any, send: Any) -> None:
            kept_back = name in self.deaf and scope["path"].startswith("/opaque/v1/logs")
            await (Response(status_code=403) if kept_back else self._apps[name])(scope, receive, send)

        config = uvicorn.Config(current, log_level="critical", access_log=False, lifespan="off", timeout_graceful_shutdown=1)
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
        thread.start()
        self._servers.append((server, thread))


def _keys(organisation: Any) -> BrokerKeys:
    return BrokerKeys(sealing=organisation.deposit, signing=organisation.signing)


def try_run(cast: Consortium, run_id: str) -> tuple[RunOutcome, KeyAgent]:
    """Carry out a queued run as far as its keys."""
    agent = KeyAgent()
    return execute(cast.services, run_id, cores=1, memory_bytes=1 << 31, session=agent), agent


def fast_folder(prefix: str) -> Path:
    """Give a new folder in memory where the machine has one: these tests write thousands of small transactions."""
    memory = Path("/dev/shm")  # noqa: S108 - a private folder is made in it
    return Path(tempfile.mkdtemp(prefix=prefix, dir=memory if memory.is_dir() else None))


def copy_database(source: Path, target: Path) -> None:
    """Bring a database to the state of another, while programs have it open."""
    with closing(sqlite3.connect(source)) as origin, closing(sqlite3.connect(target)) as copy:
        origin.backup(copy)


def copy_broker(source: Path, target: Path) -> None:
    """Bring a broker's folder to the state of another: database and mark."""
    copy_database(source / "broker.db", target / "broker.db")
    shutil.copy(source / "memory.anchor", target / "memory.anchor")
