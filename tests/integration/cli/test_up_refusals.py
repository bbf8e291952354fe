"""`opaque-jobs up` when it cannot: a clear reason, and nothing left running."""

import contextlib
import fcntl
import socket
from pathlib import Path

import pytest


@pytest.fixture
def installed(empty, runtime_settings, enclave_runtime):
    """A home with one organisation and the tests' runtime."""
    (empty.home / "runtime").symlink_to(runtime_settings.runtime_dir)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    empty.json("org", "create", "Hospital", "--broker-port", str(port))
    return empty


def up(line, *arguments):
    return line.fails(arguments[0], "up", "--passphrase-file", str(line.passphrase_file), *arguments[1:])


def still_running(home: Path) -> list[str]:
    """Give the processes that were started for this home."""
    found = []
    for entry in Path("/proc").iterdir():
        with contextlib.suppress(OSError):
            if entry.name.isdigit() and str(home).encode() in (entry / "environ").read_bytes():
                found.append((entry / "cmdline").read_text())
    return found


def test_up_while_another_up_holds_the_home_is_refused(installed):
    with (installed.home / "up.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert "up already" in up(installed, 7)
    assert still_running(installed.home) == []


def test_up_with_a_brokers_port_in_use_names_the_port(installed):
    port = int(installed.json("org", "show", "Hospital")["broker"].rpartition(":")[2])
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", port))
        taken.listen()
        assert str(port) in up(installed, 3)
    assert still_running(installed.home) == []


def test_up_with_airflows_port_in_use_names_the_port_and_ends_the_brokers(installed):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        assert port in up(installed, 3, "--port", port)
    assert still_running(installed.home) == []


def test_up_with_a_wrong_passphrase_starts_nothing(installed, tmp_path):
    wrong = tmp_path / "wrong"
    wrong.write_text("not the passphrase\n")
    wrong.chmod(0o600)
    message = installed.fails(8, "up", "--passphrase-file", f"Hospital={wrong}")
    assert "not the passphrase" not in message
    assert still_running(installed.home) == []


def test_up_with_a_passphrase_for_nobody_is_refused(installed):
    installed.fails(5, "up", "--passphrase-file", f"Nobody={installed.passphrase_file}")
