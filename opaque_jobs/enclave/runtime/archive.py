"""Makes the file from which Java starts the engine in a third of the time: `/opt/jars/engine.aot`.

It is made in the sandbox, from the tree itself, and becomes part of the measurement. Java writes it differently each time, so
two machines that build the same sources agree on every file but this one; without it (`OPAQUE_JOBS_ENGINE_CACHE=no`) on all.
"""

import shutil
import tempfile
from pathlib import Path
from typing import Final

from opaque_jobs.enclave.sandbox import BubblewrapSandbox, Ending, Limits, Mount, SandboxSpec

__all__ = ["ARCHIVE_NAME", "ARCHIVE_SOURCES", "make_archive"]

ARCHIVE_NAME: Final = "engine.aot"
_AGENT: Final = Path(__file__).resolve().parents[1] / "agent"
ARCHIVE_SOURCES: Final = (Path(__file__), _AGENT / "engine.py", _AGENT / "nesting.py", _AGENT / "warmup.py")
"""What decides, besides the Java sources, which classes the engine loads and from where."""
_TIME_LIMIT_S: Final = 900.0
_MEMORY_BYTES: Final = 4 << 30
_SCRATCH_BYTES: Final = 1 << 30
_PIDS: Final = 1000


def make_archive(root: Path, target: Path) -> bool:
    """Let the agent warm an engine up once, and keep what Java wrote.

    Args:
        root: The tree, complete but for this file.
        target: Where to put the file.

    Returns:
        Whether there is one; without it the engine only starts more slowly.
    """
    out = Path(tempfile.mkdtemp(prefix=".training-", dir=target.parent))
    try:
        spec = SandboxSpec(
            root=root,
            argv=("/opt/python/bin/python3", "-m", "opaque_jobs.enclave.agent.warmup"),
            mounts=(Mount(source=out, target="/out", writable=True),),
            limits=Limits(memory_bytes=_MEMORY_BYTES, pids=_PIDS, timeout_s=_TIME_LIMIT_S, scratch_bytes=_SCRATCH_BYTES),
        )
        running = BubblewrapSandbox().start(spec)
        try:
            ending = running.wait()
        finally:
            running.kill()
            running.channel.close()
        made = out / ARCHIVE_NAME
        if ending is not Ending.EXITED or not made.is_file() or made.is_symlink():
            return False
        made.chmod(0o444)
        made.rename(target)
        return True
    finally:
        shutil.rmtree(out, ignore_errors=True)
