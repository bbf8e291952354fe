import sys
from datetime import UTC, datetime
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "support"))

from members_desk import open_desk
from remote_desk import RemoteDesk


@pytest.fixture
def desk():
    with open_desk(RemoteDesk, now=datetime.now(UTC)) as made:
        yield made
        made.transport.close()
