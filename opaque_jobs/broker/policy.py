"""The broker's decision, pure: given what was shown and what this broker knows, release or say every reason against it.

Closed by default: each thing that must hold is checked, and what is unknown counts against. Reasons are fixed codes that
say nothing about data; they travel through the untrusted relay to the agent and on to people.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cached_property
from typing import Any, Final

from opaque_jobs.attestation.appraisal import Outcome, appraise_enclave, codes
from opaque_jobs.attestation.binding import TeePublicKeys, init_data
from opaque_jobs.attestation.evidence import Evidence, unbound
from opaque_jobs.broker.rosters import Circle, roster_reasons
from opaque_jobs.crypto.checkpoints import Checkpoint
from opaque_jobs.crypto.consent import Consent, consent_in, verify_withdrawal
from opaque_jobs.crypto.coverage import uses_of_run
from opaque_jobs.crypto.log_proof import bundle_checkpoint, log_refusals
from opaque_jobs.domain.canonical import digest
from opaque_jobs.domain.dataset import SaltedPolicy
from opaque_jobs.domain.inputs import effective_inputs
from opaque_jobs.domain.job import DatasetUse, JobSpec, TeeKind
from opaque_jobs.domain.log import EntryKind
from opaque_jobs.domain.rerun_terms import lease_refusals
from opaque_jobs.domain.review import Approval, ApprovalBundle
from opaque_jobs.domain.row_rule import rule_columns
from opaque_jobs.domain.run import inputs_digest
from opaque_jobs.domain.workspace import Roster
from opaque_jobs.errors import InvalidInputError, OpaqueJobsError

__all__ = [
    "NONCE_LIFETIME_S",
    "Case",
    "Granted",
    "Holding",
    "Knowledge",
    "Refused",
    "Shown",
    "decide",
]

NONCE_LIFETIME_S: Final = 120
_CLOCK_ERROR: Final = timedelta(seconds=120)


@dataclass(frozen=True, kw_only=True)
class Case:
    """What an enclave showed.

    Args:
        spec: The job.
        bundle: Proof of consent.
        run_id: The run.
        inputs: Input values as shown.
        refreshed: Data set's name -> manifest envelope, of those that are newer than the job names.
        keys: The enclave's public keys.
        nonce: This broker's own nonce for it.
        evidence: The verified evidence.
    """

    spec: JobSpec
    bundle: ApprovalBundle
    run_id: str
    inputs: Mapping[str, Any]
    refreshed: Mapping[str, str]
    keys: TeePublicKeys
    nonce: str
    evidence: Evidence

    @cached_property
    def job_digest(self) -> str:
        """The job's digest, made once for a case: what it is about was parsed for it, and is given to nobody who changes it."""
        return self.spec.digest

    @cached_property
    def bundle_digest(self) -> str:
        """The bundle's digest, made once likewise."""
        return self.bundle.digest

    @cached_property
    def shows(self) -> "Shown":
        """What can be verified of the case without knowing anything else, once, however often it is decided about."""
        return _verified(self)

    @cached_property
    def _withdrawals(self) -> dict[bytes, bool]:
        return {}

    def withdrawn_by(self, envelope: bytes) -> bool:
        """Tell whether this truly withdraws consent to the job; verified once for each."""
        if envelope not in self._withdrawals:
            self._withdrawals[envelope] = _withdraws(self, envelope)
        return self._withdrawals[envelope]


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """What a case shows by itself. All signatures in it are verified for this, before the broker's memory is asked.

    Args:
        consent: What the bundle proves.
        roster: Its member list; None if it does not parse.
        uses: The data sets with the versions that the run reads; None if one is not covered by the approval, or not proved.
        checkpoint: The state of the log that it names; None if the log did not sign it.
        faults: Why evidence, values and log do not belong to this run; not looked at without consent.
    """

    consent: Consent
    roster: Roster | None
    uses: tuple[DatasetUse, ...] | None
    checkpoint: Checkpoint | None
    faults: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Holding:
    """A dataset version whose key this broker holds."""

    manifest_digest: str
    salted: SaltedPolicy


@dataclass(frozen=True, slots=True, kw_only=True)
class Knowledge(Circle):
    """What this broker knows of its own, about the case at hand.

    Args:
        roster: Newest known member list of the workspace; None if it never saw one.
        earlier: Gives a member list by its digest, if this broker has seen that all in it accepted it.
        withdrawals: What was seen that claims to withdraw consent to this job, unverified; None if it was more than is kept.
        held: What the owner holds back: ids of data sets and jobs, digests of revisions and lists, the own id for all.
        lost: The broker's memory is known to be incomplete.
        latest: The latest time that this broker has seen: a clock that is set back opens no lease and no deadline again.
        log_root: Gives the root that the workspace's log had at a size, as this broker saw it grow; None beyond that.
        log_seen: Gives when this broker first saw the log to have a size, by its own clock; None if it never did.
        holdings: (dataset id, version) -> holding.
        shared: Ids of the datasets shared into this workspace (with this first roster) now.
        releases: When keys were released for other runs of this job.
        released_to: Id of the enclave keys that this run's keys went to; None if they went nowhere.
        simulated_keys: Development keys (base64) that are believed now.
    """

    roster: Roster | None
    earlier: Callable[[str], Roster | None]
    withdrawals: tuple[bytes, ...] | None
    held: frozenset[str]
    lost: bool
    latest: datetime
    log_root: Callable[[int], bytes | None]
    log_seen: Callable[[int], datetime | None]
    holdings: Mapping[tuple[str, int], Holding]
    shared: frozenset[str]
    releases: tuple[datetime, ...]
    released_to: str | None
    simulated_keys: frozenset[str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Granted:
    """Release.

    Args:
        roster: The member list to remember.
        columns: (dataset id, version) -> columns whose keys may go out: the job's, and those of the owner's row rule.
        policies: `<id>/<version>` -> commitment to what is released of it.
    """

    roster: Roster
    columns: Mapping[tuple[str, int], tuple[str, ...]]
    policies: Mapping[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Refused:
    """Do not release; at least one fixed code."""

    reasons: tuple[str, ...]


def decide(case: Case, knowledge: Knowledge, *, now: datetime) -> Granted | Refused:
    """Decide about a case.

    Trust: the evidence's own signature was verified before. All else is verified from bytes: by `Case.shows`, or here.
    """
    spec, shown = case.spec, case.shows
    unfit = _own_reasons(knowledge, now)
    if unfit:
        return Refused(reasons=unfit)
    now = max(now, knowledge.latest)
    # 1. Every member consents to exactly this job, at this epoch, nobody took it back, and the owner holds nothing of it.
    reasons = [*shown.consent.refusals, *_veto_reasons(case, knowledge)]
    # 2. The member list is the workspace's, as this broker knows it, and names its own people and keys truly.
    roster, uses = shown.roster, shown.uses
    if roster is None:
        return Refused(reasons=_unique([*reasons, "roster-invalid"]))
    reasons += roster_reasons(roster, knowledge, knowledge.roster, knowledge.earlier)
    if (spec.workspace_id, spec.workspace_genesis, spec.epoch, spec.roster_digest) != (
        roster.workspace_id,
        roster.genesis_digest,
        roster.epoch,
        roster.digest,
    ):
        reasons.append("roster-not-the-jobs")
    # 3. The evidence is of an approved kind and runtime, over these keys, this nonce and exactly this run; and the versions
    #    that it reads are the approved ones, or newer ones that the approval covers.
    reasons += _runtime_reasons(case, knowledge, now)
    if uses is None:
        reasons.append("version-not-covered")
    # 4. All of it stands in the one log that this broker has seen grow, and so does every reviewer's view of it.
    if not reasons:
        reasons = [*shown.faults, *_log_reasons(case, shown, knowledge)]
    # 5. The lease has a run left, now, and this run has not had its keys in another enclave.
    reasons += lease_refusals(spec.rerun_terms, now=now, releases=knowledge.releases)
    if knowledge.released_to not in {None, case.keys.key_id}:
        reasons.append("already-released")
    # 6. The datasets are ours, as deposited, shared here, and asked for within their policy.
    columns: dict[tuple[str, int], tuple[str, ...]] = {}
    for use in uses or ():
        if use.organisation_id == knowledge.organisation_id:
            reasons += _dataset_reasons(use, knowledge, columns)
    if not any(use.organisation_id == knowledge.organisation_id for use in spec.datasets):
        reasons.append("no-dataset-here")
    return Refused(reasons=_unique(reasons)) if reasons else _granted(roster, columns, knowledge)


def _granted(roster: Roster, columns: Mapping[tuple[str, int], tuple[str, ...]], knowledge: Knowledge) -> Granted:
    policies = {f"{each}/{version}": knowledge.holdings[each, version].salted.commitment for each, version in columns}
    return Granted(roster=roster, columns=columns, policies=policies)


def _verified(case: Case) -> Shown:
    consent, roster = consent_in(case.bundle, case.spec), _parsed_roster(case.bundle)
    uses = _uses(case, roster)
    try:
        checkpoint = bundle_checkpoint(case.bundle)
    except OpaqueJobsError:
        checkpoint = None
    looked_at = not consent.refusals and uses is not None
    faults = _faults(case, uses or (), checkpoint) if looked_at else []
    return Shown(consent=consent, roster=roster, uses=uses, checkpoint=checkpoint, faults=tuple(faults))


def _uses(case: Case, roster: Roster | None) -> tuple[DatasetUse, ...] | None:
    if not case.refreshed:
        return case.spec.datasets
    try:
        return None if roster is None else uses_of_run(case.spec, case.refreshed, roster.members)
    except OpaqueJobsError:
        return None


def _unique(reasons: list[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(reasons))


def _own_reasons(knowledge: Knowledge, now: datetime) -> tuple[str, ...]:
    """Return why this broker cannot decide about anything."""
    if knowledge.lost:
        return ("broker-memory-lost",)
    return ("clock-set-back",) if knowledge.latest - now > _CLOCK_ERROR else ()


def _runtime_reasons(case: Case, knowledge: Knowledge, now: datetime) -> list[str]:
    spec, evidence = case.spec, case.evidence
    reasons = []
    # The owner may have forgotten, since the evidence was verified, the key that vouches for it.
    if evidence.vouched_by is not None and evidence.vouched_by not in knowledge.simulated_keys:
        reasons.append("tee-kind-not-accepted")
    if evidence.kind not in spec.tee_kinds:
        reasons.append("tee-kind-not-approved")
    if evidence.claims is not None:
        reasons += codes(appraise_enclave(evidence.claims, spec.tee_policies, now=now), Outcome.FAILS)
    elif evidence.kind is not TeeKind.SIMULATED or evidence.measurement != spec.measurement:
        reasons.append("measurement-not-approved")
    return reasons


def _faults(case: Case, uses: Sequence[DatasetUse], checkpoint: Checkpoint | None) -> list[str]:
    spec, evidence = case.spec, case.evidence
    try:
        effective = effective_inputs(spec.inputs, case.inputs, aliases=spec.aliases)
    except InvalidInputError:
        return ["inputs-invalid"]
    fixed = effective_inputs(
        spec.inputs, {name: case.inputs.get(name) for name in spec.rerun_terms.variable_inputs}, aliases=spec.aliases
    )
    reasons = [] if effective == fixed else ["input-not-variable"]
    if checkpoint is None:
        return [*reasons, "log-checkpoint-invalid"]
    bound = init_data(
        job_digest=case.job_digest,
        run_id=case.run_id,
        bundle_digest=case.bundle_digest,
        inputs=effective,
        manifests={use.alias: use.manifest_digest for use in uses},
        log_checkpoint=checkpoint.seen,
    )
    reasons += unbound(evidence, nonce=case.nonce, keys=case.keys, run=bound)
    values = inputs_digest(effective)
    return [*reasons, *log_refusals(case.bundle, run_id=case.run_id, job_digest=case.job_digest, inputs_digest=values)]


def _veto_reasons(case: Case, knowledge: Knowledge) -> list[str]:
    spec, reasons = case.spec, []
    if knowledge.withdrawals is None or any(map(case.withdrawn_by, knowledge.withdrawals)):
        reasons.append("consent-withdrawn")
    stoppable = {
        knowledge.organisation_id,
        spec.job_id,
        case.job_digest,
        spec.roster_digest,
        *(use.dataset_id for use in spec.datasets),
    }
    if knowledge.held & stoppable:
        reasons.append("held-by-owner")
    return reasons


def _withdraws(case: Case, envelope: bytes) -> bool:
    """Tell whether this is truly by a member of the job's own member list, whenever and by whatever way it came."""
    roster = case.shows.roster
    if roster is None:
        return False  # a reason of step 2
    try:
        verify_withdrawal(envelope, job_digest=case.job_digest, roster=roster)
    except OpaqueJobsError:
        return False
    return True


def _log_reasons(case: Case, shown: Shown, knowledge: Knowledge) -> list[str]:
    if shown.checkpoint is None:
        return ["log-checkpoint-invalid"]
    reasons = []
    # The proof's checkpoint is one that this broker has followed to: it knows every entry up to there, and that none was changed.
    if knowledge.log_root(shown.checkpoint.size) != shown.checkpoint.root:
        reasons.append("log-not-followed")
    # Who reviewed saw the same log: a keeper who shows different logs to different people is caught here.
    if any(each is None or knowledge.log_root(each.size) != each.root for each in _seen_by_reviewers(case, shown.consent.votes)):
        reasons.append("log-forked")
    if _late_approvals(case, knowledge):
        reasons.append("approval-too-late")
    return reasons


def _late_approvals(case: Case, knowledge: Knowledge) -> bool:
    """Tell whether this broker was shown an approval in the log only after the review's deadline.

    The time that a vote names is its voter's word, and the time of a log entry its keeper's. A vote that was held back cannot
    have been in a tree that this broker computed, by its own clock, before.
    """
    if case.spec.review_until is None:
        return False
    entries = [each.entry for each in case.bundle.log.entries] if case.bundle.log else []
    sizes: dict[str | None, int] = {}
    for entry in entries:
        if entry.kind is not EntryKind.VOTE:  # the same bytes entered as something else were not shown as a vote
            continue
        sizes[entry.statement] = min(entry.seq + 1, sizes.get(entry.statement, entry.seq + 1))
    for text in case.bundle.approvals:
        size = sizes.get(digest(text.encode()))
        at = None if size is None else knowledge.log_seen(size)
        if at is None or case.spec.review_over(at):
            return True
    return False


def _seen_by_reviewers(case: Case, votes: Sequence[Approval]) -> list[Checkpoint | None]:
    """Give what each vote says its reviewer has seen; None for what is no checkpoint."""
    seen: list[Checkpoint | None] = []
    for vote in votes:
        try:
            seen.append(Checkpoint.parse_seen(vote.log_checkpoint, workspace_id=case.spec.workspace_id))
        except InvalidInputError:
            seen.append(None)
    return seen


def _parsed_roster(bundle: ApprovalBundle) -> Roster | None:
    try:
        return bundle.member_list
    except InvalidInputError:
        return None


def _dataset_reasons(use: DatasetUse, knowledge: Knowledge, columns: dict[tuple[str, int], tuple[str, ...]]) -> list[str]:
    key = (use.dataset_id, use.dataset_version)
    holding = knowledge.holdings.get(key)
    if holding is None:
        return ["dataset-unknown"]
    reasons = []
    if holding.manifest_digest != use.manifest_digest:
        reasons.append("manifest-mismatch")
    if use.dataset_id not in knowledge.shared:
        reasons.append("dataset-not-shared")
    # What members approved, without seeing it, is what the owner allows now: a later policy needs a new review.
    if holding.salted.commitment != use.policy_commitment:
        reasons.append("policy-changed")
    if not set(use.columns) <= set(holding.salted.policy.columns):
        reasons.append("columns-not-released")
    needed = rule_columns(holding.salted.policy.row_rule)
    columns[key] = tuple(dict.fromkeys([*columns.get(key, ()), *use.columns, *needed]))
    return reasons
