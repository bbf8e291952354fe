"""The parts of the logistic regression that need no engine: sums, the refusal of small data, standard errors."""

import importlib.util
from types import ModuleType

import numpy as np
import pyarrow as pa
import pytest

from opaque_jobs.templates import BUILT_IN


@pytest.fixture(scope="module")
def logic() -> ModuleType:
    spec = importlib.util.spec_from_file_location("logistic_regression", BUILT_IN / "logistic-regression" / "main.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def batch() -> pa.RecordBatch:
    random = np.random.default_rng(5)
    x = random.normal(3, 2, size=(400, 2))
    y = (random.random(400) < 0.4).astype(float)
    return pa.record_batch([pa.array(y), pa.array(x[:, 0]), pa.array(x[:, 1])], names=["y", "x0", "x1"])


def sums(logic: ModuleType, batches: list[pa.RecordBatch], beta: np.ndarray):
    made = list(logic.partial_sums(np.array([3.0, 3.0]), np.array([2.0, 2.0]), beta)(iter(batches)))
    return logic.Sums(np.array(made[0]["sums"][0].as_py()), len(beta))


def test_partial_sums_are_the_derivatives_of_the_loss(logic, batch):
    beta, width = np.array([0.2, -0.5, 1.0]), 1e-5
    found = sums(logic, [batch], beta)
    for i in range(3):
        step = np.eye(3)[i] * width
        above, below = sums(logic, [batch], beta + step), sums(logic, [batch], beta - step)
        assert found.gradient[i] == pytest.approx((above.loss - below.loss) / (2 * width), rel=1e-5)
        assert found.hessian[i] == pytest.approx((above.gradient - below.gradient) / (2 * width), rel=1e-5)


def test_partial_sums_do_not_depend_on_how_the_rows_are_cut(logic, batch):
    beta = np.array([0.1, 0.2, 0.3])
    whole, cut = sums(logic, [batch], beta), sums(logic, [batch.slice(0, 7), batch.slice(7, 0), batch.slice(7)], beta)
    assert whole.hessian == pytest.approx(cut.hessian)
    assert (whole.bins == cut.bins).all()
    assert whole.bins.sum() == batch.num_rows


def test_partial_sums_of_huge_predictions_stay_finite(logic, batch):
    found = sums(logic, [batch], np.array([1e6, 1e6, -1e6]))
    assert np.isfinite(found.loss)
    assert np.isfinite(found.hessian).all()


@pytest.mark.parametrize(("rows", "positives"), [(0, 0), (49, 25), (1000, 4), (1000, 996), (150, 75)])
def test_training_on_too_little_is_refused(logic, rows, positives):
    with pytest.raises(ValueError, match="too few"):
        logic.check_enough(rows, positives, 50, 30)


def test_training_on_enough_is_allowed(logic):
    logic.check_enough(540, 199, 50, 30)


def test_coefficients_in_own_units_predict_the_same(logic):
    beta, means, scales = np.array([0.3, 1.0, -2.0]), np.array([5.0, 7.0]), np.array([2.0, 0.5])
    rows = logic.coefficients(["(intercept)", "a", "b"], beta, np.eye(3), means, scales)
    raw = np.array([row[2] for row in rows])
    x = np.array([1.7, 9.1])
    assert raw[0] + raw[1:] @ x == pytest.approx(beta[0] + beta[1:] @ ((x - means) / scales))
    assert rows[1][3] == pytest.approx(0.5)
    assert rows[0][3] == pytest.approx(np.sqrt(1 + (5 / 2) ** 2 + (7 / 0.5) ** 2))
