import pytest

from tests.support.sealed_run import SealedRuns


@pytest.fixture
def runs(enclave_runtime, tmp_path) -> SealedRuns:
    return SealedRuns(runtime=enclave_runtime, folder=tmp_path)
