"""Jobs, and the one document that members approve.

`JobSpec` holds everything that can change what a job does or who sees what. Its digest is *the* job digest: signed by every
member, checked by every broker and by the agent, printed in the receipt.
"""

import re
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any, Final

from opaque_jobs.domain.canonical import digest
from opaque_jobs.domain.document import from_bytes, to_bytes, to_json
from opaque_jobs.domain.ids import check_identifier, check_name, check_text
from opaque_jobs.domain.inputs import InputType, InputVariable, check_settable, parse_datetime
from opaque_jobs.domain.output_policy import OutputPolicy
from opaque_jobs.domain.rerun_terms import RerunTerms
from opaque_jobs.domain.tee_policy import TeePolicies
from opaque_jobs.errors import InvalidInputError

__all__ = [
    "ALLOWED_SPARK_CONF",
    "Code",
    "DatasetUse",
    "JobKind",
    "JobSpec",
    "Language",
    "Limits",
    "Recipient",
    "TeeKind",
    "TemplateUse",
    "check_tee_kinds",
    "parse_job_spec",
]

MAX_CODE: Final = 1_000_000
_DIGEST: Final = re.compile(r"sha256:[0-9a-f]{64}")
_MAX_PATTERNS: Final = 32
"""Each takes a broker linear, but not no, time."""
ALLOWED_SPARK_CONF: Final = frozenset(
    {
        "spark.sql.shuffle.partitions",
        "spark.sql.autoBroadcastJoinThreshold",
        "spark.sql.session.timeZone",
        "spark.sql.ansi.enabled",
        "spark.sql.adaptive.enabled",
        "spark.sql.files.maxPartitionBytes",
    }
)
"""Engine settings that an author may propose; all others are the agent's."""


class JobKind(StrEnum):
    """Free code, or a template with parameters."""

    NOTEBOOK = "notebook"
    NO_CODE = "no_code"


class Language(StrEnum):
    """Language of the code."""

    SQL = "sql"
    PYTHON = "python"


class TeeKind(StrEnum):
    """Kind of evidence, and the trust label of what came of it."""

    SIMULATED = "simulated"
    SEV_SNP = "sev-snp"
    TDX = "tdx"
    NITRO = "nitro"


def check_tee_kinds(kinds: tuple[TeeKind, ...], policies: TeePolicies, *, experimental_hardware: bool) -> None:
    """Check that every kind of hardware that is listed has its policy, and that no policy is there for nothing.

    Raises:
        InvalidInputError: One is missing, too many, or a kind is listed twice; `simulated` stands beside hardware; or the job
            accepts hardware without saying that this is experimental, or says so without any.
    """
    given = {TeeKind.SEV_SNP: policies.sev_snp, TeeKind.TDX: policies.tdx, TeeKind.NITRO: policies.nitro}
    with_policy = {kind for kind, policy in given.items() if policy is not None}
    if len(set(kinds)) != len(kinds) or set(kinds) - {TeeKind.SIMULATED} != with_policy:
        raise InvalidInputError(
            "the kinds of hardware that the job accepts are not those that it has a policy for",
            hint="list each kind once with --tee, and give the policy of each with --tee-policy; simulated has none",
        )
    if with_policy and TeeKind.SIMULATED in kinds:
        raise InvalidInputError(
            "the job accepts simulated enclaves beside hardware: whoever runs it could choose the one that protects nothing",
            hint="list --tee simulated alone, or hardware alone; draft a second job for the other",
        )
    if experimental_hardware != bool(with_policy):
        raise InvalidInputError(
            "a job accepts hardware if and only if it says that this is experimental",
            hint="add --experimental-hardware to a job on hardware, once you know what is not attested there (see the README); "
            "leave it out for simulated",
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Code:
    """What runs. For a no-code job the text that its template gave for the parameters."""

    language: Language
    text: str

    def __post_init__(self) -> None:
        check_text(self.text, what="job's code", limit=MAX_CODE)
        if not self.text.strip():
            raise InvalidInputError("the job has no code", hint="give a file with --sql or --python, or a template")


@dataclass(frozen=True, slots=True, kw_only=True)
class TemplateUse:
    """A no-code job's template.

    Args:
        name: Its name.
        version: Its version.
        digest: Digest of its whole definition.
        parameters: As filled in, valid by its JSON Schema.
    """

    name: str
    version: str
    digest: str
    parameters: dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class DatasetUse:
    """One version of a data set that the job reads.

    Args:
        alias: Name in the code.
        dataset_id: The data set.
        dataset_version: The exact version.
        manifest_digest: Digest of its manifest.
        schema_digest: Digest of its columns' names and types.
        policy_commitment: Commitment of its owner to the columns and rows that are released of it.
        organisation_id: Its owner, whose broker must release the keys.
        columns: Columns that the job may read.
    """

    alias: str
    dataset_id: str
    dataset_version: int
    manifest_digest: str
    schema_digest: str
    policy_commitment: str
    organisation_id: str
    columns: tuple[str, ...]

    def __post_init__(self) -> None:
        check_identifier(self.alias, what="data set")
        digests = (self.manifest_digest, self.schema_digest, self.policy_commitment)
        if not self.columns or len(set(self.columns)) != len(self.columns) or not all(map(_DIGEST.fullmatch, digests)):
            raise InvalidInputError("a data set of the job names no columns, or one twice", hint="list each column once")


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipient:
    """An organisation that can open the result, with the key that it is sealed to."""

    organisation_id: str
    sealing_key: str
    sealing_key_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What a run may use.

    Args:
        memory_bytes: Memory of the whole sandbox.
        cores: Threads of the engine.
        pids: Processes and threads.
        timeout_s: Wall time in seconds.
        scratch_bytes: Scratch space (in memory, encrypted spill).
    """

    memory_bytes: int
    cores: int
    pids: int
    timeout_s: int
    scratch_bytes: int

    def __post_init__(self) -> None:
        if min(self.cores, self.timeout_s, self.scratch_bytes) < 1 or self.memory_bytes < 1 << 30 or self.pids < 256:
            raise InvalidInputError(
                "the job's limits are too small to start Spark",
                hint="at least 1 GiB of memory, 256 processes, 1 core, 1 second",
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class JobSpec:
    """Everything that members approve.

    Args:
        v: Format version, 1.
        workspace_id: The workspace.
        workspace_genesis: Digest of its first roster.
        epoch: Membership epoch in which it was submitted.
        roster_digest: Digest of that epoch's roster.
        job_id: The job.
        revision: 1, 2, ...
        author_id: Member who wrote it.
        name: Up to 50 characters.
        description: Up to 150 characters.
        kind: Notebook or no-code.
        code: What runs.
        template: For no-code jobs only.
        inputs: Input variables.
        datasets: What it reads; at least one.
        output_policy: What may leave.
        recipients: Who can open the result: the author's organisation.
        rerun_terms: How often it may run.
        measurement: Digest of the enclave's runtime that must run it.
        tee_kinds: Accepted kinds of evidence; `simulated` only if listed.
        tee_policies: What is demanded of each kind of hardware that is listed.
        experimental_hardware: Its author accepts what evidence of hardware does not vouch for, see `attested`.
        spark_conf: Engine settings, keys of `ALLOWED_SPARK_CONF`.
        limits: What a run may use.
        review_until: UTC, RFC 3339, or None: an approval that comes later does not count.

    Raises:
        InvalidInputError: An invariant does not hold.
    """

    v: int
    workspace_id: str
    workspace_genesis: str
    epoch: int
    roster_digest: str
    job_id: str
    revision: int
    author_id: str
    name: str
    description: str
    kind: JobKind
    code: Code
    template: TemplateUse | None
    inputs: tuple[InputVariable, ...]
    datasets: tuple[DatasetUse, ...]
    output_policy: OutputPolicy
    recipients: tuple[Recipient, ...]
    rerun_terms: RerunTerms
    measurement: str
    tee_kinds: tuple[TeeKind, ...]
    tee_policies: TeePolicies
    experimental_hardware: bool = False
    spark_conf: dict[str, str]
    limits: Limits
    review_until: str | None = None

    def __post_init__(self) -> None:
        check_name(self.name, what="job")
        check_text(self.description, what="job's description", limit=150)
        if self.v != 1 or self.epoch < 1 or self.revision < 1:
            raise InvalidInputError("the job's specification has an unknown version", hint="was it written by another version?")
        if (self.template is None) != (self.kind is JobKind.NOTEBOOK):
            raise InvalidInputError("a no-code job has a template, a notebook job has none", hint="choose one of them")
        self._check_datasets()
        self._check_inputs()
        if not self.recipients or not self.tee_kinds or not _DIGEST.fullmatch(self.measurement):
            raise InvalidInputError(
                "the job names no recipient, no accepted TEE kind, or no runtime",
                hint="see 'opaque-jobs runtime build'",
            )
        check_tee_kinds(self.tee_kinds, self.tee_policies, experimental_hardware=self.experimental_hardware)
        self._check_deadline()
        if not set(self.spark_conf) <= ALLOWED_SPARK_CONF:
            raise InvalidInputError(
                "the job sets an engine setting that jobs may not set",
                hint="allowed: " + ", ".join(sorted(ALLOWED_SPARK_CONF)),
            )
        if any("${" in value for value in self.spark_conf.values()):
            raise InvalidInputError(
                "an engine setting of the job refers to something else",
                hint="write the value itself: Spark would put in other settings or its environment",
            )

    def _check_deadline(self) -> None:
        if self.review_until is None:
            return
        try:
            parse_datetime(self.review_until)
        except ValueError:
            raise InvalidInputError("the review's deadline is not a time", hint="write it as 2026-12-31T00:00:00+00:00") from None

    def _check_datasets(self) -> None:
        aliases = [use.alias.lower() for use in self.datasets]
        if not aliases:
            raise InvalidInputError(
                "the job reads no data set", hint="name one: 'opaque-jobs job create WORKSPACE --replace JOB --dataset NAME ...'"
            )
        if len(set(aliases)) != len(aliases):
            raise InvalidInputError(
                "a job reads each data set under a name of its own", hint="names that differ only in case clash"
            )
        versions = [(use.dataset_id, use.dataset_version) for use in self.datasets]
        if len(set(versions)) != len(versions):
            raise InvalidInputError(
                "a job names the same version of a data set twice",
                hint="use it under one name; a broker releases its keys once per run",
            )
        followed = {use.dataset_id for use in self.datasets if use.alias in self.rerun_terms.follows}
        if not set(self.rerun_terms.follows) <= set(self.aliases) or any(
            sum(use.dataset_id == each for use in self.datasets) > 1 for each in followed
        ):
            raise InvalidInputError(
                "a data set that the job follows is not one that it reads, or is read twice", hint="see --follow and --dataset"
            )

    def _check_inputs(self) -> None:
        names = [variable.name for variable in self.inputs]
        if len(set(names)) != len(names):
            raise InvalidInputError("two input variables have the same name", hint="rename one")
        if sum(variable.patterns for variable in self.inputs) > _MAX_PATTERNS:
            raise InvalidInputError(
                "the input variables have too many patterns", hint=f"a job has at most {_MAX_PATTERNS}", limit=_MAX_PATTERNS
            )
        for variable in self.inputs:
            if (
                variable.type is InputType.DATASET
                and variable.default is not None
                and variable.default not in {use.alias for use in self.datasets}
            ):
                raise InvalidInputError(
                    f"input variable '{variable.name}' names a data set that the job does not declare",
                    hint="use one of its data set names",
                )
        settable = set(self.rerun_terms.variable_inputs)
        check_settable(self.inputs, settable)
        if not settable <= set(names):
            raise InvalidInputError("the rerun terms name an unknown input variable", hint="see the job's input variables")
        unattended = self.rerun_terms.schedule is not None or self.rerun_terms.on_refresh
        for variable in self.inputs:
            if variable.default is None and unattended:
                raise InvalidInputError(
                    f"input variable '{variable.name}' has no default, and nobody gives one when a schedule starts a run",
                    hint="give it a default",
                )
            if variable.default is None and variable.name not in settable:
                raise InvalidInputError(
                    f"input variable '{variable.name}' has no default and may not be set",
                    hint="list it in the rerun terms",
                )

    def to_bytes(self) -> bytes:
        """Give the canonical bytes: exactly these travel to brokers and agent."""
        return to_bytes(self)

    def review_over(self, at: datetime) -> bool:
        """Tell whether the review's deadline has passed at a time."""
        return self.review_until is not None and at > parse_datetime(self.review_until)

    @property
    def digest(self) -> str:
        """The job digest."""
        return digest(self.to_bytes())

    @property
    def code_digest(self) -> str:
        """Digest of language and code text."""
        return digest(to_bytes(self.code))

    @property
    def output_policy_digest(self) -> str:
        """Digest of the output policy."""
        return self.output_policy.digest

    @property
    def aliases(self) -> tuple[str, ...]:
        """Names of the data sets in the code."""
        return tuple(use.alias for use in self.datasets)

    def to_json(self) -> Any:
        """Give the JSON form, for people."""
        return to_json(self)


def parse_job_spec(data: bytes) -> JobSpec:
    """Parse untrusted bytes.

    Raises:
        InvalidInputError: Not a job specification.
    """
    return from_bytes(JobSpec, data, what="job specification")
