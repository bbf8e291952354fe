"""Real public data, split between two organisations, for the demo.

Scikit-learn's bundled Wisconsin breast cancer data (Wolberg, Mangasarian, Street; UCI, CC BY 4.0): 569 patients. The hospital
has the measurements, the laboratory the diagnoses; each knows some patients that the other does not.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.csv as pacsv
import pyarrow.parquet as pq

from opaque_jobs.errors import ConfigurationError

__all__ = ["SHARED_PATIENTS", "DemoSources", "write_demo_sources"]

SHARED_PATIENTS: Final = 540
_HOSPITAL_ONLY: Final = 20
_SEED: Final = 1995


@dataclass(frozen=True, slots=True, kw_only=True)
class DemoSources:
    """The plain files, as the two organisations would have them.

    Args:
        measurements: CSV of the hospital: `patient_id` and 30 features.
        diagnoses: Parquet of the laboratory: `patient_id`, `diagnosis` (`malignant` or `benign`), `diagnosed_on`.
    """

    measurements: Path
    diagnoses: Path


def write_demo_sources(folder: Path) -> DemoSources:
    """Write both sources into a folder.

    Raises:
        ConfigurationError: Scikit-learn is not installed, or the disk refuses.
    """
    table = _patients()
    random = np.random.default_rng(_SEED)
    order = random.permutation(table.num_rows)
    hospital = np.sort(order[: SHARED_PATIENTS + _HOSPITAL_ONLY])
    laboratory = np.concatenate([order[:SHARED_PATIENTS], order[SHARED_PATIENTS + _HOSPITAL_ONLY :]])
    random.shuffle(laboratory)
    measurements = table.drop_columns(["diagnosis", "diagnosed_on"]).take(pa.array(hospital))
    diagnoses = table.select(["patient_id", "diagnosis", "diagnosed_on"]).take(pa.array(laboratory))
    sources = DemoSources(measurements=folder / "measurements.csv", diagnoses=folder / "diagnoses.parquet")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        pacsv.write_csv(measurements, sources.measurements)
        pq.write_table(diagnoses, sources.diagnoses)
    except OSError:
        raise ConfigurationError("the demo's data cannot be written", hint="free some space or choose another folder") from None
    return sources


def _patients() -> pa.Table:
    data = _loader()()
    random = np.random.default_rng(_SEED)
    rows = len(data.target)
    columns: dict[str, pa.Array] = {"patient_id": pa.array([f"P{number:05d}" for number in random.permutation(rows) + 10_000])}
    for index, name in enumerate(data.feature_names):
        columns[str(name)] = pa.array(data.data[:, index])
    columns["diagnosis"] = pa.array([str(data.target_names[value]) for value in data.target])
    days = random.integers(6_940, 9_131, size=rows)
    columns["diagnosed_on"] = pa.array(days.astype("datetime64[D]"))
    return pa.table(columns)


def _loader() -> Callable[[], Any]:
    try:
        from sklearn.datasets import load_breast_cancer  # noqa: PLC0415 - an extra that only the demo needs
    except ImportError:
        raise ConfigurationError("the demo's data is not installed", hint="pip install 'opaque-jobs[demo]'") from None
    return load_breast_cancer  # type: ignore[no-any-return]
