"""The DAG factory: one DAG for a job revision, the same bytes at every parse.

The shape that members rely on is fixed: `wait_for_approvals`, then `run_in_enclave`, nothing between them. A platform team adds
steps before and after through a DAG template. Nothing here protects data: the broker's and the enclave's checks do.
"""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from functools import cache
from importlib.metadata import entry_points
from typing import Any, Final, Protocol

from airflow.configuration import conf
from airflow.sdk import DAG, Asset, AssetAny, BaseOperator, Param, get_parsing_context
from airflow.sdk.bases.operator import chain
from airflow.sdk.definitions.asset import BaseAsset

from opaque_jobs.airflow.access import services
from opaque_jobs.airflow.gate import ApprovalSensor
from opaque_jobs.airflow.ids import GATE_TASK, RUN_TASK, asset_name, asset_uri, dag_id_of
from opaque_jobs.airflow.operator import EnclaveSparkOperator
from opaque_jobs.airflow.stubs import deployable_stubs
from opaque_jobs.airflow.timetable import ApprovedCron
from opaque_jobs.domain.inputs import InputVariable, json_schema
from opaque_jobs.domain.reasons import in_words
from opaque_jobs.errors import ConfigurationError, OpaqueJobsError
from opaque_jobs.protocol.views import DagFacts

__all__ = ["DagTemplate", "PlainTemplate", "build_all", "build_dag", "tombstone"]

_LONG_AGO: Final = datetime(2024, 1, 1, tzinfo=UTC)
_MARGIN_S: Final = 300
"""How much longer than the approved wall time Airflow waits: the enclave ends itself first."""


class DagTemplate(Protocol):
    """The shape of generated DAGs, extended by a platform team (entry-point group `opaque_jobs.dag_templates`).

    Both methods are called inside the DAG's context at every parse: same facts, same steps, no clock and no network.
    """

    def before_gate(self, facts: DagFacts) -> Sequence[BaseOperator]:
        """Give steps that run, one after the other, before the run waits for approvals."""
        ...

    def after_run(self, facts: DagFacts) -> Sequence[BaseOperator]:
        """Give steps that run, one after the other, once the run has succeeded."""
        ...


class PlainTemplate:
    """No further steps."""

    def before_gate(self, facts: DagFacts) -> Sequence[BaseOperator]:  # noqa: ARG002 - the protocol's form
        """Give no steps."""
        return ()

    def after_run(self, facts: DagFacts) -> Sequence[BaseOperator]:  # noqa: ARG002 - the protocol's form
        """Give no steps."""
        return ()


@cache
def _template() -> DagTemplate:
    """Give the template named by Airflow's option `[opaque_jobs] dag_template`.

    Raises:
        ConfigurationError: No such template is installed.
    """
    name = conf.get("opaque_jobs", "dag_template", fallback="plain")
    if name == "plain":
        return PlainTemplate()
    for found in entry_points(group="opaque_jobs.dag_templates", name=name):
        template: DagTemplate = found.load()()
        return template
    raise ConfigurationError(f"the DAG template '{name}' is not installed", hint="see [opaque_jobs] dag_template in airflow.cfg")


def _param(variable: InputVariable) -> Param:
    schema = json_schema(variable) | {"title": variable.name, "description": variable.description or None}
    if variable.default is None:
        return Param(**{name: value for name, value in schema.items() if value is not None})
    return Param(variable.default, **{name: value for name, value in schema.items() if value is not None})


def build_dag(*, job_id: str, revision: int, template: DagTemplate | None = None) -> DAG:
    """Build the DAG of one job revision.

    Args:
        job_id: The job.
        revision: Its revision.
        template: Shape; None takes the configured one.

    Raises:
        OpaqueJobsError: The job is not known, or its DAG cannot be built.
    """
    facts = services().deployments.dag_facts(job_id, revision)
    shape = template or _template()
    with DAG(
        dag_id=dag_id_of(job_id),
        dag_display_name=facts.display_name,
        description=_description(facts),
        schedule=_schedule(facts),
        start_date=facts.not_before or _LONG_AGO,
        end_date=facts.not_after,
        catchup=False,
        max_active_runs=1,
        tags=facts.tags,
        params={variable.name: _param(variable) for variable in facts.inputs},
        default_args={"owner": "opaque-jobs"},
        doc_md=_doc(facts),
        is_paused_upon_creation=False,
    ) as dag:
        gate = ApprovalSensor(task_id=GATE_TASK, job_id=job_id, revision=revision)
        run = EnclaveSparkOperator(
            task_id=RUN_TASK,
            job_id=job_id,
            revision=revision,
            job_digest=facts.digest,
            execution_timeout=timedelta(seconds=facts.timeout_s + _MARGIN_S),
        )
        chain(*shape.before_gate(facts), gate, run, *shape.after_run(facts))
    if run.upstream_task_ids != {GATE_TASK} or run.trigger_rule != "all_success":
        raise ConfigurationError(
            "the DAG template puts something beside the approval gate", hint="add steps before the gate or after the run"
        )
    if _replaced(gate) or _replaced(run):
        raise ConfigurationError(
            "the DAG template replaces what the approval gate or the enclave's task does", hint="add steps of your own instead"
        )
    return dag


def _replaced(task: BaseOperator) -> bool:
    """Tell whether a task no longer does what its class says."""
    return any(callable(getattr(type(task), name, None)) for name in vars(task))


def _schedule(facts: DagFacts) -> ApprovedCron | BaseAsset | None:
    """Give what starts runs of an accepted revision: a cron expression, or a refresh of any data set that it follows.

    Nothing does once its lease is over: each run would be refused.
    """
    if facts.accepted_at is None or facts.lease_over is not None:
        return None
    if facts.runs_on_refresh_of:
        return AssetAny(*(Asset(name=asset_name(each), uri=asset_uri(each)) for each in facts.runs_on_refresh_of))
    return ApprovedCron(facts.schedule, after=facts.accepted_at) if facts.schedule else None


def _description(facts: DagFacts) -> str:
    over = f"no further run: {in_words(facts.lease_over)}" if facts.lease_over else ""
    return "; ".join(filter(None, [over, facts.description, f"by {facts.author}, revision {facts.revision}"]))


def _doc(facts: DagFacts) -> str:
    until = f", until {facts.not_after.isoformat()}" if facts.not_after else ""
    runs = f"Members approve {facts.max_runs} run{'s' if facts.max_runs > 1 else ''}{until}."
    if facts.lease_over:
        runs = (
            f"**No further run: {in_words(facts.lease_over)}.** A triggered run fails, and nothing is scheduled; "
            f"the author can ask for more with `opaque-jobs job revise {facts.job_id}`."
        )
    return _DOC.format(job_id=facts.job_id, revision=facts.revision, digest=facts.digest, runs=runs)


_DOC: Final = """Job `{job_id}`, revision {revision}, digest `{digest}`.

{runs} See what the job does, and which runs are left, with `opaque-jobs job show {job_id}`.
"""


def tombstone(job_id: str) -> DAG:
    """Give a DAG that stands for a job whose DAG cannot be built, and cannot be run."""
    return DAG(
        dag_id=dag_id_of(job_id),
        schedule=None,
        start_date=_LONG_AGO,
        tags=["opaque-jobs", "cannot-be-built"],
        description="This job's DAG cannot be built; see 'opaque-jobs job show'.",
        is_paused_upon_creation=True,
    )


def build_all(register: Callable[[str, DAG], Any], *, template: DagTemplate | None = None) -> None:
    """Build the DAGs of all jobs, for an Airflow that loads a plain DAG folder.

    When Airflow parses for one task, only that task's DAG is built. A job that cannot be built becomes a tombstone, alone.

    Args:
        register: Called with DAG id and DAG; in a DAG file `globals().__setitem__`.
        template: Shape; None takes the configured one.
    """
    wanted = get_parsing_context().dag_id
    for stub in deployable_stubs(services().deployments.deployable()):
        dag_id = dag_id_of(stub.job_id)
        if wanted not in (None, dag_id):
            continue
        try:
            dag = build_dag(job_id=stub.job_id, revision=stub.revision, template=template)
        except OpaqueJobsError:
            dag = tombstone(stub.job_id)
        register(dag_id, dag)
