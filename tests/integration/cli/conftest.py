"""A home with two organisations, their members and running brokers, used through the command line only."""

import contextlib
import json
import socket
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

sys.path.insert(0, str(Path(__file__).parents[2] / "support"))

from opaque_jobs.cli.main import build_app
from opaque_jobs.services import open_services
from opaque_jobs.settings import Settings
from opaque_jobs.standalone.broker_process import BrokerProcess, local_brokers

PASSPHRASE = "correct horse battery"


@dataclass
class CommandLine:
    """Runs commands in one home."""

    home: Path
    passphrase_file: Path

    def __call__(self, *arguments: str, passphrase: Path | None = None, **options: Any) -> Result:
        env = {"OPAQUE_JOBS_HOME": str(self.home), "OPAQUE_JOBS_PASSPHRASE_FILE": str(passphrase or self.passphrase_file)}
        return CliRunner().invoke(build_app(arguments), list(arguments), env=env, **options)

    def json(self, *arguments: str) -> Any:
        result = self(*arguments, "--json")
        assert result.exit_code == 0, result.output + result.stderr
        return json.loads(result.stdout)

    def accept(self, workspace: str, name: str, *more: str) -> Any:
        """Look at the member list that waits, then accept it."""
        self.json("workspace", "show", workspace, "--as", name)
        return self.json("workspace", "accept", workspace, "--as", name, *more)

    def vote(self, decision: str, job: str, name: str, *more: str) -> Any:
        """Look at the job under review, then approve or reject it."""
        self.json("review", "show", job, "--as", name)
        return self.json("review", decision, job, "--as", name, *more)

    def fails(self, code: int, *arguments: str, **options: Any) -> str:
        result = self(*arguments, **options)
        assert result.exit_code == code, result.output + result.stderr
        assert "Traceback" not in result.output + result.stderr
        return " ".join(result.stderr.split())

    @property
    def settings(self) -> Settings:
        return Settings.load({"OPAQUE_JOBS_HOME": str(self.home)})


def free_ports(count: int) -> list[int]:
    with contextlib.ExitStack() as probing:
        probes = [probing.enter_context(socket.socket()) for _ in range(count)]
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return [probe.getsockname()[1] for probe in probes]


def write_private(path: Path, text: str) -> Path:
    path.write_text(text)
    path.chmod(0o600)
    return path


def make_command_line(folder: Path) -> CommandLine:
    home = folder / "home"
    home.mkdir(mode=0o700)
    return CommandLine(home=home, passphrase_file=write_private(folder / "passphrase", PASSPHRASE))


@pytest.fixture
def empty(tmp_path) -> CommandLine:
    """A home with nothing in it."""
    return make_command_line(tmp_path)


@pytest.fixture(scope="module")
def cli(tmp_path_factory, enclave_runtime, runtime_settings) -> Iterator[CommandLine]:
    """Hospital (anna, ben) and Laboratory (lea), a workspace that all accepted, brokers running."""
    line = make_command_line(tmp_path_factory.mktemp("cli"))
    (line.home / "runtime").symlink_to(runtime_settings.runtime_dir)
    ports = iter(free_ports(2))
    for organisation, members in (("Hospital", ("anna", "ben")), ("Laboratory", ("lea",))):
        line.json("org", "create", organisation, "--broker-port", str(next(ports)))
        for member in members:
            line.json("member", "create", member, "--org", organisation)
    opened = open_services(line.settings)
    brokers = [BrokerProcess(line.settings, each) for each in local_brokers(opened)]
    opened.close()
    try:
        for broker in brokers:
            broker.start(PASSPHRASE)
        for broker in brokers:
            broker.wait_ready()
        line.json("workspace", "create", "Study", "--member", "ben", "--member", "lea", "--as", "anna")
        for member in ("anna", "ben", "lea"):
            line.accept("Study", member)
        yield line
    finally:
        for broker in brokers:
            broker.stop()
