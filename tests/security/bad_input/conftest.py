"""One installation with running brokers, on which every command of these tests fails and must change nothing."""

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "support"))

from home_contents import contents
from installation import Installation

from opaque_jobs.client.log_heads import verified_head
from opaque_jobs.enclave.runtime import Runtime
from opaque_jobs.standalone.local_session import local_session

PASSPHRASE = "a passphrase of tests"
PLAIN = {
    "visits": "id,age,site\n1,30,north\n2,41,south\n3,52,north\n",
    "findings": "id,word\n1,yes\n2,no\n3,no\n",
}


@pytest.fixture(scope="session")
def installation(tmp_path_factory):
    folder = tmp_path_factory.mktemp("bad-input")
    runtime = Runtime(root=folder, measurement="sha256:" + "5e" * 32)
    passphrases = dict.fromkeys(("Hospital", "Laboratory", "anna", "ben", "lea"), PASSPHRASE)
    with Installation(folder / "home", runtime, passphrases) as installation:
        for owner, name in (("anna", "visits"), ("lea", "findings")):
            source = folder / f"{name}.csv"
            source.write_text(PLAIN[name])
            installation.add_data(owner, name, source)
        yield installation


@pytest.fixture
def untouched(installation):
    """Check after the test that the home holds what it held before.

    Whoever reads a log remembers its newest head, so that is remembered before: what then changes is the command's doing.
    """
    for member in installation.members.values():
        verified_head(local_session(installation.services, member), member, installation.workspace_id)
    before = contents(installation.home)
    assert any(name.endswith(".db") for name in before)
    yield
    assert contents(installation.home) == before


@pytest.fixture(scope="session")
def passphrase_file(tmp_path_factory):
    file = tmp_path_factory.mktemp("passphrase") / "passphrase"
    file.write_text(PASSPHRASE)
    file.chmod(0o600)
    return file


@pytest.fixture(scope="session")
def wrong_file(tmp_path_factory):
    file = tmp_path_factory.mktemp("passphrase") / "wrong"
    file.write_text("not the passphrase")
    file.chmod(0o600)
    return file
