"""A broker whose signing key is on a PKCS#11 token: it is made there, and what the broker says is signed there."""

import json
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from soft_token import PIN, WHY_NOT, soft_token

from opaque_jobs.broker.config import key_path
from opaque_jobs.services import open_services
from opaque_jobs.standalone.broker_process import BrokerProcess, local_brokers

from .conftest import CommandLine, free_ports, write_private


@pytest.fixture
def on_token(tmp_path) -> Iterator[CommandLine]:
    """An organisation whose keys a token keeps, and its member; the passphrase of everything is the PIN."""
    if WHY_NOT:
        pytest.skip(WHY_NOT)
    (tmp_path / "home").mkdir(mode=0o700)
    line = CommandLine(home=tmp_path / "home", passphrase_file=write_private(tmp_path / "pin", PIN))
    with soft_token() as where:
        settings = [word for name, value in where.items() for word in ("--key-store-setting", f"{name}={value}")]
        port = str(free_ports(1)[0])
        line.json("org", "create", "Hospital", "--broker-port", port, "--key-store", "pkcs11", *settings)
        line.json("member", "create", "anna", "--org", "Hospital")
        yield line


@contextmanager
def broker(line: CommandLine, passphrase: str = PIN) -> Iterator[None]:
    opened = open_services(line.settings)
    (found,) = [BrokerProcess(line.settings, each) for each in local_brokers(opened)]
    opened.close()
    try:
        found.start(passphrase)
        found.wait_ready()
        yield
    finally:
        found.stop()


def test_broker_answers_with_what_its_token_signs_after_a_restart_too(on_token, tmp_path):
    organisation = on_token.json("org", "show", "Hospital")["id"]
    document = json.loads(key_path(on_token.settings.broker_dir(organisation)).read_bytes())
    assert set(document["held"]) == {"inside", "protected"}
    (tmp_path / "visits.csv").write_text("age\n1\n2\n")
    with broker(on_token):
        on_token.json("dataset", "encrypt", str(tmp_path / "visits.csv"), "--name", "visits", "--as", "anna")
        assert on_token.json("broker", "hold", "--as", "anna")["held"]
    with broker(on_token):
        assert not on_token.json("broker", "hold", "--lift", "--as", "anna")["held"]
