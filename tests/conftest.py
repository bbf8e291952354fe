"""What tests of several areas share: the enclave's runtime, built once per machine, and how they are spread over processes."""

import os
import sys
from pathlib import Path

import pytest

from opaque_jobs.enclave.runtime import Runtime, ensure_runtime
from opaque_jobs.settings import Settings

if not hasattr(sys.modules["__main__"], "__file__"):
    # PySpark takes a main module without a file, which pytest-xdist's processes have, for its own doctests and ends the process.
    sys.modules["__main__"].__file__ = __file__


@pytest.fixture(scope="session")
def runtime_settings() -> Settings:
    home = Path(os.environ.get("OPAQUE_JOBS_TEST_HOME") or Path.home() / ".cache" / "opaque-jobs-tests")
    cache = os.environ.get("OPAQUE_JOBS_ENGINE_CACHE") != "no"
    return Settings(home=home, database_url="sqlite://", sandbox="bubblewrap", engine_cache=cache)


@pytest.fixture(scope="session")
def enclave_runtime(runtime_settings) -> Runtime:
    return ensure_runtime(runtime_settings, lambda _step: None)


# Folders whose tests share what is dear to set up (Airflow, encrypted TPC-H data, an installation) stay in one process together.
TOGETHER = ("e2e/airflow", "tpch", "security/bad_input")


@pytest.hookimpl(tryfirst=True)  # pytest-xdist reads the groups in a hook of the same name
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Keep each file's tests in one process, and let the longest, those with an Airflow, begin first."""
    items.sort(key=lambda item: item.get_closest_marker("airflow") is None)
    for item in items:
        place = item.path.relative_to(Path(__file__).parent)
        item.add_marker(pytest.mark.xdist_group(next((each for each in TOGETHER if place.is_relative_to(each)), str(place))))
