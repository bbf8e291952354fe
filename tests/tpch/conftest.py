"""TPC-H at scale factor 0.01, generated and encrypted once per session."""

import pytest

from tests.support.sealed_files import SealedFiles
from tests.tpch.sealed_tpch import encrypt_tables, generate

SCALE_FACTOR = 0.01


@pytest.fixture(scope="session")
def tpch_data(tmp_path_factory):
    return generate(tmp_path_factory.mktemp("tpch"), scale_factor=SCALE_FACTOR)


@pytest.fixture(scope="session")
def sealed_tpch(enclave_runtime, tpch_data, tmp_path_factory) -> SealedFiles:
    world = SealedFiles(runtime=enclave_runtime, folder=tmp_path_factory.mktemp("sealed-tpch"))
    encrypt_tables(world, tpch_data)
    return world
