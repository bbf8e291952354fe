import pytest

from tests.support.sealed_run import SealedRuns


@pytest.fixture(scope="module")
def runs(enclave_runtime, tmp_path_factory) -> SealedRuns:
    return SealedRuns(runtime=enclave_runtime, folder=tmp_path_factory.mktemp("runs"))
