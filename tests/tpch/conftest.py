"""TPC-H at scale factor 0.01, generated and encrypted once per session."""

import pytest

from tests.tpch.sealed_tpch import SealedTpch, generate

SCALE_FACTOR = 0.01


@pytest.fixture(scope="session")
def tpch_data(tmp_path_factory):
    return generate(tmp_path_factory.mktemp("tpch"), scale_factor=SCALE_FACTOR)


@pytest.fixture(scope="session")
def sealed_tpch(enclave_runtime, tpch_data, tmp_path_factory) -> SealedTpch:
    world = SealedTpch(runtime=enclave_runtime, folder=tmp_path_factory.mktemp("sealed-tpch"), scale_factor=SCALE_FACTOR)
    world.encrypt(tpch_data)
    return world
