"""What an author edits: the content of a draft, before data set versions, members and runtime are pinned into a `JobSpec`."""

from dataclasses import dataclass, field
from typing import Final

from opaque_jobs.domain.ids import check_identifier, check_name, check_text
from opaque_jobs.domain.inputs import InputVariable, check_settable
from opaque_jobs.domain.job import Code, JobKind, Limits, TeeKind, TemplateUse, check_tee_kinds
from opaque_jobs.domain.output_policy import OutputPolicy
from opaque_jobs.domain.rerun_terms import RerunTerms
from opaque_jobs.domain.tee_policy import NO_HARDWARE, TeePolicies

__all__ = ["DEFAULT_LIMITS", "DEFAULT_OUTPUT_POLICY", "SINGLE_RUN", "DraftDataset", "JobDraft"]

DEFAULT_OUTPUT_POLICY: Final = OutputPolicy(max_rows=1_000_000, max_columns=1_000, max_bytes=1 << 30, preview_rows=100)
DEFAULT_LIMITS: Final = Limits(memory_bytes=3 << 30, cores=2, pids=1024, timeout_s=3600, scratch_bytes=1 << 30)
SINGLE_RUN: Final = RerunTerms(max_runs=1, not_before=None, not_after=None, min_interval_s=0, schedule=None, variable_inputs=())


@dataclass(frozen=True, slots=True, kw_only=True)
class DraftDataset:
    """A data set that the draft reads.

    Args:
        alias: Name in the code.
        dataset_id: The data set; it must be shared into the workspace.
        version: Exact version; None pins the current one at submission.
        columns: Columns to read; None means all.
    """

    alias: str
    dataset_id: str
    version: int | None = None
    columns: tuple[str, ...] | None = None

    def __post_init__(self) -> None:
        check_identifier(self.alias, what="data set")


@dataclass(frozen=True, slots=True, kw_only=True)
class JobDraft:
    """Content of a draft; `dataclasses.replace(view.draft, ...)` gives the next one.

    Args:
        kind: Notebook or no-code.
        tee_kinds: Accepted kinds of evidence. No default: whoever accepts `simulated` says so.
        tee_policies: What is demanded of each kind of hardware that is listed.
        experimental_hardware: The author accepts what evidence of hardware does not vouch for.
        name: Up to 50 characters.
        description: Up to 150 characters.
        code: What runs; for a no-code job the text that its template gives. None while unwritten.
        template: For no-code jobs.
        inputs: Input variables.
        datasets: What it reads.
        output_policy: What may leave.
        rerun_terms: How often it may run.
        spark_conf: Engine settings that authors may propose.
        limits: What a run may use.

    Raises:
        InvalidInputError: Name, description or a part of it is not valid.
    """

    kind: JobKind
    tee_kinds: tuple[TeeKind, ...]
    tee_policies: TeePolicies = NO_HARDWARE
    experimental_hardware: bool = False
    name: str = "New Job"
    description: str = ""
    code: Code | None = None
    template: TemplateUse | None = None
    inputs: tuple[InputVariable, ...] = ()
    datasets: tuple[DraftDataset, ...] = ()
    output_policy: OutputPolicy = DEFAULT_OUTPUT_POLICY
    rerun_terms: RerunTerms = SINGLE_RUN
    spark_conf: dict[str, str] = field(default_factory=dict)
    limits: Limits = DEFAULT_LIMITS

    def __post_init__(self) -> None:
        check_name(self.name, what="job")
        check_text(self.description, what="job's description", limit=150)
        check_settable(self.inputs, self.rerun_terms.variable_inputs)
        check_tee_kinds(self.tee_kinds, self.tee_policies, experimental_hardware=self.experimental_hardware)
