import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "support"))

from consortium import Consortium, open_consortium


@pytest.fixture
def cast(tmp_path: Path):
    """Everybody enlisted, no workspace yet."""
    consortium = open_consortium(tmp_path / "home")
    yield consortium
    consortium.services.close()


@pytest.fixture
def study(cast: Consortium) -> Consortium:
    """The workspace of anna, ben and lea, with two data sets."""
    cast.settle_in()
    return cast
