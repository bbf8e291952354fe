import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "support"))

from soft_token import WHY_NOT, soft_token
from vault_simulator import VaultSimulator


@pytest.fixture(scope="session")
def token() -> Iterator[dict[str, str]]:
    """Settings of a PKCS#11 key store with a token."""
    if WHY_NOT:
        pytest.skip(WHY_NOT)
    with soft_token() as where:
        yield where


@pytest.fixture
def vault() -> Iterator[VaultSimulator]:
    """A key server that answers."""
    with VaultSimulator() as simulator:
        yield simulator
