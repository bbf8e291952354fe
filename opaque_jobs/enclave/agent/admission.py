"""Whether what the host started is what the members approved: everything public is checked before any key is asked for.

In numbered steps, each closed by default. Brokers check the same and more; this is the enclave's own look.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from opaque_jobs.crypto.consent import consent_refusals, verify_manifest
from opaque_jobs.crypto.keys import SealingPublicKey, decode_base64
from opaque_jobs.crypto.log_proof import bundle_checkpoint, log_refusals
from opaque_jobs.domain.canonical import digest
from opaque_jobs.domain.dataset import DatasetManifest
from opaque_jobs.domain.inputs import InputType, effective_inputs
from opaque_jobs.domain.job import DatasetUse, JobSpec, TeeKind, parse_job_spec
from opaque_jobs.domain.refresh import use_with
from opaque_jobs.domain.review import parse_bundle
from opaque_jobs.domain.run import inputs_digest
from opaque_jobs.domain.workspace import Roster
from opaque_jobs.errors import InvalidInputError, OpaqueJobsError
from opaque_jobs.protocol.enclave import FailureWord, Mode, Start

__all__ = ["Admission", "AdmissionError", "admit"]

_RUN_ID: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,127}")
_MAX_CORES: Final = 1024


class AdmissionError(Exception):
    """The run may not go on.

    Args:
        word: What the host learns.
        reasons: Fixed codes.
    """

    def __init__(self, word: FailureWord, reasons: tuple[str, ...] = ()) -> None:
        super().__init__(word.value)
        self.word = word
        self.reasons = reasons


@dataclass(frozen=True, slots=True, kw_only=True)
class Admission:
    """An admitted run.

    Args:
        mode: Real or test.
        run_id: The run.
        spec: The job.
        spec_bytes: Exactly what was approved.
        job_digest: Digest of them.
        bundle_bytes: The approval bundle; empty in test runs.
        roster: The members; None in test runs.
        log_checkpoint: Checkpoint of the log that proves the run (`Checkpoint.seen`); empty in test runs.
        manifests: Alias -> verified manifest; empty in test runs.
        uses: The job's data sets, with the versions that this run reads.
        refreshed: Alias -> manifest envelope, of those that are newer than the job names.
        inputs: Effective input values.
        recipients: Keys to seal to; empty in test runs.
        tee: Kind of evidence that the host can get, one of the job's; in test runs the job's first, which nobody uses.
    """

    mode: Mode
    run_id: str
    spec: JobSpec
    spec_bytes: bytes
    job_digest: str
    bundle_bytes: bytes
    roster: Roster | None
    log_checkpoint: str
    manifests: Mapping[str, DatasetManifest]
    uses: tuple[DatasetUse, ...]
    refreshed: Mapping[str, str]
    inputs: Mapping[str, Any]
    recipients: tuple[SealingPublicKey, ...]
    tee: TeeKind

    @property
    def bundle_digest(self) -> str:
        """Digest of the approval bundle."""
        return digest(self.bundle_bytes)

    @property
    def datetimes(self) -> tuple[str, ...]:
        """Names of the inputs that are points in time."""
        return tuple(each.name for each in self.spec.inputs if each.type is InputType.DATETIME)

    @property
    def dataset_inputs(self) -> dict[str, str]:
        """Inputs that name a data set, by which the code may call it too: input -> alias."""
        return {each.name: str(self.inputs[each.name]) for each in self.spec.inputs if each.type is InputType.DATASET}


def admit(start: Start) -> Admission:
    """Check a start.

    Raises:
        AdmissionError: Something does not hold.
    """
    # 1. The mode is one of two, and a test run brings nothing of a real one.
    sound = start.mode in tuple(Mode) and _RUN_ID.fullmatch(start.run_id) and 0 < start.cores <= _MAX_CORES
    if not sound or start.heap_bytes <= 0 or (start.mode == Mode.TEST and (start.bundle or start.manifests)):
        raise AdmissionError(FailureWord.DIGEST_MISMATCH, ("start-invalid",))
    mode = Mode(start.mode)
    # 2. The job is one canonical document; its digest is what everything else is compared with.
    try:
        spec_bytes = decode_base64(start.job_spec, what="job specification")
        spec = parse_job_spec(spec_bytes)
    except OpaqueJobsError:
        raise AdmissionError(FailureWord.DIGEST_MISMATCH, ("job-spec-invalid",)) from None
    # 3. Inputs are within the declarations, and in a real run only those are set that the terms let be set.
    inputs = _inputs(start, spec, mode)
    if mode is Mode.TEST:
        return Admission(
            mode=mode, run_id=start.run_id, spec=spec, spec_bytes=spec_bytes, job_digest=digest(spec_bytes), bundle_bytes=b"",
            roster=None, log_checkpoint="", manifests={}, uses=spec.datasets, refreshed={}, inputs=inputs, recipients=(),
            tee=spec.tee_kinds[0],
        )  # fmt: skip
    if start.tee not in spec.tee_kinds:
        raise AdmissionError(FailureWord.BROKER_REFUSED, ("tee-kind-not-approved",))
    # 4. Every member of the job's roster consents to exactly this job; its only recipient is the author's organisation; the log
    #    of the workspace holds all that, and this run.
    bundle_bytes, roster, checkpoint = _consent(start, spec, inputs)
    # 5. Each data set's manifest is signed by a member of its owner, and its version is one that the approval covers.
    manifests = _manifests(start, spec, roster)
    uses = tuple(_use(spec, use, manifests[use.alias]) for use in spec.datasets)
    refreshed = {use.alias: start.manifests[use.alias] for use, named in zip(uses, spec.datasets, strict=True) if use != named}
    # 6. The recipients' keys, which step 4 compared with the roster's.
    recipients = _recipients(spec)
    return Admission(
        mode=mode, run_id=start.run_id, spec=spec, spec_bytes=spec_bytes, job_digest=digest(spec_bytes),
        bundle_bytes=bundle_bytes, roster=roster, log_checkpoint=checkpoint, manifests=manifests, uses=uses,
        refreshed=refreshed, inputs=inputs, recipients=recipients, tee=TeeKind(start.tee),
    )  # fmt: skip


def _inputs(start: Start, spec: JobSpec, mode: Mode) -> dict[str, Any]:
    if mode is Mode.REAL and not set(start.inputs) <= set(spec.rerun_terms.variable_inputs):
        raise AdmissionError(FailureWord.INPUTS_REFUSED)
    try:
        return effective_inputs(spec.inputs, start.inputs, aliases=spec.aliases)
    except InvalidInputError:
        raise AdmissionError(FailureWord.INPUTS_REFUSED) from None


def _consent(start: Start, spec: JobSpec, inputs: Mapping[str, Any]) -> tuple[bytes, Roster, str]:
    try:
        bundle_bytes = decode_base64(start.bundle, what="approval bundle")
        bundle = parse_bundle(bundle_bytes)
        roster = bundle.member_list
    except OpaqueJobsError:
        raise AdmissionError(FailureWord.DIGEST_MISMATCH, ("bundle-invalid",)) from None
    reasons = consent_refusals(bundle, spec)
    reasons += log_refusals(bundle, run_id=start.run_id, job_digest=spec.digest, inputs_digest=inputs_digest(dict(inputs)))
    if reasons:
        raise AdmissionError(FailureWord.DIGEST_MISMATCH, tuple(reasons))
    return bundle_bytes, roster, bundle_checkpoint(bundle).seen


def _manifests(start: Start, spec: JobSpec, roster: Roster) -> dict[str, DatasetManifest]:
    if set(start.manifests) != set(spec.aliases):
        raise AdmissionError(FailureWord.MANIFEST_REFUSED)
    return {use.alias: _manifest(start.manifests[use.alias], roster) for use in spec.datasets}


def _manifest(envelope: str, roster: Roster) -> DatasetManifest:
    try:
        return verify_manifest(envelope.encode(), roster.members)
    except OpaqueJobsError:
        raise AdmissionError(FailureWord.MANIFEST_REFUSED) from None


def _use(spec: JobSpec, named: DatasetUse, manifest: DatasetManifest) -> DatasetUse:
    use = use_with(spec, named, manifest)
    if use is None or not set(use.columns) <= {column.name for column in manifest.columns}:
        raise AdmissionError(FailureWord.MANIFEST_REFUSED)
    return use


def _recipients(spec: JobSpec) -> tuple[SealingPublicKey, ...]:
    try:
        return tuple(SealingPublicKey.parse(recipient.sealing_key) for recipient in spec.recipients)
    except InvalidInputError:
        raise AdmissionError(FailureWord.DIGEST_MISMATCH, ("recipient-not-the-authors-organisation",)) from None
