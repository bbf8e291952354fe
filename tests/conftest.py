"""What tests of several areas share: the enclave's runtime, built once per machine."""

import os
from pathlib import Path

import pytest

from opaque_jobs.enclave.runtime import Runtime, ensure_runtime
from opaque_jobs.settings import Settings


@pytest.fixture(scope="session")
def runtime_settings() -> Settings:
    home = Path(os.environ.get("OPAQUE_JOBS_TEST_HOME") or Path.home() / ".cache" / "opaque-jobs-tests")
    cache = os.environ.get("OPAQUE_JOBS_ENGINE_CACHE") != "no"
    return Settings(home=home, database_url="sqlite://", sandbox="bubblewrap", engine_cache=cache)


@pytest.fixture(scope="session")
def enclave_runtime(runtime_settings) -> Runtime:
    return ensure_runtime(runtime_settings, lambda _step: None)
