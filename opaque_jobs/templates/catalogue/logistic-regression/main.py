"""Logistic regression by Newton's method; each step is one pass that brings back a gradient and a Hessian, never rows.

Source: Hastie, Tibshirani and Friedman, The Elements of Statistical Learning, section 4.4.1 (iteratively reweighted least
squares), with a ridge penalty on the standardised coefficients.
"""

import json
import math
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pyarrow as pa
from pyspark.sql import functions as F  # noqa: N812 - the name that everybody uses

TEMPLATE = "{}"
BINS = 1000


def main(spark: Any, inputs: Any, params: Any) -> Any:  # noqa: ARG001 - the form of every job
    """Train and give one row per coefficient and measure."""
    settings = json.loads(TEMPLATE)
    features = settings["features"]
    data = joined(spark, settings)
    means, scales, rows, positives = moments(data, len(features))
    check_enough(rows, positives, settings["min_rows"], len(features))
    penalty = np.diag([0.0, *[float(settings["penalty"])] * len(features)])
    beta = np.zeros(len(features) + 1)
    beta[0] = math.log(positives / (rows - positives))
    iterations, converged = 0, False
    sums = passed(data, means, scales, beta)
    while iterations < settings["max_iterations"] and not converged:
        beta, sums, step = improved(data, means, scales, beta, sums, penalty)
        iterations += 1
        converged = bool(np.abs(step).max() <= settings["tolerance"])
    covariance = np.linalg.inv(sums.hessian + penalty)
    names = ["(intercept)", *features]
    table = coefficients(names, beta, covariance, means, scales)
    table += measures(sums, rows, positives, iterations, converged=converged)
    schema = "kind string, name string, value double, standard_error double, standardised double, standardised_error double"
    return spark.createDataFrame(table, schema)


def quoted(name: str) -> str:
    """Give a column name as Spark reads it literally."""
    return "`" + name.replace("`", "``") + "`"


def joined(spark: Any, settings: dict[str, Any]) -> Any:
    """Give label `y` and features `x0`, `x1`, ... as doubles, without rows that lack one."""
    left = spark.table(settings["datasets"]["features"])
    right = spark.table(settings["datasets"]["labels"])
    keys = settings["keys"]
    xs = [F.col(quoted(name)).cast("double").alias(f"x{i}") for i, name in enumerate(settings["features"])]
    label = F.col(quoted(settings["label"]))
    y = F.when(label.cast("string") == F.lit(settings["positive"]), 1.0).when(label.isNotNull(), 0.0).alias("y")
    left = left.select(*[F.col(quoted(key["features"])).alias(f"k{i}") for i, key in enumerate(keys)], *xs)
    right = right.select(*[F.col(quoted(key["labels"])).alias(f"k{i}") for i, key in enumerate(keys)], y)
    kept = ["y", *[f"x{i}" for i in range(len(xs))]]
    return left.join(right, [f"k{i}" for i in range(len(keys))], "inner").select(*kept).dropna().where(finite(kept)).persist()


def finite(names: list[str]) -> Any:
    """Give the condition that no value is NaN or infinite."""
    condition = F.lit(True)
    for name in names:
        condition = condition & (F.abs(F.col(name)) < F.lit(1e300))
    return condition


def moments(data: Any, count: int) -> tuple[np.ndarray, np.ndarray, int, int]:
    """Give means, standard deviations (1 for a constant feature), rows and positive rows, in one round trip."""
    wanted = [F.count(F.lit(1)).alias("n"), F.sum("y").alias("p")]
    wanted += [F.avg(f"x{i}").alias(f"m{i}") for i in range(count)]
    wanted += [F.stddev_pop(f"x{i}").alias(f"s{i}") for i in range(count)]
    row = data.agg(*wanted).collect()[0]
    means = np.array([row[f"m{i}"] or 0.0 for i in range(count)])
    scales = np.array([row[f"s{i}"] or 0.0 for i in range(count)])
    scales[scales <= 1e-12 * np.maximum(1.0, np.abs(means))] = 1.0
    return means, scales, int(row["n"]), int(row["p"] or 0)


def check_enough(rows: int, positives: int, fewest: int, features: int) -> None:
    """Refuse to train on so little that coefficients would show single rows."""
    if rows < max(fewest, 5 * (features + 1)) or min(positives, rows - positives) < fewest / 10:
        raise ValueError("too few joined rows, or too few with one of the labels, for a model")


class Sums:
    """What one pass over the data brings back."""

    def __init__(self, flat: np.ndarray, width: int) -> None:
        self.loss = float(flat[0])
        self.correct = float(flat[1])
        self.gradient = flat[2 : 2 + width]
        self.hessian = flat[2 + width : 2 + width + width * width].reshape(width, width)
        self.bins = flat[2 + width + width * width :].reshape(2, BINS)


def partial_sums(means: np.ndarray, scales: np.ndarray, beta: np.ndarray) -> Callable[..., Iterator[pa.RecordBatch]]:
    """Give the function that sums up one partition."""
    bins = BINS

    def summed(batches: Iterator[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        width = len(beta)
        total = np.zeros(2 + width + width * width + 2 * bins)
        for batch in batches:
            if not batch.num_rows:
                continue
            columns = [column.to_numpy(zero_copy_only=False) for column in batch.columns]
            y = columns[0]
            x = np.column_stack([np.ones(len(y)), (np.column_stack(columns[1:]) - means) / scales])
            z = x @ beta
            p = 1.0 / (1.0 + np.exp(-np.clip(z, -500.0, 500.0)))
            total[0] += np.sum(np.logaddexp(0.0, z) - y * z)
            total[1] += np.sum((p >= 0.5) == (y > 0.5))
            total[2 : 2 + width] += x.T @ (p - y)
            total[2 + width : 2 + width + width * width] += ((x * (p * (1.0 - p))[:, None]).T @ x).ravel()
            place = np.minimum((p * bins).astype(np.int64), bins - 1) + bins * (y > 0.5)
            total[2 + width + width * width :] += np.bincount(place, minlength=2 * bins)
        yield pa.RecordBatch.from_arrays([pa.array([total.tolist()], pa.list_(pa.float64()))], ["sums"])

    return summed


def passed(data: Any, means: np.ndarray, scales: np.ndarray, beta: np.ndarray) -> Sums:
    """Make one pass over the data."""
    parts = data.mapInArrow(partial_sums(means, scales, beta), "sums array<double>").collect()
    return Sums(np.sum([np.array(part["sums"]) for part in parts], axis=0), len(beta))


def improved(
    data: Any, means: np.ndarray, scales: np.ndarray, beta: np.ndarray, sums: Sums, penalty: np.ndarray
) -> tuple[np.ndarray, Sums, np.ndarray]:
    """Make one Newton step, halved until the penalised loss does not grow."""
    step = np.linalg.solve(sums.hessian + penalty, sums.gradient + penalty @ beta)
    before = sums.loss + 0.5 * beta @ penalty @ beta
    for _ in range(20):
        candidate = beta - step
        found = passed(data, means, scales, candidate)
        if found.loss + 0.5 * candidate @ penalty @ candidate <= before + 1e-9 * abs(before) + 1e-12:
            return candidate, found, step
        step = step / 2.0
    return beta, sums, np.zeros_like(beta)


def coefficients(
    names: list[str], beta: np.ndarray, covariance: np.ndarray, means: np.ndarray, scales: np.ndarray
) -> list[tuple[Any, ...]]:
    """Give coefficients and standard errors, in the features' own units and standardised."""
    back = np.zeros((len(beta), len(beta)))
    back[0] = [1.0, *(-means / scales)]
    back[1:, 1:] = np.diag(1.0 / scales)
    raw, raw_errors = back @ beta, np.sqrt(np.diag(back @ covariance @ back.T))
    errors = np.sqrt(np.diag(covariance))
    columns = (raw, raw_errors, beta, errors)
    return [("coefficient", name, *(float(column[i]) for column in columns)) for i, name in enumerate(names)]


def measures(sums: Sums, rows: int, positives: int, iterations: int, *, converged: bool) -> list[tuple[Any, ...]]:
    """Give counts and quality measures; the area under the curve comes from 1,000 bins of the prediction."""
    share = positives / rows
    null = -(positives * math.log(share) + (rows - positives) * math.log(1.0 - share))
    negatives_in, positives_in = sums.bins
    below = np.cumsum(negatives_in) - negatives_in
    area = float(np.sum(positives_in * (below + 0.5 * negatives_in)) / (positives * (rows - positives)))
    found = {
        "rows": rows,
        "positive_rows": positives,
        "iterations": iterations,
        "converged": float(converged),
        "log_likelihood": -sums.loss,
        "null_log_likelihood": -null,
        "mcfadden_r2": 1.0 - sums.loss / null,
        "accuracy": sums.correct / rows,
        "auc": area,
    }
    return [("measure", name, float(value), None, None, None) for name, value in found.items()]
