"""Starts one sandbox around a piece of Python and prints, as JSON, what that saw and how it ended.

A program of its own, so that a test run by root can also look through an ordinary user's eyes.
"""

import json
import os
import sys
from pathlib import Path

from opaque_jobs.enclave.sandbox import BubblewrapSandbox, Limits, Mount, SandboxSpec

PREAMBLE = """
import ctypes, errno, json, os, resource, signal, socket, subprocess, sys, time
control = socket.socket(fileno=3)
def tell(value):
    control.sendall(json.dumps(value).encode())
def attempt(action, *arguments):
    try:
        action(*arguments)
    except OSError as error:
        return errno.errorcode[error.errno]
    return "worked"
"""


def main() -> None:
    """Read the plan from standard input."""
    plan = json.load(sys.stdin)
    mounts = [Mount(source=Path(source), target=target, writable=writable) for source, target, writable in plan["mounts"]]
    spec = SandboxSpec(
        root=Path(plan["root"]),
        argv=("/opt/python/bin/python3", "-c", PREAMBLE + plan["code"]),
        mounts=tuple(mounts),
        limits=Limits(**plan["limits"]),
    )
    leaked = os.open("/etc/hostname" if Path("/etc/hostname").exists() else "/etc/passwd", os.O_RDONLY)
    os.set_inheritable(leaked, True)
    running = BubblewrapSandbox().start(spec)
    heard = bytearray()
    while chunk := running.channel.recv(1 << 16):
        heard += chunk
    ending = running.wait(30)
    running.channel.close()
    print(json.dumps({"ending": ending, "mode": running.limit_mode, "heard": json.loads(heard) if heard else None}))  # noqa: T201


if __name__ == "__main__":
    main()
