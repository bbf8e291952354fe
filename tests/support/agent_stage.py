"""The agent's own way to its keys, between two real brokers in this process: admission and attestation, no sandbox, no Spark."""

import base64
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from opaque_jobs.attestation.kbs import ATTEST_PATH, AttestRequest, parse_attest
from opaque_jobs.attestation.result import AttestationResult, issue_result
from opaque_jobs.attestation.simulated import SimulatedAttester
from opaque_jobs.broker.app import create_app
from opaque_jobs.client.broker import BrokerClient
from opaque_jobs.crypto.custody import KeyRelease, release_info, seal_release
from opaque_jobs.crypto.parquet import released_keys
from opaque_jobs.domain.dataset import SaltedPolicy
from opaque_jobs.domain.job import TeeKind
from opaque_jobs.domain.review import ApprovalBundle
from opaque_jobs.enclave.agent.admission import admit
from opaque_jobs.enclave.agent.attestation import Brokers
from opaque_jobs.protocol.enclave import BrokerRequest, BrokerResponse, Mode, Start
from tests.support.log_keeper import LogKeeper
from tests.support.log_relay import relay
from tests.support.sealed_run import AppTransport
from tests.world import MEASUREMENT, NOW, Organisation, World

Change = Callable[[BrokerRequest, BrokerResponse], BrokerResponse]


class AgentStage:
    """One run of the world's job, as far as its keys.

    Args:
        folder: Of the brokers.

    `change` sees every answer before the agent does, and may put another in its place. `logs` are shown to some brokers instead
    of the world's own; under the empty name, to the agent.
    """

    def __init__(self, folder: Path) -> None:
        self.world = World()
        self.spec = self.world.make_spec()
        self.brokers = {each.id: self.world.make_broker(each, folder / each.id) for each in self.world.organisations}
        self.clients = {
            each: BrokerClient("http://127.0.0.1", transport=AppTransport(create_app(broker)))
            for each, broker in self.brokers.items()
        }
        self.change: Change = lambda _request, answer: answer
        self.bundle: ApprovalBundle | None = None
        self.shown: AttestRequest | None = None
        self.logs: dict[str, LogKeeper] = {}
        roster = self.world.make_roster()
        for each in self.world.organisations:
            self.deposit(each)
            self.clients[each.id].push(
                key=each.broker.signing.public,
                roster=roster.to_bytes(),
                acceptances=self.world.acceptances(roster),
                sharings=[self.world.sharing(each)],
            )

    def deposit(self, organisation: Organisation, **over: Any) -> None:
        self.clients[organisation.id].deposit(
            key=organisation.broker.signing.public,
            deposit=self.world.deposit(organisation, **over),
            manifest=self.world.manifest_envelope(organisation),
        )

    def approved(self) -> ApprovalBundle:
        """Give the approvals, which are made and entered into the log with the run once."""
        self.bundle = self.bundle or self.world.make_bundle(self.spec)
        return self.bundle

    def run(self, **over: Any) -> tuple[Brokers, dict[str, KeyRelease]]:
        """Admit the run and fetch its keys.

        Raises:
            AdmissionError: The agent refuses.
        """
        bundle = self.approved()
        start = Start(
            mode=Mode.REAL.value,
            run_id="run-1",
            job_spec=base64.b64encode(self.spec.to_bytes()).decode(),
            bundle=base64.b64encode(bundle.to_bytes()).decode(),
            manifests={each.use().alias: self.world.manifest_envelope(each).decode() for each in self.world.organisations},
            inputs={},
            heap_bytes=1 << 30,
            cores=1,
            sent_at=NOW.isoformat(),
            tee="simulated",
        )
        brokers = Brokers(self, admit(replace(start, **over)))
        return brokers, dict(brokers.release_all())

    def sealed_by_a_liar(self, owner: Organisation, salted: SaltedPolicy) -> bytes:
        """Give the true keys as a broker would that lets another policy count than was approved."""
        info = release_info(
            workspace_id="ws-1",
            dataset_id=owner.dataset_id,
            version=1,
            job_digest=self.spec.digest,
            run_id="run-1",
            organisation_id=owner.id,
        )
        keys = KeyRelease(keys=released_keys(owner.root, ("id", "value", "site")), salted=salted)
        return seal_release(keys, self.shown.keys.sealing, info)

    def token(self, owner: Organisation, **over: Any) -> str:
        """Give an attestation result by an owner's broker about what the agent showed, true unless told otherwise."""
        shown = self.shown
        fields = {
            "verifier": owner.id,
            "kind": TeeKind.SIMULATED,
            "measurement": MEASUREMENT,
            "warnings": (),
            "claims": {},
            "nonce": shown.nonce,
            "tee_key_id": shown.keys.key_id,
            "policies": {},
            "log_head": self.world.log.note(),
            "job_digest": self.spec.digest,
            "run_id": shown.run_id,
            "issued_at": NOW,
        }
        key = over.pop("key", owner.broker.signing)
        return issue_result(AttestationResult(**(fields | over)), key)

    # the agent's wire

    def status(self, _word: Any) -> None:
        """Nobody listens."""

    def evidence(self, *, report_data: bytes, init_data: bytes) -> bytes:
        return SimulatedAttester(self.world.development_key).evidence(
            measurement=MEASUREMENT, report_data=report_data, init_data=init_data
        )

    def broker(self, *, org_id: str, method: str, path: str, cookie: str, body: str) -> BrokerResponse:
        request = BrokerRequest(request_id=1, org_id=org_id, method=method, path=path, cookie=cookie, body=body)
        if path == ATTEST_PATH:
            self.shown = parse_attest(body.encode())
        return self.change(request, relay(self.logs.get(org_id, self.world.log), self.clients, request))
