"""Convinces each owner's broker that this enclave runs this job, and receives the keys that are released to it.

Everything travels through the untrusted host: requests hold nothing secret, answers are believed only where a seal opens with
the key made here for this run, bound to workspace, data set, job digest, run and owner.
"""

import base64
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from opaque_jobs.attestation.binding import TeePublicKeys, init_data, report_data
from opaque_jobs.attestation.kbs import (
    ATTEST_PATH,
    AUTH_PATH,
    AttestRequest,
    attest_body,
    auth_body,
    parse_attest_answer,
    parse_auth_answer,
    parse_reasons,
    resource_path,
)
from opaque_jobs.crypto.custody import KeyRelease, open_release, release_info
from opaque_jobs.crypto.keys import SealingKey, SigningKey
from opaque_jobs.domain.job import DatasetUse, TeeKind
from opaque_jobs.domain.run import EvidenceRecord
from opaque_jobs.enclave.agent.admission import Admission, AdmissionError
from opaque_jobs.enclave.agent.wire import Wire
from opaque_jobs.errors import OpaqueJobsError
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
    """

    sealing: SealingKey
    signing: SigningKey
    kind: TeeKind
    records: list[EvidenceRecord]

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
        self.attested: Final = Attested(
            sealing=SealingKey.generate(), signing=SigningKey.generate(), kind=admission.tee, records=[]
        )

    def release_all(self) -> Mapping[str, KeyRelease]:
        """Attest to every owner and fetch all keys: alias -> release.

        Raises:
            AdmissionError: A broker refuses, cannot be reached, or answers with something else.
        """
        uses = self._admission.uses
        owners = sorted({use.organisation_id for use in uses})
        cookies = {owner: self._attest(owner) for owner in owners}
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
        except OpaqueJobsError:
            raise AdmissionError(FailureWord.BROKER_REFUSED) from None
        attested.records.append(
            EvidenceRecord(organisation_id=owner, nonce=nonce, evidence=base64.b64encode(evidence).decode("ascii"), token=token)
        )
        return cookie

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
