"""Plays the enclave for the services: attests, asks the brokers, leaves files and a receipt, or fails as told."""

import base64
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path

from consortium import Consortium

from opaque_jobs.attestation.binding import TeePublicKeys, init_data, report_data
from opaque_jobs.attestation.result import AttestationResult, issue_result
from opaque_jobs.crypto.consent import RECEIPT
from opaque_jobs.crypto.keys import SealingKey, SealingPublicKey, SigningKey
from opaque_jobs.crypto.log_proof import bundle_checkpoint
from opaque_jobs.crypto.signing import sign_statement
from opaque_jobs.domain.attested import ATTESTED, measured_runtime
from opaque_jobs.domain.canonical import digest
from opaque_jobs.domain.document import to_json
from opaque_jobs.domain.inputs import effective_inputs
from opaque_jobs.domain.job import JobSpec, TeeKind, parse_job_spec
from opaque_jobs.domain.review import parse_bundle
from opaque_jobs.domain.run import EvidenceRecord, LogHead, OutputFile, Receipt, inputs_digest
from opaque_jobs.enclave.session import SessionOutcome, SessionRequest
from opaque_jobs.protocol.enclave import BrokerRequest, FailureWord, Mode, StatusWord
from opaque_jobs.protocol.result_files import (
    KEY_FILE,
    LOG_FILE,
    PREVIEW_FILE,
    RESULT_FILE,
    Content,
    seal_info,
    sealed_file,
)
from opaque_jobs.services.datasets import claimed_manifest
from tests.support.amd_simulator import AmdAttester

Change = Callable[[Receipt], Receipt]
Followed = Callable[[str, str], tuple[str, tuple[str, ...]]]
"""Gives how far an owner's broker has followed the log that proves a run, and the proof that this continues it."""


@dataclass
class SimulatedAgent:
    """A session runner. Its knobs say how the enclave misbehaves."""

    cast: Consortium
    failure: FailureWord | None = None
    reasons: tuple[str, ...] = ()
    receipt: bool = True
    change_receipt: Change = lambda receipt: receipt
    signer: SigningKey | None = None
    before_end: Callable[[SessionRequest], None] = lambda _request: None
    raises: Exception | None = None
    hardware: AmdAttester | None = None
    warnings: tuple[str, ...] = ()
    followed: Followed = lambda note, _owner: (note, ())
    requests: list[SessionRequest] = field(default_factory=list)
    kept: list[bool] = field(default_factory=list)

    def __call__(self, request, *, relay, attester, keep_open, on_status) -> SessionOutcome:
        self.requests.append(request)
        if self.raises is not None:
            raise self.raises
        on_status(StatusWord.COMPUTING)
        self.kept.append(keep_open())
        out = request.out_dir
        real = request.start.mode == Mode.REAL
        if self.failure is not None:
            (out / ("log.sealed.json" if real else "log.txt")).write_bytes(b"sealed log")
            (out / "result.key.json").write_bytes(b"must not be published")
        else:
            self.leave(request)
            if real:
                self.ask_for_keys(request, relay)
                if self.receipt:
                    (out / "receipt.json").write_bytes(self.make_receipt(request, attester))
        self.before_end(request)
        return SessionOutcome(failure=self.failure, reasons=self.reasons, files=(), elapsed_s=0.1)

    def leave(self, request: SessionRequest) -> None:
        """Leave the files of a success but the receipt, sealed where they have to be."""
        out, spec = request.out_dir, parse_job_spec(base64.b64decode(request.start.job_spec))
        if request.start.mode == Mode.TEST:
            (out / "result").mkdir()
            for name in ("result/part-00000.parquet", "preview.arrow", "log.txt"):
                (out / name).write_bytes(b"plain")
            return
        (out / RESULT_FILE).write_bytes(b"sealed rows")
        recipients = [SealingPublicKey.parse(each.sealing_key) for each in spec.recipients]
        for name, content in ((KEY_FILE, Content.RESULT_KEY), (PREVIEW_FILE, Content.PREVIEW), (LOG_FILE, Content.LOG)):
            info = seal_info(
                content, workspace_id=spec.workspace_id, job_digest=digest(spec.to_bytes()), run_id=request.start.run_id
            )
            (out / name).write_bytes(sealed_file(b"content", recipients, info))

    def ask_for_keys(self, request: SessionRequest, relay) -> None:
        spec = parse_job_spec(base64.b64decode(request.start.job_spec))
        for number, use in enumerate(spec.datasets):
            path = f"/kbs/v0/resource/{spec.workspace_id}/{use.dataset_id}/{use.dataset_version}"
            relay(BrokerRequest(request_id=number, org_id=use.organisation_id, method="GET", path=path, cookie="", body=""))

    def make_receipt(self, request: SessionRequest, attester) -> bytes:
        attester = self.hardware or attester
        measured = self.hardware.measured if self.hardware else request.runtime.measurement
        start = request.start
        spec_bytes, bundle = base64.b64decode(start.job_spec), base64.b64decode(start.bundle)
        spec = parse_job_spec(spec_bytes)
        inputs = effective_inputs(spec.inputs, start.inputs, aliases=spec.aliases)
        envelopes = {alias: text.encode() for alias, text in start.manifests.items()}
        manifests = {alias: claimed_manifest(each).digest for alias, each in envelopes.items()}
        signing, sealing = SigningKey.generate(), SealingKey.generate()
        keys = TeePublicKeys(sealing=sealing.public, signing=signing.public)
        now = datetime.now(UTC).replace(microsecond=0)
        proof = parse_bundle(bundle).log
        seen = bundle_checkpoint(parse_bundle(bundle)).seen
        heads: list[LogHead] = []
        records = []
        for owner in sorted({use.organisation_id for use in spec.datasets}):
            nonce = base64.b64encode(owner.encode().ljust(32, b"n")).decode()
            run = init_data(
                job_digest=digest(spec_bytes),
                run_id=start.run_id,
                bundle_digest=digest(bundle),
                inputs=inputs,
                manifests=manifests,
                log_checkpoint=bundle_checkpoint(parse_bundle(bundle)).seen,
            )
            evidence = attester.evidence(
                measurement=request.runtime.measurement,
                report_data=report_data(nonce=nonce, keys=keys, init_data=run),
                init_data=run,
            )
            note, path = self.followed(proof.checkpoint, owner)
            told = " ".join(note.split("\n")[1:3])
            known = told in [each.seen for each in heads]
            heads.append(LogHead(organisation_id=owner, seen=told, path=() if known else path))
            result = AttestationResult(
                verifier=owner,
                kind=attester.kind,
                measurement=measured,
                warnings=self.warnings,
                claims={},
                nonce=nonce,
                tee_key_id=keys.key_id,
                policies=_policies(spec, owner, start.manifests),
                log_head=note,
                job_digest=digest(spec_bytes),
                run_id=start.run_id,
                issued_at=now,
            )
            broker = self.cast.organisations[owner.removeprefix("org-")]
            records.append(
                EvidenceRecord(
                    organisation_id=owner,
                    nonce=nonce,
                    evidence=base64.b64encode(evidence).decode(),
                    token=issue_result(result, broker.signing),
                )
            )
        receipt = Receipt(
            v=1,
            run_id=start.run_id,
            workspace_id=spec.workspace_id,
            workspace_genesis=spec.workspace_genesis,
            epoch=spec.epoch,
            job_id=spec.job_id,
            revision=spec.revision,
            code_digest=spec.code_digest,
            bundle_digest=digest(bundle),
            inputs_digest=inputs_digest(inputs),
            manifests=manifests,
            policies={use.alias: use.policy_commitment for use in spec.datasets},
            outputs=_outputs(request.out_dir),
            recipients=tuple(each.sealing_key_id for each in spec.recipients),
            measurement=measured_runtime(attester.kind, spec.measurement),
            trust_label=attester.kind,
            attested=ATTESTED[attester.kind],
            tee_signing_key=signing.public.text,
            tee_sealing_key=sealing.public.text,
            evidence=tuple(records),
            log_checkpoint=seen,
            log_heads=tuple(heads),
            started_at=now.isoformat(),
            finished_at=now.isoformat(),
        )
        receipt = self.change_receipt(receipt)
        return sign_statement(
            self.signer or signing,
            predicate_type=RECEIPT,
            subject_name=receipt.run_id,
            subject_digest=digest(spec_bytes),
            predicate=to_json(receipt),
        )


def _policies(spec: JobSpec, owner: str, envelopes: Mapping[str, str]) -> dict[str, str]:
    """Give what an owner's broker says that it releases, of the versions that are read."""
    read = {use: claimed_manifest(envelopes[use.alias].encode()) for use in spec.datasets if use.organisation_id == owner}
    return {f"{each.dataset_id}/{each.dataset_version}": use.policy_commitment for use, each in read.items()}


def _outputs(folder: Path) -> tuple[OutputFile, ...]:
    return tuple(
        OutputFile(name=path.relative_to(folder).as_posix(), size_bytes=path.stat().st_size, sha256=digest(path.read_bytes()))
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    )


def relabelled(receipt: Receipt, kind: TeeKind) -> Receipt:
    """Say throughout that a receipt is of another kind of evidence."""
    return replace(
        receipt, trust_label=kind, attested=ATTESTED[kind], measurement=measured_runtime(kind, receipt.measurement or "")
    )


def changed_record(receipt: Receipt, **over: str) -> Receipt:
    """Change the first evidence record of a receipt."""
    return replace(receipt, evidence=(replace(receipt.evidence[0], **over), *receipt.evidence[1:]))
