"""A broker as a process of its own: starts, answers, forgets nothing when killed, says what is wrong."""

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from opaque_jobs.broker.config import set_up_broker
from opaque_jobs.broker.server import serve
from opaque_jobs.client.broker import BrokerClient
from opaque_jobs.errors import ConfigurationError
from tests.world import World

PASSPHRASE = "a passphrase"
PROGRAM = """
import os, sys
from pathlib import Path
from opaque_jobs.broker.server import serve
serve(Path(sys.argv[1]), passphrase=sys.stdin.readline().strip(), port=0, on_ready=lambda a: print(a, flush=True))
"""
ROOT = Path(__file__).parents[3]


class BrokerProcess:
    """Starts and ends one broker."""

    def __init__(self, folder: Path) -> None:
        environment = {**os.environ, "PYTHONPATH": str(ROOT)}
        self.process = subprocess.Popen(
            [sys.executable, "-c", PROGRAM, str(folder)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment,
        )  # fmt: skip
        self.process.stdin.write(PASSPHRASE + "\n")
        self.process.stdin.flush()
        self.address = self.process.stdout.readline().strip()

    def __enter__(self):
        return self

    def __exit__(self, *_error) -> None:
        self.process.kill()
        self.process.communicate()


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("process") / "org-1"
    world = World()
    set_up_broker(
        folder,
        organisation_id="org-1",
        passphrase=PASSPHRASE,
        port=0,
        simulated_keys=[world.development_key.public],
    )
    return folder


def healthy(client: BrokerClient) -> dict:
    deadline = time.monotonic() + 30
    while True:
        try:
            return client.health()
        except ConfigurationError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.1)


def test_broker_process_answers_and_ends_cleanly_on_sigterm(folder):
    with BrokerProcess(folder) as running, BrokerClient(running.address) as client:
        assert healthy(client)["organisation_id"] == "org-1"
        running.process.send_signal(signal.SIGTERM)
        _, errors = running.process.communicate(timeout=30)
        assert running.process.returncode in {0, -signal.SIGTERM}
        assert "Traceback" not in errors


def test_broker_process_listens_on_loopback_only(folder):
    with BrokerProcess(folder) as running:
        assert running.address.startswith("http://127.0.0.1:")


def test_passphrase_stands_nowhere_in_the_process(folder):
    with BrokerProcess(folder) as running, BrokerClient(running.address) as client:
        healthy(client)
        process = Path("/proc") / str(running.process.pid)
        assert PASSPHRASE.encode() not in process.joinpath("cmdline").read_bytes()
        assert PASSPHRASE.encode() not in process.joinpath("environ").read_bytes()


def test_port_in_use_gives_a_clear_error(folder):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(ConfigurationError, match="in use"):
            serve(folder, passphrase=PASSPHRASE, port=taken.getsockname()[1])
