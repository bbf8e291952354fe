"""A world with one broker in it, to be told and asked as the platform tells and asks it."""

from dataclasses import replace

from opaque_jobs.attestation.kbs import attest_body
from opaque_jobs.broker.release import Broker, Token
from opaque_jobs.broker.statements import Statements, accept_deposit, accept_statements
from opaque_jobs.crypto.keys import BrokerKeys
from opaque_jobs.domain.canonical import canonical_bytes
from opaque_jobs.domain.job import TeeKind
from tests.world import Enclave, World


class Stage:
    """A world with the hospital's broker in it."""

    def __init__(self, folder, *, keys: BrokerKeys | None = None) -> None:
        self.world = World()
        if keys is not None:
            self.world.hospital.broker = keys
        self.folder = folder
        self.broker = self.world.make_broker(self.world.hospital, folder)
        self.spec = self.world.make_spec()
        self.bundle = self.world.make_bundle(self.spec)

    def tell(self, *, roster=None, earlier=(), withdrawals=(), sharings=(), holds=(), acceptances=None) -> None:
        roster = roster or self.world.make_roster()
        given = self.world.acceptances(roster) if acceptances is None else acceptances
        accept_statements(
            self.broker,
            Statements(
                roster=roster.to_bytes().decode(),
                acceptances=tuple(each.decode() for each in given),
                earlier=tuple(earlier),
                withdrawals=tuple(each.decode() for each in withdrawals),
                sharings=tuple(each.decode() for each in sharings),
                holds=tuple(each.decode() for each in holds),
            ),
        )

    def deposit(self, envelope=None, manifest=None) -> None:
        home = self.world.hospital
        body = {
            "deposit": (envelope or self.world.deposit(home)).decode(),
            "manifest": (manifest or self.world.manifest_envelope(home)).decode(),
        }
        accept_deposit(self.broker, canonical_bytes(body))

    def share(self, **over) -> None:
        self.tell(sharings=[self.world.sharing(self.world.hospital, **over)])

    def enclave(self, run_id="run-1", **inputs) -> Enclave:
        """Give an honest enclave whose run is in the log, which the broker has followed."""
        proof = self.world.prove(self.spec, self.bundle, run_id, inputs)
        self.world.follow(self.broker)
        return Enclave(self.world, self.spec, replace(self.bundle, log=proof), run_id=run_id, **inputs)

    def attest(self, enclave: Enclave, **over):
        session, nonce = self.broker.begin(TeeKind.SIMULATED)
        return session, self.broker.attest(session, attest_body(enclave.request(nonce, **over)).encode())

    def release(self, session: str, **over):
        wanted = {"workspace_id": "ws-1", "dataset_id": "ds-org-hospital", "version": 1}
        return self.world.released(self.broker, session, **(wanted | over))

    def run(self, enclave: Enclave):
        session, answer = self.attest(enclave)
        return self.release(session) if isinstance(answer, Token) else answer

    def restart(self) -> None:
        self.broker = Broker(self.folder, self.world.hospital.broker, clock=self.world.clock)
