import pytest

from tests.support.broker_stage import Stage


@pytest.fixture
def stage(tmp_path) -> Stage:
    stage = Stage(tmp_path / "broker")
    stage.deposit()
    stage.share()
    return stage
