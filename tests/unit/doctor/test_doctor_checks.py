"""Doctor on machines of every kind: each finding has words, and each fault a mend."""

import socket
from pathlib import Path

import pytest

from opaque_jobs.enclave import doctor
from opaque_jobs.enclave.doctor import CheckState, Machine, run_checks
from opaque_jobs.settings import Settings

MEMINFO = "MemTotal:       16000000 kB\nMemAvailable:   {} kB\n"


def make_machine(root: Path, **files: str) -> Machine:
    defaults = {"proc/meminfo": MEMINFO.format(8 << 20), "proc/swaps": "Filename Type Size Used Priority"}
    for name, text in (defaults | files).items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return Machine(root=root, path="/nowhere", free_bytes=lambda _folder: 1 << 40)


def find(checks, name):
    (check,) = [one for one in checks if one.name == name]
    return check


@pytest.fixture
def settings(tmp_path):
    return Settings(home=tmp_path / "home", database_url="sqlite://", sandbox="bubblewrap")


def test_doctor_on_this_machine_gives_every_fault_a_mend(settings):
    checks = run_checks(settings)
    assert all(check.mend for check in checks if check.state is not CheckState.OK)
    assert all(check.what for check in checks)
    assert find(checks, "Python").state is CheckState.OK
    assert not settings.home.exists()


@pytest.mark.parametrize(
    ("file", "text", "name", "state", "words"),
    [
        ("proc/sys/user/max_user_namespaces", "0", "User namespaces", "fail", "user.max_user_namespaces"),
        ("proc/sys/kernel/unprivileged_userns_clone", "0", "User namespaces", "fail", "unprivileged_userns_clone"),
        ("proc/sys/kernel/apparmor_restrict_unprivileged_userns", "1", "User namespaces", "warn", "apparmor"),
        ("proc/sys/kernel/unprivileged_userns_clone", "1", "User namespaces", "ok", ""),
        ("proc/meminfo", MEMINFO.format(1 << 20), "Memory", "fail", "2 GiB"),
        ("proc/meminfo", MEMINFO.format(3 << 20), "Memory", "warn", "4 GiB"),
        ("proc/swaps", "Filename Type\n/dev/sda2 partition 100 0 -2", "Swap", "warn", "swapoff"),
        ("sys/kernel/config/none", "", "Hardware attestation", "warn", "SEV-SNP"),
        ("dev/null", "", "Hardware attestation", "warn", "SEV-SNP"),
    ],
)
def test_doctor_judges_what_it_sees(tmp_path, settings, file, text, name, state, words):  # noqa: PLR0917 - one per column
    check = find(run_checks(settings, machine=make_machine(tmp_path / "machine", **{file: text})), name)
    assert check.state == state
    assert words in check.mend


TSM = "sys/kernel/config/tsm/report/none"
HARDWARE = [
    (("dev/sev-guest", TSM), "ok", "offers AMD SEV-SNP through configfs-tsm: OPAQUE_JOBS_ATTESTER=tsm", ""),
    (("dev/tdx_guest", TSM), "ok", "offers Intel TDX through configfs-tsm", ""),
    (("dev/tdx-guest", TSM), "ok", "offers Intel TDX through configfs-tsm", ""),
    ((TSM,), "ok", "offers configfs-tsm", ""),
    (("dev/sev-guest",), "warn", "offers AMD SEV-SNP, but not the kernel's folder", "mount -t configfs"),
    (("dev/tdx_guest",), "warn", "offers Intel TDX, but not the kernel's folder", "OPAQUE_JOBS_ATTESTER=coco"),
    (("dev/nsm",), "warn", "offers AWS Nitro, whose documents are verified here, but not collected", "SEV-SNP"),
    (("dev/null", "sys/kernel/config/none"), "warn", "none here: runs use simulated attestation", "SEV-SNP"),
]


@pytest.mark.parametrize(("files", "state", "what", "mend"), HARDWARE)
def test_doctor_tells_what_hardware_attests_here_and_how_it_is_used(tmp_path, settings, files, state, what, mend):  # noqa: PLR0917 - one per column
    machine = make_machine(tmp_path / "machine", **dict.fromkeys(files, ""))
    check = find(run_checks(settings, machine=machine), "Hardware attestation")
    assert (check.state, what in check.what, mend in check.mend) == (state, True, True)


def test_doctor_misses_bubblewrap(tmp_path, settings):
    check = find(run_checks(settings, machine=make_machine(tmp_path / "machine")), "bubblewrap")
    assert (check.state, "apt install bubblewrap" in check.mend) == (CheckState.FAIL, True)


def test_doctor_refuses_an_old_bubblewrap(tmp_path, settings):
    program = tmp_path / "bin" / "bwrap"
    program.parent.mkdir()
    program.write_text("#!/bin/sh\necho bubblewrap 0.4.1\n")
    program.chmod(0o755)
    machine = Machine(path=str(program.parent))
    assert find(run_checks(settings, machine=machine), "bubblewrap").state is CheckState.FAIL


def test_doctor_sees_a_full_disk(settings):
    check = find(run_checks(settings, machine=Machine(free_bytes=lambda _folder: 1 << 20)), "Disk")
    assert check.state is CheckState.WARN


def test_doctor_sees_a_port_in_use(settings):
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        assert find(run_checks(settings, ports={"the pages": port}), f"Port {port}").state is CheckState.WARN
    assert find(run_checks(settings, ports={"the pages": port}), f"Port {port}").state is CheckState.OK


@pytest.mark.parametrize(
    ("version", "state"), [((3, 10, 9), "fail"), ((3, 11, 0), "ok"), ((3, 13, 5), "ok"), ((3, 14, 0), "fail")]
)
def test_doctor_knows_the_python_versions(version, state):
    assert doctor._python(version).state == state
