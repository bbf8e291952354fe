"""Which system calls exist inside. Both filters are allowlists: what is not named answers "no such call" (ENOSYS).

The enclave's filter keeps what the JVM, Python and a nested bubblewrap use. That last one needs namespaces, mount and
pivot_root, which act on its own namespaces only. The author's filter, loaded by the nested sandbox, takes those away too. It
leaves Unix sockets as the only sockets, and no memory that belongs to no process. Both lack ptrace, process_vm_*, io_uring, bpf,
perf, keyctl, userfaultfd, modules.
"""

import errno
import os
from typing import Any, Final

from opaque_jobs.errors import ConfigurationError

__all__ = ["author_filter", "enclave_filters"]

_COMMON: Final = """
accept accept4 access alarm arch_prctl bind brk capget chdir chmod chown clock_getres clock_gettime clock_nanosleep close
close_range connect copy_file_range creat dup dup2 dup3 epoll_create epoll_create1 epoll_ctl epoll_pwait epoll_pwait2 epoll_wait
eventfd eventfd2 execve execveat exit exit_group faccessat faccessat2 fadvise64 fallocate fchdir fchmod fchmodat fchmodat2 fchown
fchownat fcntl fdatasync fgetxattr flistxattr flock fork fstat fstatfs fsync ftruncate futex futex_waitv get_mempolicy
get_robust_list getcpu getcwd getdents getdents64 getegid geteuid getgid getgroups getitimer getpeername getpgid getpgrp getpid
getppid getpriority getrandom getresgid getresuid getrlimit getrusage getsid getsockname getsockopt gettid gettimeofday getuid
getxattr inotify_add_watch inotify_init inotify_init1 inotify_rm_watch ioctl kill lchown lgetxattr link linkat listen listxattr
llistxattr lseek lstat madvise membarrier mincore mkdir mkdirat mlock mprotect mremap msync munlock munmap
nanosleep newfstatat open openat openat2 pause pidfd_open pidfd_send_signal pipe pipe2 poll ppoll prctl pread64 preadv preadv2
prlimit64 pselect6 pwrite64 pwritev pwritev2 read readahead readlink readlinkat readv recvfrom recvmmsg recvmsg rename renameat
renameat2 restart_syscall rmdir rseq rt_sigaction rt_sigpending rt_sigprocmask rt_sigqueueinfo rt_sigreturn rt_sigsuspend
rt_sigtimedwait rt_tgsigqueueinfo sched_get_priority_max sched_get_priority_min sched_getaffinity sched_getattr sched_getparam
sched_getscheduler sched_setaffinity sched_yield seccomp select sendfile sendmmsg sendmsg sendto set_robust_list
set_tid_address setfsgid setfsuid setgid setgroups setitimer setpgid setpriority setregid setresgid setresuid setreuid setrlimit
setsid setsockopt setuid shutdown sigaltstack signalfd signalfd4 splice stat statfs statx symlink symlinkat sync_file_range
tee tgkill time timer_create timer_delete timer_getoverrun timer_gettime timer_settime timerfd_create timerfd_gettime
timerfd_settime times tkill truncate umask uname unlink unlinkat utime utimensat utimes vfork vmsplice wait4 waitid write writev
"""
_NESTING: Final = " capset clone memfd_create mmap mount pivot_root sysinfo umount2 unshare"
"""What bubblewrap and the agent call to make a sandbox inside the sandbox; and `sysinfo`, which tells the host's load, memory
and uptime."""
_SHARED_ANONYMOUS: Final = 0x21
"""MAP_SHARED and MAP_ANONYMOUS together: memory that stays when no process maps it, so nobody could count it."""
_NEW_NAMESPACES: Final = 0x7E020000
"""CLONE_NEWNS, NEWCGROUP, NEWUTS, NEWIPC, NEWUSER, NEWPID and NEWNET; NEWTIME cannot be given to clone."""
_AF_UNIX: Final = 1
_AF_INET: Final = 2
_AF_INET6: Final = 10
_AF_NETLINK: Final = 16
_NETLINK_ROUTE: Final = 0
_LOW_32_BITS: Final = 0xFFFFFFFF
_TERMINAL_INJECTION: Final = (0x5412, 0x541C)
"""TIOCSTI and TIOCLINUX: type into the terminal of whoever started us."""


def enclave_filters() -> tuple[bytes, bytes]:
    """Give the filters of the outer sandbox as BPF: what exists, and what of `ioctl` is refused all the same.

    Two, because libseccomp cannot compare the lower half of an argument with "not equal", and the kernel ignores the upper one.

    Raises:
        ConfigurationError: libseccomp is missing.
    """
    kernel = _libseccomp()
    refused = kernel.SyscallFilter(kernel.ALLOW)
    for request in _TERMINAL_INJECTION:
        refused.add_rule(kernel.ERRNO(errno.EPERM), "ioctl", kernel.Arg(1, kernel.MASKED_EQ, _LOW_32_BITS, request))
    return _allowlist(nesting=True), _exported(refused)


def author_filter() -> bytes:
    """Give the filter of the nested sandboxes for the author's process and its UDF workers as BPF.

    Raises:
        ConfigurationError: libseccomp is missing.
    """
    return _allowlist(nesting=False)


def _libseccomp() -> Any:
    """Load the binding late: it fails at import where the library is missing, and only a start or a build needs it."""
    try:
        import pyseccomp  # noqa: PLC0415 - see above
    except (ImportError, RuntimeError, OSError):
        raise ConfigurationError("libseccomp is missing", hint="install it, on Debian: apt install libseccomp2") from None
    return pyseccomp


def _allowlist(*, nesting: bool) -> bytes:
    kernel = _libseccomp()
    rules = kernel.SyscallFilter(kernel.ERRNO(errno.ENOSYS))
    for name in (_COMMON + _NESTING if nesting else _COMMON).split():
        if _exists(kernel, name):
            rules.add_rule(kernel.ALLOW, name)
    if not nesting:
        rules.add_rule(kernel.ALLOW, "clone", kernel.Arg(0, kernel.MASKED_EQ, _NEW_NAMESPACES, 0))
        for kind in (0x00, 0x01, 0x20):
            rules.add_rule(kernel.ALLOW, "mmap", kernel.Arg(3, kernel.MASKED_EQ, _SHARED_ANONYMOUS, kind))
    for family in (_AF_UNIX, _AF_INET, _AF_INET6) if nesting else (_AF_UNIX,):
        rules.add_rule(kernel.ALLOW, "socket", kernel.Arg(0, kernel.MASKED_EQ, _LOW_32_BITS, family))
    if nesting:
        netlink = kernel.Arg(0, kernel.MASKED_EQ, _LOW_32_BITS, _AF_NETLINK)
        rules.add_rule(kernel.ALLOW, "socket", netlink, kernel.Arg(2, kernel.MASKED_EQ, _LOW_32_BITS, _NETLINK_ROUTE))
    rules.add_rule(kernel.ALLOW, "socketpair", kernel.Arg(0, kernel.MASKED_EQ, _LOW_32_BITS, _AF_UNIX))
    return _exported(rules)


def _exists(kernel: Any, name: str) -> bool:
    """Tell whether this machine's architecture (and libseccomp) has the call."""
    try:
        return bool(kernel.resolve_syscall(kernel.system_arch(), name) >= 0)
    except (OSError, ValueError):
        return False


def _exported(rules: Any) -> bytes:
    with os.fdopen(os.memfd_create("seccomp"), "w+b") as file:
        rules.export_bpf(file)
        file.seek(0)
        return file.read()
