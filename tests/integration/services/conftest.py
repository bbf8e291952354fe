import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "support"))

from consortium import Consortium, copy_consortium, open_consortium


@pytest.fixture(scope="session")
def enlisted(tmp_path_factory) -> Consortium:
    """Made once; tests work on copies."""
    consortium = open_consortium(tmp_path_factory.mktemp("enlisted") / "home")
    consortium.services.close()
    return consortium


@pytest.fixture(scope="session")
def settled(enlisted, tmp_path_factory) -> Consortium:
    """Made once; tests work on copies."""
    consortium = copy_consortium(enlisted, tmp_path_factory.mktemp("settled") / "home")
    consortium.settle_in()
    consortium.services.close()
    return consortium


@pytest.fixture
def cast(enlisted, tmp_path: Path):
    """Everybody enlisted, no workspace yet."""
    consortium = copy_consortium(enlisted, tmp_path / "home")
    yield consortium
    consortium.services.close()


@pytest.fixture
def study(settled, tmp_path: Path):
    """The workspace of anna, ben and lea, with two data sets."""
    consortium = copy_consortium(settled, tmp_path / "home")
    yield consortium
    consortium.services.close()
