"""Verifying a run's receipt offline, in numbered steps: anyone who is given the public documents can, and learns no data.

Trust: what has to be known beforehand is the workspace (digest of its first member list) and what vouches for the enclave: the
roots of the hardware's maker, or for simulated runs the public development key. Everything else is proved by the documents
themselves. Hardware evidence is judged as of the time at which the receipt says that the run ended.
"""

import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any, Final

from opaque_jobs.attestation.appraisal import Finding, Outcome, appraise_enclave, codes
from opaque_jobs.attestation.binding import TeePublicKeys, init_data
from opaque_jobs.attestation.evidence import EvidenceVerifier, unbound
from opaque_jobs.attestation.hardware import MAKERS, Anchors, hardware_verifiers
from opaque_jobs.attestation.result import verify_result
from opaque_jobs.attestation.simulated import SimulatedVerifier
from opaque_jobs.crypto.checkpoints import Checkpoint, verify_checkpoint
from opaque_jobs.crypto.consent import RECEIPT, consent_refusals
from opaque_jobs.crypto.coverage import uses_of_run
from opaque_jobs.crypto.keys import SealingPublicKey, VerifyKey, decode_base64
from opaque_jobs.crypto.log_proof import bundle_checkpoint, continues, log_refusals
from opaque_jobs.crypto.signing import Statement, verify_statement
from opaque_jobs.domain.approval_rule import ApprovalRule
from opaque_jobs.domain.attested import ATTESTED, measured_runtime
from opaque_jobs.domain.canonical import digest, parse_json
from opaque_jobs.domain.inputs import effective_inputs, parse_datetime
from opaque_jobs.domain.job import DatasetUse, JobSpec, TeeKind, parse_job_spec
from opaque_jobs.domain.receipt_trust import ReceiptTrust
from opaque_jobs.domain.review import parse_bundle
from opaque_jobs.domain.run import Receipt, inputs_digest, parse_receipt
from opaque_jobs.domain.workspace import Roster
from opaque_jobs.errors import OpaqueJobsError, TrustError
from opaque_jobs.protocol.enclave import Mode
from opaque_jobs.protocol.result_files import RECEIPT_FILE, is_layout

__all__ = ["ReceiptReport", "Step", "inspect_receipt", "verify_receipt"]

_SKEW: Final = timedelta(seconds=30)


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One step of the verification; `problem` is empty if it holds."""

    number: int
    name: str
    problem: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ReceiptReport:
    """What verification found.

    Args:
        receipt: What the receipt says; None if it does not parse. Believe it only if all steps hold.
        approval_rule: Whose consent was enough; None before the step about consent held.
        measured: What the evidence measured: the runtime if simulated, else what was launched; empty before that step held.
        warnings: Demands of the members' policies that were not made, or that came out as a warning.
        steps: Those taken; it ends with the first that does not hold.
    """

    receipt: Receipt | None
    approval_rule: ApprovalRule | None
    measured: str
    warnings: tuple[Finding, ...]
    steps: tuple[Step, ...]

    @property
    def holds(self) -> bool:
        """Tell whether everything held."""
        return all(not step.problem for step in self.steps)


def verify_receipt(
    envelope: bytes,
    *,
    spec_bytes: bytes,
    bundle_bytes: bytes,
    inputs: Mapping[str, Any],
    refreshed: Mapping[str, str],
    folder: Path | None,
    trust: ReceiptTrust,
    anchors: Anchors = MAKERS,
    run_id: str | None = None,
) -> Receipt:
    """Verify a receipt and give it; see `inspect_receipt`.

    Raises:
        TrustError: A step does not hold.
    """
    report = inspect_receipt(
        envelope,
        spec_bytes=spec_bytes,
        bundle_bytes=bundle_bytes,
        inputs=inputs,
        refreshed=refreshed,
        folder=folder,
        trust=trust,
        anchors=anchors,
        run_id=run_id,
    )
    if report.receipt is None or not report.holds:
        raise TrustError("the receipt does not hold", hint=f"failed: {report.steps[-1].name}", step=report.steps[-1].number)
    return report.receipt


def inspect_receipt(
    envelope: bytes,
    *,
    spec_bytes: bytes,
    bundle_bytes: bytes,
    inputs: Mapping[str, Any],
    refreshed: Mapping[str, str],
    folder: Path | None,
    trust: ReceiptTrust,
    anchors: Anchors = MAKERS,
    run_id: str | None = None,
) -> ReceiptReport:
    """Verify a receipt step by step.

    Args:
        envelope: The receipt.
        spec_bytes: The approved job.
        bundle_bytes: The approvals.
        inputs: Effective input values of the run.
        refreshed: Data set's name -> manifest envelope, of those that were newer than the job names.
        folder: Result folder (ciphertext); None leaves step 8 out.
        trust: What is known beforehand.
        anchors: Roots of hardware makers that are believed.
        run_id: The run that it must be of; None takes any.
    """
    case = _Case(
        envelope=envelope,
        spec_bytes=spec_bytes,
        bundle_bytes=bundle_bytes,
        inputs=dict(inputs),
        refreshed=dict(refreshed),
        folder=folder,
        verifiers={**hardware_verifiers(anchors), TeeKind.SIMULATED: _simulated(trust)},
        trust=trust,
        run_id=run_id,
    )
    steps: list[Step] = []
    checks: list[tuple[str, Callable[[], None]]] = [
        ("the receipt is well-formed and signed by the key that it names", case.signature),
        ("it is about exactly this job", case.job),
        ("the members consented to this job, by the rule that all of them signed", case.consent),
        ("the input values are those of the run, and allowed", case.run_inputs),
        ("the log of the workspace holds the approvals and this run", case.log),
        ("evidence binds key, nonce, runtime and run", case.evidence),
        ("each data owner's broker has attested it, and all have followed one log", case.tokens),
    ]
    if folder is not None:
        checks.append(("the result's files are those of the receipt", case.outputs))
    for number, (name, check) in enumerate(checks, 1):
        try:
            check()
        except OpaqueJobsError as error:
            steps.append(Step(number=number, name=name, problem=error.message))
            break
        steps.append(Step(number=number, name=name, problem=""))
    return ReceiptReport(
        receipt=case.receipt,
        approval_rule=case.approval_rule,
        measured=case.measured,
        warnings=tuple(case.warnings),
        steps=tuple(steps),
    )


def _simulated(trust: ReceiptTrust) -> EvidenceVerifier:
    return SimulatedVerifier([VerifyKey.parse(text) for text in trust.simulated_keys])


def _demand(holds: bool, problem: str) -> None:
    if not holds:
        raise TrustError(problem, hint="do not rely on this result")


class _Case:
    """The documents of one verification, believed step by step."""

    def __init__(
        self,
        *,
        envelope: bytes,
        spec_bytes: bytes,
        bundle_bytes: bytes,
        inputs: dict[str, Any],
        refreshed: dict[str, str],
        folder: Path | None,
        verifiers: Mapping[TeeKind, EvidenceVerifier],
        trust: ReceiptTrust,
        run_id: str | None,
    ) -> None:
        self._envelope = envelope
        self._spec_bytes = spec_bytes
        self._bundle_bytes = bundle_bytes
        self._inputs = inputs
        self._refreshed = refreshed
        self._folder = folder
        self._verifiers = verifiers
        self._trust = trust
        self._run_id = run_id
        self.receipt: Receipt | None = None
        self.approval_rule: ApprovalRule | None = None
        self.measured = ""
        self.warnings: list[Finding] = []
        self._statement: Statement
        self._spec: JobSpec
        self._roster: Roster
        self._found: dict[str, tuple[str, tuple[str, ...]]] = {}
        self._uses: tuple[DatasetUse, ...]
        self._manifests: dict[str, str]

    @property
    def _said(self) -> Receipt:
        if self.receipt is None:
            raise TrustError("the receipt was not read", hint="take the steps in order")
        return self.receipt

    @property
    def _keys(self) -> TeePublicKeys:
        said = self._said
        return TeePublicKeys(sealing=SealingPublicKey.parse(said.tee_sealing_key), signing=VerifyKey.parse(said.tee_signing_key))

    def signature(self) -> None:
        """(1) The key is only a claim here: step 6 shows that evidence vouches for it."""
        claimed = _claimed_receipt(self._envelope)
        self._statement = verify_statement(self._envelope, VerifyKey.parse(claimed.tee_signing_key), predicate_type=RECEIPT)
        self.receipt = parse_receipt(self._statement.predicate)
        _demand(self._statement.subject_name == self.receipt.run_id, "the receipt names two runs")
        _demand(self._run_id in (None, self.receipt.run_id), "the receipt is of another run")

    def job(self) -> None:
        """(2) The job digest, and everything that the receipt repeats of the job."""
        said, spec = self._said, parse_job_spec(self._spec_bytes)
        _demand(self._statement.subject_digest == digest(self._spec_bytes), "the receipt is for another job")
        repeated = (said.workspace_id, said.workspace_genesis, said.epoch, said.job_id, said.revision, said.code_digest)
        approved = (spec.workspace_id, spec.workspace_genesis, spec.epoch, spec.job_id, spec.revision, spec.code_digest)
        _demand(repeated == approved, "the receipt contradicts the job")
        _demand(said.trust_label in spec.tee_kinds, "this kind of evidence was not approved")
        runtime = measured_runtime(said.trust_label, spec.measurement)
        _demand(runtime is not None or said.measurement is None, "the receipt states a runtime that nobody measured")
        _demand(said.measurement == runtime, "another runtime ran than was approved")
        _demand(said.attested == ATTESTED[said.trust_label], "the receipt says something else than its evidence vouches for")
        named = {use.alias: use.manifest_digest for use in spec.datasets if use.alias not in self._refreshed}
        _demand({alias: said.manifests.get(alias) for alias in named} == named, "other data was read")
        policies = {use.alias: use.policy_commitment for use in spec.datasets}
        _demand(said.policies == policies, "other rows or columns were released than was approved")
        _demand(
            sorted(said.recipients) == sorted(each.sealing_key_id for each in spec.recipients),
            "the result is sealed to somebody else",
        )
        _demand(self._trust.workspace_genesis in (None, spec.workspace_genesis), "the job is of another workspace")
        self._spec = spec

    def consent(self) -> None:
        """(3) The bundle is the one that the enclave saw and proves consent; it covers each version that was read."""
        _demand(self._said.bundle_digest == digest(self._bundle_bytes), "the receipt is for other approvals")
        bundle = parse_bundle(self._bundle_bytes)
        _demand(not consent_refusals(bundle, self._spec), "the consent that the workspace's rule asks for was not given")
        self._roster = bundle.member_list
        self._trusted()
        self.approval_rule = self._roster.approval_rule
        uses = uses_of_run(self._spec, self._refreshed, self._roster.members)
        self._uses = uses
        self._manifests = {use.alias: use.manifest_digest for use in uses}
        _demand(self._said.manifests == self._manifests, "other versions of the data were read")

    def run_inputs(self) -> None:
        """(4) The values, that the declarations allow them, and that none was set which the approved terms fix."""
        spec = self._spec
        values = effective_inputs(spec.inputs, self._inputs, aliases=spec.aliases)
        settable = {name: self._inputs.get(name) for name in spec.rerun_terms.variable_inputs}
        fixed = effective_inputs(spec.inputs, settable, aliases=spec.aliases)
        _demand(values == fixed, "an input was set that the approved terms fix")
        _demand(self._said.inputs_digest == inputs_digest(values), "the run had other input values")

    def _trusted(self) -> None:
        """Compare with what is known beforehand: a later member list names the first one, but that is a claim."""
        trust, roster = self._trust, self._roster
        _demand(trust.log_key in (None, roster.log_key), "the workspace's log is another than the one known beforehand")
        owners = {use.organisation_id for use in self._spec.datasets} if trust.brokers else set()
        known = {owner: trust.brokers.get(owner) for owner in owners}
        named = {owner: roster.organisation(owner).broker_signing_key for owner in owners}
        _demand(known == named, "a data owner's broker is another than the one known beforehand")

    def log(self) -> None:
        """(5) Inclusion of these very envelopes and of this run, under the checkpoint that the receipt names."""
        spec, said = self._spec, self._said
        bundle = parse_bundle(self._bundle_bytes)
        values = effective_inputs(spec.inputs, self._inputs, aliases=spec.aliases)
        reasons = log_refusals(bundle, run_id=said.run_id, job_digest=spec.digest, inputs_digest=inputs_digest(values))
        _demand(not reasons, "the log does not hold the approvals and the run")
        _demand(bundle_checkpoint(bundle).seen == said.log_checkpoint, "the receipt names another state of the log")

    def evidence(self) -> None:
        """(6) One record for each data owner, each over this owner's nonce, the enclave's keys and this run."""
        said = self._said
        owners = {use.organisation_id for use in self._spec.datasets}
        shown = [record.organisation_id for record in said.evidence]
        _demand(len(shown) == len(set(shown)) and set(shown) == owners, "evidence is not shown to every data owner once")
        bound = init_data(
            job_digest=digest(self._spec_bytes),
            run_id=said.run_id,
            bundle_digest=said.bundle_digest,
            inputs=effective_inputs(self._spec.inputs, self._inputs, aliases=self._spec.aliases),
            manifests=self._manifests,
            log_checkpoint=said.log_checkpoint,
        )
        finished = parse_datetime(said.finished_at)
        for record in said.evidence:
            verifier = self._verifiers[said.trust_label]
            found = verifier.verify(decode_base64(record.evidence, what="evidence"), now=finished)
            _demand(found.kind is said.trust_label, "the evidence is of another kind")
            findings = appraise_enclave(found.claims, self._spec.tee_policies, now=finished) if found.claims else ()
            failed = codes(findings, Outcome.FAILS)
            _demand(not failed, f"the hardware is not what the job demands: {', '.join(failed)}")
            if found.claims is None:
                _demand(found.measurement == self._spec.measurement, "the evidence is of another runtime")
            missing = unbound(found, nonce=record.nonce, keys=self._keys, run=bound)
            _demand("keys-not-bound" not in missing, "the evidence is for other keys")
            _demand(not missing, "the evidence is for another run")
            self._found[record.organisation_id] = (found.measurement, codes(findings, Outcome.WARNING))
            self.measured = found.measurement
            self.warnings += [each for each in findings if each.outcome is Outcome.WARNING and each not in self.warnings]

    def tokens(self) -> None:
        """(7) Each broker says the same, signed with the key that the member list names, while the run went on.

        What each had followed of the log is proved to be of one log, that of step 5.
        """
        said = self._said
        heads: dict[str, Checkpoint] = {}
        began, ended = parse_datetime(said.started_at), parse_datetime(said.finished_at)
        for record in said.evidence:
            key = VerifyKey.parse(self._roster.organisation(record.organisation_id).broker_signing_key)
            result = verify_result(record.token, key, now=None)
            says = (result.verifier, result.kind, (result.measurement, result.warnings), result.nonce, result.tee_key_id)
            found = self._found[record.organisation_id]
            expected = (record.organisation_id, said.trust_label, found, record.nonce, self._keys.key_id)
            _demand(says == expected, "a broker attested something else")
            _demand(
                (result.job_digest, result.run_id) == (digest(self._spec_bytes), said.run_id), "a broker attested another run"
            )
            owned = [use for use in self._uses if use.organisation_id == record.organisation_id]
            approved = {f"{use.dataset_id}/{use.dataset_version}": use.policy_commitment for use in owned}
            _demand(result.policies == approved, "a broker released other rows or columns than was approved")
            _demand(began - _SKEW <= result.issued_at <= ended + _SKEW, "a broker attested at another time")
            log_key = VerifyKey.parse(self._roster.log_key)
            heads[record.organisation_id] = verify_checkpoint(result.log_head, log_key, workspace_id=said.workspace_id)
        self._one_log(heads)

    def _one_log(self, heads: Mapping[str, Checkpoint]) -> None:
        said, before = self._said, bundle_checkpoint(parse_bundle(self._bundle_bytes))
        named = sorted((each.organisation_id, each.seen) for each in said.log_heads)
        told = sorted((owner, head.seen) for owner, head in heads.items())
        _demand(named == told, "the receipt names other states of the log than the brokers")
        for each in said.log_heads:
            head = heads[each.organisation_id]
            _demand(continues(before, head, each.path), "the data owners' brokers were shown different logs")
            before = head

    def outputs(self) -> None:
        """(8) Exactly the files of the receipt, with their sizes and digests."""
        folder = self._folder
        if folder is None:
            return
        found = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if not path.is_dir()}
        names = {output.name for output in self._said.outputs}
        _demand(is_layout({*names, RECEIPT_FILE}, Mode.REAL, succeeded=True), "the receipt lists other files than a result has")
        _demand(found - {RECEIPT_FILE} == names and len(names) == len(self._said.outputs), "files are missing or added")
        for output in self._said.outputs:
            path = folder / output.name
            _demand(path.is_file() and not path.is_symlink(), "a file of the result is no plain file")
            _demand(path.stat().st_size == output.size_bytes, "a file of the result has another size")
            with path.open("rb") as file:
                found_digest = "sha256:" + hashlib.file_digest(file, "sha256").hexdigest()
            _demand(found_digest == output.sha256, "a file of the result was changed")


def _claimed_receipt(envelope: bytes) -> Receipt:
    """Read a receipt without believing it, to learn which key it says it is signed with."""
    what = "receipt"
    outer = parse_json(envelope, what=what)
    payload = outer.get("payload") if isinstance(outer, dict) else None
    inner = parse_json(decode_base64(payload, what=what), what=what)
    return parse_receipt(inner.get("predicate") if isinstance(inner, dict) else None)
