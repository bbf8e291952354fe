"""What keeps other processes of the same user out of a broker's memory, where its opened keys lie."""

import ctypes
import resource
from typing import Final

from opaque_jobs.errors import ConfigurationError

__all__ = ["close_memory"]

_PR_SET_DUMPABLE: Final = 4


def close_memory() -> None:
    """Let nobody but root read this process's memory, by a debugger, `/proc` or a core file.

    Raises:
        ConfigurationError: The system refuses.

    Source: prctl(2), PR_SET_DUMPABLE; proc(5), ptrace access mode checks.
    """
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0) != 0:
        raise ConfigurationError("the system does not let this process close its memory", hint="brokers run on Linux")
