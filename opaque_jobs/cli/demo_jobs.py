"""The demo's three jobs: one in SQL, one in Python with a UDF, one without code. All join both owners' data."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from opaque_jobs.domain.inputs import Constraint, ConstraintKind, InputType, InputVariable
from opaque_jobs.domain.job import Code, Language, TeeKind
from opaque_jobs.domain.rerun_terms import RerunTerms
from opaque_jobs.services import SINGLE_RUN

__all__ = ["DIAGNOSES", "MEASUREMENTS", "SIMULATED", "SQL_INPUT", "DemoJob", "demo_jobs"]

MEASUREMENTS: Final = "measurements"
DIAGNOSES: Final = "diagnoses"
SIMULATED: Final = (TeeKind.SIMULATED,)
SQL_INPUT: Final = "min_patients"

_SQL: Final = """\
-- Share of malignant diagnoses by tumour size; groups with fewer than :min_patients patients are left out.
SELECT CAST(floor(m.`mean radius` / 4) * 4 AS INT) AS radius_from,
       count(*) AS patients,
       round(avg(CASE WHEN d.diagnosis = 'malignant' THEN 1.0 ELSE 0.0 END), 4) AS malignant_share,
       round(avg(m.`worst concavity`), 4) AS mean_worst_concavity
FROM measurements m
JOIN diagnoses d ON m.patient_id = d.patient_id
GROUP BY 1
HAVING count(*) >= :min_patients
ORDER BY 1
"""

_PYTHON: Final = '''\
"""How well a simple rule, written in Python, tells malignant tumours from benign ones."""

from pyspark.sql import functions as F
from pyspark.sql.types import StringType


def band(area, points):
    """Name the risk band of one patient."""
    if area > 880 or points > 0.16:
        return "high"
    return "middle" if area > 700 or points > 0.11 else "low"


def main(spark, inputs, params):
    patients = inputs["measurements"].join(inputs["diagnoses"], "patient_id")
    banded = patients.withColumn("band", F.udf(band, StringType())("worst area", "worst concave points"))
    malignant = F.avg((F.col("diagnosis") == "malignant").cast("double"))
    return (
        banded.groupBy("band")
        .agg(F.count("*").alias("patients"), F.round(malignant, 4).alias("malignant_share"))
        .orderBy("band")
    )
'''

_REGRESSION: Final[dict[str, Any]] = {
    "datasets": {"features": MEASUREMENTS, "labels": DIAGNOSES},
    "keys": [{"features": "patient_id", "labels": "patient_id"}],
    "features": ["mean radius", "mean texture", "mean smoothness", "mean concavity"],
    "label": "diagnosis",
    "positive": "malignant",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class DemoJob:
    """One job of the demo.

    Args:
        name: Its name.
        kind: For people.
        author: Name of the member who writes it.
        second: Name of the member who approves before the gate is shown.
        third: Name of the member whose approval opens the gate.
        code: For notebook jobs.
        template: For the no-code job.
        parameters: Of the template.
        columns: Alias -> columns, for notebook jobs.
        inputs: Input variables.
        rerun_terms: How often it may run.
    """

    name: str
    kind: str
    author: str
    second: str
    third: str
    code: Code | None
    template: str | None
    parameters: dict[str, Any]
    columns: dict[str, tuple[str, ...]]
    inputs: tuple[InputVariable, ...]
    rerun_terms: RerunTerms


def demo_jobs(now: datetime) -> tuple[DemoJob, ...]:
    """Give the jobs; reruns of the SQL job are asked for until 30 days from now."""
    threshold = InputVariable(
        name=SQL_INPUT,
        type=InputType.INTEGER,
        description="Smallest group that is shown",
        default=20,
        constraints=((Constraint(kind=ConstraintKind.MIN, value=5), Constraint(kind=ConstraintKind.MAX, value=200)),),
        sensitive=False,
    )
    reruns = RerunTerms(
        max_runs=5,
        not_before=None,
        not_after=(now + timedelta(days=30)).isoformat(timespec="seconds"),
        min_interval_s=0,
        schedule=None,
        variable_inputs=(SQL_INPUT,),
    )
    return (
        DemoJob(
            name="Share by tumour size",
            kind="SQL",
            author="anna",
            second="ben",
            third="lea",
            code=Code(language=Language.SQL, text=_SQL),
            template=None,
            parameters={},
            columns={
                MEASUREMENTS: ("patient_id", "mean radius", "worst concavity"),
                DIAGNOSES: ("patient_id", "diagnosis"),
            },
            inputs=(threshold,),
            rerun_terms=reruns,
        ),
        DemoJob(
            name="Rule of thumb",
            kind="PySpark with a Python UDF",
            author="lea",
            second="anna",
            third="ben",
            code=Code(language=Language.PYTHON, text=_PYTHON),
            template=None,
            parameters={},
            columns={
                MEASUREMENTS: ("patient_id", "worst area", "worst concave points"),
                DIAGNOSES: ("patient_id", "diagnosis"),
            },
            inputs=(),
            rerun_terms=SINGLE_RUN,
        ),
        DemoJob(
            name="Logistic regression",
            kind="no-code",
            author="anna",
            second="ben",
            third="lea",
            code=None,
            template="logistic-regression",
            parameters=_REGRESSION,
            columns={},
            inputs=(),
            rerun_terms=SINGLE_RUN,
        ),
    )
