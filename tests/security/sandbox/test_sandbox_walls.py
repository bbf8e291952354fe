"""Every wall, looked at from inside; and the proof that each look would notice its wall missing."""

import os
import pwd
import socket
import threading
from pathlib import Path

import pytest

from opaque_jobs.enclave.sandbox import BubblewrapSandbox, Limits, SandboxSpec
from opaque_jobs.enclave.sandbox.base import ENVIRONMENT
from opaque_jobs.enclave.sandbox.limits import descendants_of

NETWORK = """
def routes():
    with open("/proc/net/route") as file:
        return [line.split()[0] for line in file.readlines()[1:]]
def reach(address):
    s = socket.socket()
    s.settimeout(2)
    return attempt(s.connect, address)
tell({"links": sorted(name for _, name in socket.if_nameindex()), "routes": routes(), "host": reach(("127.0.0.1", PORT)),
      "world": reach(("192.0.2.1", 443))})
"""
STATUS = """
def status():
    with open("/proc/self/status") as file:
        return {line.split(":")[0]: line.split(":")[1].strip() for line in file}
s = status()
tell({key: s[key] for key in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb", "NoNewPrivs", "Seccomp", "Uid", "Gid", "Groups")})
"""
FILES = """
def lines(path):
    with open(path) as file:
        return file.read().splitlines()
writable = []
for folder in ("/", "/opt", "/opt/agent", "/etc", "/usr/lib", "/data", "/dev", "/proc/sys/kernel", "/out", "/tmp", "/scratch"):
    if os.path.isdir(folder) and attempt(lambda: os.close(os.open(folder + "/probe", os.O_CREAT | os.O_WRONLY))) == "worked":
        writable.append(folder)
tell({"top": sorted(os.listdir("/")), "writable": writable, "passwd": len(lines("/etc/passwd")),
      "hostPaths": [p for p in ("/root", "/home", "/var", "/sys", "/run", "/boot", "/usr/share", "/mnt") if os.path.exists(p)]})
"""
DEVICES = """
tell({"devices": sorted(n for n in os.listdir("/dev")),
      "mknod": attempt(os.mknod, "/tmp/disk", 0o600 | 0o060000, os.makedev(8, 0)),
      "nodes": [n for n in ("kvm", "mem", "kmsg", "sda", "vda", "fuse", "net") if os.path.exists("/dev/" + n)]})
"""
PROCESSES = """
tell({"pids": sorted(int(n) for n in os.listdir("/proc") if n.isdigit()), "me": os.getpid()})
"""
DESCRIPTORS = """
found = {}
for name in os.listdir("/proc/self/fd"):
    try:
        found[name] = os.readlink("/proc/self/fd/" + name)
    except OSError:
        pass
tell(found)
"""
ENVIRONMENT_PROBE = "tell(dict(os.environ))"


@pytest.fixture
def host_port():
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.settimeout(0.2)
        stop = threading.Event()

        def accept() -> None:
            while not stop.is_set():
                try:
                    server.accept()[0].close()
                except TimeoutError:
                    continue

        thread = threading.Thread(target=accept)
        thread.start()
        yield server.getsockname()[1]
        stop.set()
        thread.join()


def test_network_inside_has_only_its_own_loopback(probe, host_port):
    seen = probe(NETWORK.replace("PORT", str(host_port))).heard
    assert seen["links"] == ["lo"]
    assert seen["routes"] == []
    assert seen["host"] == "ECONNREFUSED"
    assert seen["world"] in {"ENETUNREACH", "ENETDOWN", "EHOSTUNREACH"}


def test_network_wall_missing_is_noticed(ordinary_probe, host_port):
    seen = ordinary_probe(NETWORK.replace("PORT", str(host_port)), without=[(["--unshare-net"], [])]).heard
    assert seen["host"] == "worked"


def test_abstract_sockets_of_the_host_are_out_of_reach(probe, tmp_path):
    name = f"opaque-jobs-{os.getpid()}"
    with socket.socket(socket.AF_UNIX) as server:
        server.bind("\0" + name)
        server.listen()
        code = f"tell(attempt(socket.socket(socket.AF_UNIX).connect, chr(0) + {name!r}))"
        assert probe(code).heard == "ECONNREFUSED"


def test_files_inside_are_the_tree_and_nothing_of_the_host(probe):
    seen = probe(FILES).heard
    assert seen["hostPaths"] == []
    assert seen["passwd"] == 2
    assert seen["top"] == ["bin", "data", "dev", "etc", "lib", "lib64", "opt", "out", "proc", "sbin", "scratch", "tmp", "usr"]
    assert seen["writable"] == ["/tmp", "/scratch"]  # noqa: S108 - inside


def test_read_only_root_missing_is_noticed(ordinary_probe, tmp_path):
    folder = tmp_path / "open" / "folder"
    folder.mkdir(parents=True)
    folder.chmod(0o777)
    code = "tell(attempt(lambda: os.close(os.open('/opt/agent/probe', os.O_CREAT | os.O_WRONLY))))"
    ordinary_probe.mounts = [(str(folder), "/opt/agent", False)]
    assert ordinary_probe(code).heard == "EROFS"
    ordinary_probe.mounts = [(str(folder), "/opt/agent", True)]
    assert ordinary_probe(code).heard == "worked"


def test_parts_are_readable_and_cannot_be_changed(probe, tmp_path):
    part = tmp_path / "parts" / "part-00000.parquet"
    part.parent.mkdir()
    part.write_bytes(b"ciphertext")
    part.chmod(0o644)
    probe.mounts = [(str(part), "/data/visits/part-00000.parquet", False)]
    code = """
    path = "/data/visits/part-00000.parquet"
    with open(path) as file:
        text = file.read()
    tell({"text": text, "write": attempt(lambda: open(path, "r+")), "remove": attempt(os.unlink, path),
          "add": attempt(lambda: open("/data/visits/more", "w")), "chmod": attempt(os.chmod, path, 0o777)})
    """
    seen = probe("\n".join(line[4:] for line in code.splitlines())).heard
    assert seen["text"] == "ciphertext"
    assert set(seen.values()) <= {"ciphertext", "EROFS", "EACCES", "EBUSY"}
    assert part.read_bytes() == b"ciphertext"


def test_out_folder_receives_files_that_the_starter_owns_afterwards(probe, tmp_path):
    out = tmp_path / "result" / "out"
    out.mkdir(parents=True)
    probe.mounts = [(str(out), "/out", True)]
    probe("os.mkdir('/out/result')\nwith open('/out/result/part', 'w') as file: file.write('sealed')\ntell('done')")
    assert (out / "result" / "part").read_text() == "sealed"
    starter = 54321 if probe.ordinary and os.geteuid() == 0 else os.geteuid()
    assert {path.stat().st_uid for path in (out, out / "result", out / "result" / "part")} == {starter}


def test_processes_of_the_host_are_invisible(probe):
    seen = probe(PROCESSES).heard
    assert len(seen["pids"]) <= 3
    assert max(seen["pids"]) < 20


def test_process_wall_missing_is_noticed(ordinary_probe):
    without = [(["--unshare-pid"], []), (["--proc", "/proc"], ["--ro-bind", "/proc", "/proc"])]
    seen = ordinary_probe(PROCESSES, without=without).heard
    assert len(seen["pids"]) > 3


def test_devices_are_the_harmless_few(probe):
    seen = probe(DEVICES).heard
    harmless = "console core fd full null ptmx pts random shm stderr stdin stdout tty urandom zero"
    assert set(seen["devices"]) <= set(harmless.split())
    assert seen["nodes"] == []
    assert seen["mknod"] in {"ENOSYS", "EPERM"}


def test_device_wall_missing_is_noticed(ordinary_probe):
    seen = ordinary_probe(DEVICES, without=[(["--dev", "/dev"], ["--dev-bind", "/dev", "/dev"])]).heard
    assert len(seen["devices"]) > 15


def test_rights_inside_are_none(probe):
    seen = probe(STATUS).heard
    assert {seen[name] for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")} == {"0" * 16}
    assert seen["NoNewPrivs"] == "1"
    assert seen["Seccomp"] == "2"
    assert set(seen["Uid"].split()) == {"1000"}
    assert set(seen["Gid"].split()) == {"1000"}


def test_capability_wall_missing_is_noticed(ordinary_probe):
    seen = ordinary_probe(STATUS, without=[(["--cap-drop", "ALL"], ["--cap-add", "ALL"])]).heard
    assert seen["CapEff"] != "0" * 16


def test_user_inside_is_no_account_of_the_host(enclave_runtime):
    limits = Limits(memory_bytes=1 << 30, pids=50, timeout_s=30, scratch_bytes=1 << 20)
    code = "import socket, time; socket.socket(fileno=3).sendall(b'up'); time.sleep(30)"
    argv = ("/opt/python/bin/python3", "-c", code)
    running = BubblewrapSandbox().start(SandboxSpec(root=enclave_runtime.root, argv=argv, mounts=(), limits=limits))
    assert running.channel.recv(2) == b"up"
    owners = {Path(f"/proc/{pid}").stat().st_uid for pid in descendants_of(running.pid)}
    running.kill()
    running.channel.close()
    assert len(owners) == 1
    (owner,) = owners
    if os.geteuid() == 0:
        with pytest.raises(KeyError):
            pwd.getpwuid(owner)
    else:
        assert owner == os.geteuid()


def test_descriptors_inside_are_null_and_the_control_socket(probe):
    found = probe(DESCRIPTORS).heard
    assert {found.pop(name) for name in ("0", "1", "2")} == {"/dev/null"}
    assert found.pop("3").startswith("socket:")
    assert found == {}


def test_environment_inside_is_the_fixed_list(probe):
    seen = probe(ENVIRONMENT_PROBE).heard
    assert "CANARY" not in seen
    assert set(seen) == {*ENVIRONMENT, "PWD"}


def test_environment_wall_missing_is_noticed(ordinary_probe):
    seen = ordinary_probe(ENVIRONMENT_PROBE, without=[(["--clearenv"], ["--setenv", "CANARY", "of-the-host"])]).heard
    assert "CANARY" in seen


def test_kernel_settings_cannot_be_changed(probe):
    code = "tell({p: attempt(lambda: open(p, 'w')) for p in ('/proc/sys/kernel/core_pattern', '/proc/sys/vm/swappiness')})"
    assert set(probe(code).heard.values()) <= {"EACCES", "EROFS", "EPERM"}


def test_host_name_is_not_told(probe):
    assert probe("tell(socket.gethostname())").heard == "enclave"


def test_core_dumps_are_off_for_good(probe):
    assert probe("tell(resource.getrlimit(resource.RLIMIT_CORE))").heard == [0, 0]


def test_mount_sources_hide_nothing_but_their_target(probe, tmp_path):
    secret = tmp_path / "parts" / "secret.txt"
    secret.parent.mkdir()
    secret.write_text("canary")
    part = secret.with_name("part-00000.parquet")
    part.write_bytes(b"x")
    probe.mounts = [(str(part), "/data/a/part-00000.parquet", False)]
    assert probe("tell(sorted(os.listdir('/data/a')))").heard == ["part-00000.parquet"]
