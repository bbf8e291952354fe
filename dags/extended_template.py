# ruff: noqa: INP001 - a folder that Airflow loads, not a package
"""A worked example of a platform team's DAG template: a note before the gate, and one after the run.

Install it under the entry-point group `opaque_jobs.dag_templates` and name it in airflow.cfg, section [opaque_jobs], option
dag_template; or, as here, build the DAGs with it from a plain folder. Steps see ids only, like everything in Airflow.
"""

from collections.abc import Sequence

from airflow.providers.standard.operators.empty import EmptyOperator
from airflow.sdk import BaseOperator

from opaque_jobs.airflow.dags import DagFacts

__all__ = ["NotifyingTemplate"]


class NotifyingTemplate:
    """Announces a run before it waits, and after it has succeeded."""

    def before_gate(self, facts: DagFacts) -> Sequence[BaseOperator]:
        """Give the step that tells reviewers about a waiting run; put your notifier in its place."""
        return [EmptyOperator(task_id="announce", doc_md=f"Run of revision {facts.revision} asked for.")]

    def after_run(self, facts: DagFacts) -> Sequence[BaseOperator]:
        """Give the step that tells the author's organisation about a result."""
        return [EmptyOperator(task_id="result_is_there", doc_md=f"Result of revision {facts.revision} sealed.")]
