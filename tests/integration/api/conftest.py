import pytest

from tests.support.consortium import Consortium, copy_consortium, open_consortium
from tests.support.coordinator_scene import CoordinatorScene


@pytest.fixture(scope="session")
def settled(tmp_path_factory) -> Consortium:
    """Made once; tests work on copies."""
    consortium = open_consortium(tmp_path_factory.mktemp("settled") / "home")
    consortium.settle_in()
    consortium.services.close()
    return consortium


@pytest.fixture
def scene(settled, tmp_path):
    study = copy_consortium(settled, tmp_path / "home")
    made = CoordinatorScene(study)
    yield made
    made.close()
    study.services.close()
