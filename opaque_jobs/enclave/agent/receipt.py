"""The receipt: one statement that links evidence, consent, code, data, inputs and every file that leaves.

Signed with the key that the evidence vouches for, so anyone can verify it offline without being able to open the result.
"""

from collections.abc import Sequence
from datetime import UTC, datetime

from opaque_jobs.crypto.consent import RECEIPT
from opaque_jobs.crypto.signing import sign_statement
from opaque_jobs.domain.attested import ATTESTED, measured_runtime
from opaque_jobs.domain.document import to_json
from opaque_jobs.domain.run import OutputFile, Receipt, inputs_digest
from opaque_jobs.enclave.agent.admission import Admission
from opaque_jobs.enclave.agent.attestation import Attested

__all__ = ["signed_receipt"]


def signed_receipt(admission: Admission, attested: Attested, *, outputs: Sequence[OutputFile], began: datetime) -> bytes:
    """Give the signed receipt of a run that succeeded.

    Args:
        admission: What was admitted.
        attested: The attested keys and the evidence.
        outputs: Every file that the agent sent out but this one, as it was in its memory.
        began: When the agent was started, by the clock inside.
    """
    spec = admission.spec
    assert admission.roster is not None  # noqa: S101 - admitted real runs have one
    receipt = Receipt(
        v=1,
        run_id=admission.run_id,
        workspace_id=spec.workspace_id,
        workspace_genesis=spec.workspace_genesis,
        epoch=spec.epoch,
        job_id=spec.job_id,
        revision=spec.revision,
        code_digest=spec.code_digest,
        bundle_digest=admission.bundle_digest,
        inputs_digest=inputs_digest(dict(admission.inputs)),
        manifests={alias: manifest.digest for alias, manifest in admission.manifests.items()},
        policies={use.alias: use.policy_commitment for use in admission.uses},
        outputs=tuple(outputs),
        recipients=tuple(key.key_id for key in admission.recipients),
        measurement=measured_runtime(attested.kind, spec.measurement),
        trust_label=attested.kind,
        attested=ATTESTED[attested.kind],
        tee_signing_key=attested.signing.public.text,
        tee_sealing_key=attested.sealing.public.text,
        evidence=tuple(attested.records),
        log_checkpoint=admission.log_checkpoint,
        log_heads=tuple(attested.log_heads),
        started_at=began.isoformat(timespec="seconds"),
        finished_at=datetime.now(UTC).isoformat(timespec="seconds"),
    )
    return sign_statement(
        attested.signing,
        predicate_type=RECEIPT,
        subject_name=admission.run_id,
        subject_digest=admission.job_digest,
        predicate=to_json(receipt),
    )
