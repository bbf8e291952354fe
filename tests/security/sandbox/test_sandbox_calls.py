"""System calls that do not exist inside, tried for real."""

import platform

import pytest

CALLS = """
libc = ctypes.CDLL(None, use_errno=True)
def call(number, *arguments):
    ctypes.set_errno(0)
    result = libc.syscall(ctypes.c_long(number), *[ctypes.c_long(a) for a in arguments])
    return errno.errorcode.get(ctypes.get_errno(), "none") if result == -1 else "worked"
tell({
    "ptrace": call(101, 0, 0, 0, 0), "process_vm_readv": call(310, 1, 0, 0, 0, 0, 0), "io_uring_setup": call(425, 1, 0),
    "bpf": call(321, 0, 0, 0), "perf_event_open": call(298, 0, 0, -1, -1, 0), "keyctl": call(250, 0, 0, 0),
    "add_key": call(248, 0, 0, 0, 0), "userfaultfd": call(323, 0), "kexec_load": call(246, 0, 0, 0, 0),
    "init_module": call(175, 0, 0, 0), "setns": call(308, -1, 0), "open_by_handle_at": call(304, -1, 0, 0),
    "clone3": call(435, 0, 0), "personality": call(135, 8), "move_mount": call(429, 0, 0, 0, 0, 0), "reboot": call(169, 0, 0, 0),
})
"""
SOCKETS = """
def opened(family, kind, protocol=0):
    return attempt(lambda: socket.socket(family, kind, protocol).close())
tell({"unix": opened(1, 1), "inet": opened(2, 1), "packet": opened(17, 3), "vsock": opened(40, 1), "alg": opened(38, 5),
      "route": opened(16, 3, 0), "audit": opened(16, 3, 9), "raw": opened(2, 3, 1), "bluetooth": opened(31, 3)})
"""
TERMINAL = """
import fcntl, termios
primary, secondary = os.openpty()
def inject(request):
    return attempt(fcntl.ioctl, secondary, request, b"x")
high = ctypes.CDLL(None, use_errno=True)
def inject_with_high_bits():
    result = high.syscall(ctypes.c_long(16), ctypes.c_long(secondary), ctypes.c_ulong((1 << 32) | termios.TIOCSTI), b"x")
    return "worked" if result == 0 else errno.errorcode[ctypes.get_errno()]
tell([inject(termios.TIOCSTI), inject_with_high_bits()])
"""

pytestmark = pytest.mark.skipif(platform.machine() != "x86_64", reason="system call numbers are those of x86_64")


def test_dangerous_calls_do_not_exist_inside(probe):
    assert set(probe(CALLS).heard.values()) == {"ENOSYS"}


def test_call_filter_missing_is_noticed(ordinary_probe):
    without = [(["--add-seccomp-fd", "5"], []), (["--add-seccomp-fd", "6"], [])]
    seen = ordinary_probe(CALLS, without=without).heard
    assert set(seen.values()) != {"ENOSYS"}


def test_sockets_inside_are_unix_internet_and_routes_only(probe):
    seen = probe(SOCKETS).heard
    assert {name for name, result in seen.items() if result == "worked"} == {"unix", "inet", "route"}


def test_terminal_injection_is_refused_even_with_high_bits(probe):
    assert probe(TERMINAL).heard == ["EPERM", "EPERM"]


NESTED = """
def nested(*extra, code, descriptor=None):
    arguments = ["bwrap", "--unshare-all", "--ro-bind", "/", "/", "--proc", "/proc", "--dev", "/dev", "--tmpfs", "/scratch",
                 "--tmpfs", "/out", "--cap-drop", "ALL", *extra, "/opt/python/bin/python3", "-c", code]
    done = subprocess.run(arguments, capture_output=True, text=True, pass_fds=[descriptor] if descriptor else [])
    return done.stdout.strip() or done.stderr[-300:]
"""


def test_sandbox_inside_the_sandbox_can_be_made(probe):
    code = NESTED + "tell(nested(code=\"import os; print(len([n for n in os.listdir('/proc') if n.isdigit()]))\"))"
    assert int(probe(code).heard) <= 3


def test_author_filter_takes_namespaces_and_internet_sockets_away(probe):
    inner = """
import errno, os, socket, subprocess
def attempt(action, *arguments):
    try:
        action(*arguments)
    except OSError as error:
        return errno.errorcode[error.errno]
    return "worked"
print(attempt(lambda: socket.socket(2, 1)), attempt(lambda: socket.socket(1, 1)), attempt(lambda: socket.socketpair()),
      subprocess.run(["/usr/bin/bwrap", "--unshare-user", "--ro-bind", "/", "/", "ls"], capture_output=True).returncode != 0,
      subprocess.run(["/opt/python/bin/python3", "-c", ""], capture_output=True).returncode)
"""
    code = NESTED + (
        "descriptor = os.open('/opt/seccomp/author.bpf', os.O_RDONLY)\n"
        f"tell(nested('--seccomp', str(descriptor), code={inner!r}, descriptor=descriptor))"
    )
    assert probe(code).heard == "ENOSYS worked worked True 0"
