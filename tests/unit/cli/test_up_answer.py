"""What `opaque-jobs up` says when all is up: which hardware vouches for the enclaves here, if any."""

import pytest

from opaque_jobs.cli.up import tell
from opaque_jobs.settings import AttesterName


@pytest.mark.parametrize("attester", list(AttesterName))
def test_up_tells_the_attester_that_is_configured(capsys, attester):
    tell("http://127.0.0.1:8080", {}, [], attester)
    said = capsys.readouterr().err
    simulated = attester is AttesterName.SIMULATED
    assert ("SIMULATED" in said, f"evidence from {attester.value}" in said) == (simulated, not simulated)
