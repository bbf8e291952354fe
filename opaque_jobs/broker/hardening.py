"""What keeps a broker's memory, where its opened keys lie, from other processes of the same user and from swap space."""

import contextlib
import ctypes
import resource
from typing import Final

from opaque_jobs.errors import ConfigurationError

__all__ = ["close_memory", "lock_memory"]

_PR_SET_DUMPABLE: Final = 4
_MCL_CURRENT: Final = 1
_MCL_FUTURE: Final = 2
_MCL_ONFAULT: Final = 4


def close_memory() -> None:
    """Let nobody but root read this process's memory, by a debugger, `/proc` or a core file.

    Raises:
        ConfigurationError: The system refuses.

    Source: prctl(2), PR_SET_DUMPABLE; proc(5), ptrace access mode checks.
    """
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0) != 0:
        raise ConfigurationError("the system does not let this process close its memory", hint="brokers run on Linux")


def lock_memory() -> bool:
    """Keep this process's memory out of swap space, as far as the system lets it.

    Returns:
        Whether it is locked: without the right to it nothing is, and the broker serves all the same.

    Source: mlockall(2), capabilities(7) CAP_IPC_LOCK, getrlimit(2) RLIMIT_MEMLOCK.
    """
    with contextlib.suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_MEMLOCK, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    limit, _ = resource.getrlimit(resource.RLIMIT_MEMLOCK)
    # Under a limit, memory asked for later would be refused once that is reached: only what is there now is locked then.
    flags = _MCL_CURRENT | _MCL_ONFAULT | (_MCL_FUTURE if limit == resource.RLIM_INFINITY else 0)
    return bool(ctypes.CDLL(None, use_errno=True).mlockall(flags) == 0)
