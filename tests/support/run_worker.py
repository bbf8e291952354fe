"""Carries out one run as the operator's process does, says every status word, logs everything, and dies when told to.

Arguments: home, runtime root, measurement, run id, and optionally VICTIM WORD: at that status word the victim (`worker`,
`sandbox`, `agent`) is killed. `worker committed` dies between the result's new name and the commit that closes the run.
"""

import json
import logging
import os
import signal
import sys
from pathlib import Path

from opaque_jobs.enclave.runtime import Runtime
from opaque_jobs.enclave.sandbox.limits import descendants_of
from opaque_jobs.runner.execution import execute
from opaque_jobs.services import open_services
from opaque_jobs.settings import Settings

home, root, measurement, run_id = sys.argv[1:5]
victim, word = (*sys.argv[5:7], "", "")[:2]
logging.basicConfig(level=logging.DEBUG, stream=sys.stderr)


def say(**what: object) -> None:
    """Print one JSON line at once."""
    print(json.dumps(what), flush=True)  # noqa: T201 - this is how it reports


def command_of(pid: int) -> str:
    """Give a process's command line."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
    except OSError:
        return ""


def started(pid: int) -> str:
    """Give when a process was started, which tells it from a later one with the same id."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
    except OSError:
        return ""


def strike() -> None:
    """Name all processes of the sandbox, then kill the victim."""
    inside = sorted(set(descendants_of(os.getpid())) - {os.getpid()})
    say(inside={pid: started(pid) for pid in inside})
    if victim == "worker":
        os.kill(os.getpid(), signal.SIGKILL)
    outermost = min(inside)
    agents = [pid for pid in inside if "opaque_jobs.enclave.agent" in command_of(pid) and pid != outermost]
    os.kill(outermost if victim == "sandbox" else min(agents), signal.SIGKILL)


def on_status(status: str) -> None:
    """Report, and strike at the given word."""
    say(status=status)
    if status == word:
        strike()


def main() -> None:
    """Carry out the run."""
    settings = Settings(home=Path(home), database_url=f"sqlite:///{home}/opaque-jobs.db", sandbox="bubblewrap")
    services = open_services(settings, runtime=lambda: Runtime(root=Path(root), measurement=measurement))
    if word == "committed":
        from sqlalchemy import event
        from sqlalchemy.orm import Session

        final = settings.result_dir(run_id)
        event.listen(Session, "before_commit", lambda _session: strike() if final.exists() else None)
    outcome = execute(services, run_id, cores=2, memory_bytes=3 << 30, on_status=on_status)
    say(state=outcome.state.value, reason=outcome.reason, reasons=outcome.reasons)
    services.close()


main()
