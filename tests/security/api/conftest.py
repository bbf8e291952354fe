import pytest

from tests.support.consortium import Consortium, open_consortium


@pytest.fixture(scope="session")
def settled(tmp_path_factory) -> Consortium:
    """Made once; tests work on copies."""
    consortium = open_consortium(tmp_path_factory.mktemp("settled") / "home")
    consortium.settle_in()
    consortium.services.close()
    return consortium
