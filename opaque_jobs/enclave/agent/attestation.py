"""Convinces each owner's broker that this enclave runs this job, and receives the keys that are released to it.

Everything travels through the untrusted host: requests hold nothing secret, answers are believed only where a broker signed them
for this run's keys, or where a seal opens with the key made here for this run, bound to workspace, data set, job, run and owner.

Each broker's attestation result says how far it has followed the workspace's log. No key is asked for before the host has proved
that all brokers, and whoever proved the approvals, were shown one log.
"""

import base64
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from opaque_jobs.attestation.binding import TeePublicKeys, init_data, report_data
from opaque_jobs.attestation.kbs import (
    ATTEST_PATH,
    AUTH_PATH,
    LOG_KEEPER,
    AttestRequest,
    attest_body,
    auth_body,
    consistency_path,
    parse_attest_answer,
    parse_auth_answer,
    parse_consistency_answer,
    parse_reasons,
    resource_path,
)
from opaque_jobs.attestation.result import verify_result
from opaque_jobs.crypto.checkpoints import Checkpoint, verify_checkpoint
from opaque_jobs.crypto.custody import KeyRelease, open_release, release_info
from opaque_jobs.crypto.keys import SealingKey, SigningKey, VerifyKey
from opaque_jobs.crypto.log_proof import continues
from opaque_jobs.domain.job import DatasetUse, TeeKind
from opaque_jobs.domain.run import EvidenceRecord, LogHead
from opaque_jobs.enclave.agent.admission import Admission, AdmissionError
from opaque_jobs.enclave.agent.wire import Wire
from opaque_jobs.errors import OpaqueJobsError, TrustError
from opaque_jobs.protocol.enclave import BrokerResponse, FailureWord, StatusWord

__all__ = ["Attested", "Brokers"]

_OK: Final = 200
_UNREACHABLE: Final = 0


@dataclass(slots=True, kw_only=True)
class Attested:
    """The keys of this run and what brokers were shown with them.

    Args:
        sealing: Data keys are sealed to it.
        signing: Signs the receipt.
        kind: Kind of evidence.
        records: One for each broker, in order of organisation.
        log_heads: How far each broker has followed the log, see `Receipt.log_heads`.
    """

    sealing: SealingKey
    signing: SigningKey
    kind: TeeKind
    records: list[EvidenceRecord]
    log_heads: list[LogHead]

    @property
    def public(self) -> TeePublicKeys:
        """The public halves."""
        return TeePublicKeys(sealing=self.sealing.public, signing=self.signing.public)


class Brokers:
    """The brokers of a run's data owners.

    Args:
        wire: The way to them.
        admission: The run.
    """

    def __init__(self, wire: Wire, admission: Admission) -> None:
        self._wire = wire
        self._admission = admission
        self._heads: dict[str, Checkpoint] = {}
        self.attested: Final = Attested(
            sealing=SealingKey.generate(), signing=SigningKey.generate(), kind=admission.tee, records=[], log_heads=[]
        )

    def release_all(self) -> Mapping[str, KeyRelease]:
        """Attest to every owner and fetch all keys: alias -> release.

        Raises:
            AdmissionError: A broker refuses, is not reached or answers with something else, or brokers were shown different logs.
        """
        uses = self._admission.uses
        owners = sorted({use.organisation_id for use in uses})
        cookies = {owner: self._attest(owner) for owner in owners}
        self._check_log()
        self._wire.status(StatusWord.FETCHING_KEYS)
        return {use.alias: self._fetch(use, cookies[use.organisation_id]) for use in uses}

    def _attest(self, owner: str) -> str:
        """Show a broker fresh evidence; give the session's cookie."""
        admission, attested = self._admission, self.attested
        answer = self._request(owner, "POST", AUTH_PATH, "", auth_body(attested.kind))
        cookie = answer.cookie
        try:
            nonce = parse_auth_answer(answer.body)
        except OpaqueJobsError:
            raise AdmissionError(FailureWord.BROKER_REFUSED) from None
        run = init_data(
            job_digest=admission.job_digest,
            run_id=admission.run_id,
            bundle_digest=admission.bundle_digest,
            inputs=admission.inputs,
            manifests={use.alias: use.manifest_digest for use in admission.uses},
            log_checkpoint=admission.log_checkpoint,
        )
        evidence = self._wire.evidence(report_data=report_data(nonce=nonce, keys=attested.public, init_data=run), init_data=run)
        request = AttestRequest(
            nonce=nonce,
            keys=attested.public,
            job_spec=admission.spec_bytes,
            bundle=admission.bundle_bytes,
            run_id=admission.run_id,
            inputs=admission.inputs,
            refreshed=admission.refreshed,
            evidence=evidence,
        )
        answer = self._request(owner, "POST", ATTEST_PATH, cookie, attest_body(request))
        try:
            token = parse_attest_answer(answer.body)
            self._heads[owner] = self._head(owner, nonce, token)
        except OpaqueJobsError:
            raise AdmissionError(FailureWord.BROKER_REFUSED, ("attestation-result-invalid",)) from None
        attested.records.append(
            EvidenceRecord(organisation_id=owner, nonce=nonce, evidence=base64.b64encode(evidence).decode("ascii"), token=token)
        )
        return cookie

    def _head(self, owner: str, nonce: str, token: str) -> Checkpoint:
        """Give how far a broker has followed the log, as it signed for these keys and this run.

        Raises:
            InvalidInputError: A part of the token does not parse.
            TrustError: It is not this broker's, not about this run, or names a state that the workspace's log did not sign.
        """
        admission, roster = self._admission, self._admission.roster
        if roster is None:
            raise TrustError("a test run has no brokers", hint="start a real run")
        # Fresh by the keys and the nonce that it names.
        result = verify_result(token, VerifyKey.parse(roster.organisation(owner).broker_signing_key), now=None)
        said = (result.verifier, result.nonce, result.tee_key_id, result.job_digest, result.run_id)
        if said != (owner, nonce, self.attested.public.key_id, admission.job_digest, admission.run_id):
            raise TrustError("an attestation result is about something else", hint="was a message changed?")
        return verify_checkpoint(result.log_head, VerifyKey.parse(roster.log_key), workspace_id=roster.workspace_id)

    def _check_log(self) -> None:
        """Demand a proof that the states which brokers have followed, and the one that proves the approvals, are of one log."""
        admission = self._admission
        before = Checkpoint.parse_seen(admission.log_checkpoint, workspace_id=admission.spec.workspace_id)
        for owner, head in sorted(self._heads.items(), key=lambda each: (each[1].size, each[0])):
            path = self._consistency(before, head) if before.size < head.size else ()
            if not continues(before, head, path):
                raise AdmissionError(FailureWord.BROKER_REFUSED, ("log-shown-differently",))
            self.attested.log_heads.append(LogHead(organisation_id=owner, seen=head.seen, path=path))
            before = head

    def _consistency(self, before: Checkpoint, head: Checkpoint) -> tuple[str, ...]:
        answer = self._request(LOG_KEEPER, "GET", consistency_path(before.size, head.size), "", "")
        try:
            return parse_consistency_answer(answer.body)
        except OpaqueJobsError:
            return ()

    def _fetch(self, use: DatasetUse, cookie: str) -> KeyRelease:
        admission = self._admission
        path = resource_path(workspace_id=admission.spec.workspace_id, dataset_id=use.dataset_id, version=use.dataset_version)
        answer = self._request(use.organisation_id, "GET", path, cookie, "")
        info = release_info(
            workspace_id=admission.spec.workspace_id,
            organisation_id=use.organisation_id,
            dataset_id=use.dataset_id,
            version=use.dataset_version,
            job_digest=admission.job_digest,
            run_id=admission.run_id,
        )
        try:
            release = open_release(answer.body.encode(), self.attested.sealing, info)
        except OpaqueJobsError:
            raise AdmissionError(FailureWord.BROKER_REFUSED) from None
        if release.salted.commitment != use.policy_commitment:
            raise AdmissionError(FailureWord.BROKER_REFUSED, ("policy-changed",))
        if not set(use.columns) <= set(release.salted.policy.columns):
            raise AdmissionError(FailureWord.BROKER_REFUSED, ("columns-not-released",))
        return release

    def _request(self, owner: str, method: str, path: str, cookie: str, body: str) -> BrokerResponse:
        answer = self._wire.broker(org_id=owner, method=method, path=path, cookie=cookie, body=body)
        if answer.status == _UNREACHABLE:
            raise AdmissionError(FailureWord.BROKER_UNREACHABLE)
        if answer.status != _OK:
            raise AdmissionError(FailureWord.BROKER_REFUSED, parse_reasons(answer.body))
        return answer
