"""PySpark's worker daemon for a process namespace of its own. Runs in the nested sandbox; nothing here is trusted.

Spark looks up the process id that a worker reports, and asks the daemon to kill workers by it. Ids inside mean nothing
outside, so every worker reports the one id that is right there: that of the sandbox which all workers share.
"""

import os
from typing import Any

from pyspark import daemon

OUTSIDE = int(os.environ["OPAQUE_JOBS_SANDBOX_PID"])


class OutsideIds:
    """The `os` module as the daemon shall see it."""

    def __getattr__(self, name: str) -> Any:
        """Give everything else as it is."""
        return getattr(os, name)

    @staticmethod
    def getpid() -> int:
        """Give the id by which Spark knows this sandbox."""
        return OUTSIDE

    @staticmethod
    def kill(pid: int, signal: int) -> None:
        """Leave a worker that Spark gives up to notice its closed socket; signal the daemon's own group as asked."""
        if pid != OUTSIDE:
            os.kill(pid, signal)


if __name__ == "__main__":
    daemon.os = OutsideIds()
    daemon.manager()
