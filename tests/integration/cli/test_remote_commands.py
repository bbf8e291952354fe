"""The same commands from a member's own home: `OPAQUE_JOBS_COORDINATOR` names the coordinator, and nothing else is shared."""

import shutil
import socket
import threading
from dataclasses import dataclass

import pytest
import uvicorn
from typer.testing import CliRunner

from opaque_jobs.api.coordinator import coordinator_api, whole
from opaque_jobs.cli.main import build_app
from opaque_jobs.client.keys import member_key_path
from opaque_jobs.client.memory import memory_path
from opaque_jobs.services import open_services
from opaque_jobs.settings import Settings
from tests.integration.cli.conftest import CommandLine


@dataclass
class Member(CommandLine):
    """Runs commands in a home that holds one member's key and memory."""

    address: str = ""

    def __call__(self, *arguments, **options):
        env = {
            "OPAQUE_JOBS_HOME": str(self.home),
            "OPAQUE_JOBS_PASSPHRASE_FILE": str(self.passphrase_file),
            "OPAQUE_JOBS_COORDINATOR": self.address,
            "OPAQUE_JOBS_AS": self.home.name,
        }
        return CliRunner().invoke(build_app(arguments), list(arguments), env=env, **options)


@pytest.fixture(scope="module")
def address(cli):
    """The coordinator's API on loopback, over the services of a home whose members are elsewhere."""
    services = open_services(cli.settings)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    origin = f"http://127.0.0.1:{port}"
    server = uvicorn.Server(
        uvicorn.Config(whole(coordinator_api(services, origins=[origin])), host="127.0.0.1", port=port, log_config=None)
    )
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    while not server.started:
        thread.join(0.05)
    yield origin
    server.should_exit = True
    thread.join()
    services.close()


@pytest.fixture(scope="module")
def members(cli, address, tmp_path_factory):
    """Anna and lea, each with a copy of nothing but their own files."""
    found = {}
    for name in ("anna", "lea"):
        home = tmp_path_factory.mktemp("homes") / name
        home.mkdir(mode=0o700)
        own = Settings.load({"OPAQUE_JOBS_HOME": str(home)})
        own.keys_dir.mkdir(mode=0o700)
        for place in (member_key_path, memory_path):
            shutil.copy(place(cli.settings, name), place(own, name))
        found[name] = Member(home=home, passphrase_file=cli.passphrase_file, address=address)
    return found


def test_job_goes_from_data_to_approval_and_back_without_a_database(cli, members, tmp_path):
    anna, lea = members["anna"], members["lea"]
    (tmp_path / "visits.csv").write_text("id,ward\n1,north\n2,south\n")
    (tmp_path / "code.sql").write_text("SELECT count(*) AS n FROM far")
    anna.json("dataset", "encrypt", str(tmp_path / "visits.csv"), "--name", "far")
    anna.json("dataset", "test-data", "far", "--kind", "mock", "--rows", "10")
    anna.json("dataset", "share", "far", "Study")
    assert anna("dataset", "verify", "far").exit_code == 0
    assert [each["name"] for each in lea.json("dataset", "list", "--workspace", "Study")] == ["far"]
    job = anna.json("job", "create", "Study", "--name", "Far", "--sql", str(tmp_path / "code.sql"), "--dataset", "far",
                    "--tee", "simulated")["id"]  # fmt: skip
    anna.json("job", "submit", job, "--no-test", "nothing to see")
    assert "was not displayed to you" in lea.fails(7, "review", "approve", "Far")
    lea.json("review", "show", "Far")
    assert lea.json("review", "approve", "Far")["waiting_for"] == ["ben"]
    cli.vote("approve", job, "ben")
    assert anna.json("job", "show", "Far")["status"] == "accepted"
    assert lea.json("consent", "withdraw", "Far")["status"] == "withdrawn"
    assert [each["kind"] for each in cli.json("log", "show", "Study", "--as", "anna")].count("withdrawal") == 1
    for each in members.values():
        kept = {path.name for path in each.home.rglob("*") if path.is_file()}
        assert {name for name in kept if not name.endswith(".policies.db")} == {
            f"{each.home.name}.member.json", f"{each.home.name}.memory.db",
        }  # fmt: skip


def test_member_whose_key_is_not_in_the_home_is_told_so(members):
    assert "not in this home" in members["anna"].fails(4, "job", "list", "--as", "ben")


def test_coordinator_that_does_not_answer_or_is_plain_elsewhere_is_said(members):
    nobody = Member(home=members["anna"].home, passphrase_file=members["anna"].passphrase_file, address="http://127.0.0.1:1")
    assert "does not answer" in nobody.fails(3, "job", "list")
    nobody.address = "http://coordinator.example"
    assert "plain HTTP is for this machine only" in nobody.fails(5, "job", "list")
