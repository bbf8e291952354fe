"""Runs inside the sandbox in the agent's place; the run's id names what it does."""

import os
import socket
import sys
import time
from pathlib import Path

from opaque_jobs.protocol.enclave import (
    BrokerRequest,
    Cancel,
    Channel,
    EvidenceRequest,
    Finished,
    Heartbeat,
    Status,
    StatusWord,
)

channel = Channel(socket.socket(fileno=3))
start = channel.receive()
scenario = start.run_id


def answer():
    """Give the next message that is no heartbeat."""
    while True:
        message = channel.receive()
        if not isinstance(message, Heartbeat):
            return message


def finish(failure: str = "", reasons: tuple[str, ...] = ()) -> None:
    """Say goodbye."""
    channel.send(Finished(failure=failure, reasons=list(reasons)))


def leave() -> None:
    """Leave what an agent leaves after a success."""
    for name in ("result.sealed", "result.key.json", "preview.sealed.json", "log.sealed.json", "receipt.json"):
        Path("/out", name).write_text("sealed")


channel.send(Status(word=StatusWord.MEASURING))
if scenario == "good":
    channel.send(EvidenceRequest(report_data="ab" * 48, init_data="cd" * 48))
    evidence = answer().evidence
    channel.send(BrokerRequest(request_id=7, org_id="north", method="POST", path="/kbs/v0/auth", cookie="", body=evidence))
    body = answer().body
    parts = sorted(str(path) for path in Path("/data").rglob("*") if path.is_file())
    leave()
    Path("/out/result.sealed").write_text(body + " " + " ".join(parts))
    Path("/out/receipt.json").write_text(Path("/data/visits/part-00000.parquet").read_text())
    channel.send(Status(word=StatusWord.DONE))
    finish()
elif scenario == "refused":
    finish("broker-refused", ("epoch-old", "not-unanimous"))
elif scenario == "unknown-word":
    finish("rows: 42")
elif scenario == "unknown-status":
    channel.send(Status(word="rows: 42"))
    leave()
    finish()
elif scenario == "dies":
    Path("/out/half.parquet").write_text("half")
    sys.exit(3)
elif scenario == "memory":
    kept = []
    while True:
        kept.append(bytearray(8 << 20))
elif scenario == "sleeps":
    time.sleep(60)
elif scenario == "obeys":
    while not isinstance(answer(), Cancel):
        pass
    finish("cancelled")
elif scenario == "lingers":
    leave()
    finish()
    time.sleep(60)
elif scenario == "babbles":
    channel._connection.sendall(b"\x00\x00\x00\x04{}{}")
    time.sleep(60)
elif scenario == "plays-host":
    channel.send(Heartbeat())
    time.sleep(60)
elif scenario == "link":
    leave()
    Path("/out/receipt.json").unlink()
    Path("/out/receipt.json").symlink_to("/etc/passwd")
    finish()
elif scenario == "hard-link":
    leave()
    Path("/out/receipt.json").unlink()
    os.link("/out/log.sealed.json", "/out/receipt.json")
    finish()
elif scenario == "named-by-data":
    leave()
    Path("/out/result").mkdir()
    Path("/out/result/city=Bern.parquet").write_text("sealed")
    finish()
elif scenario == "part-missing":
    leave()
    Path("/out/preview.sealed.json").unlink()
    finish()
elif scenario == "result-of-a-failure":
    leave()
    finish("author-error")
elif scenario == "pipe":
    os.mkfifo("/out/pipe")
    finish()
elif scenario == "beats":
    beats = 0
    while beats < 2:
        beats += isinstance(channel.receive(), Heartbeat)
    leave()
    finish()
elif scenario == "bad-hex":
    channel.send(EvidenceRequest(report_data="zz", init_data="cd"))
    time.sleep(60)
