"""A process of the broker's own user, such as a DAG: what it writes into the broker's folder gets it no keys, nor its memory."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from opaque_jobs.broker.config import config_path
from opaque_jobs.broker.release import Token
from opaque_jobs.crypto.keys import SigningKey
from opaque_jobs.domain.canonical import canonical_bytes
from opaque_jobs.domain.document import to_json
from opaque_jobs.errors import TrustError
from tests.world import Member

NOBODY = 65534
LOCKING = """
from pathlib import Path
from opaque_jobs.broker.hardening import lock_memory
locked = lock_memory()
kept = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmLck:"))
print(locked, kept.split()[1] != "0")
"""
WAITING = f"""
import ctypes, os
from opaque_jobs.broker.hardening import close_memory
os.setgroups([]), os.setresgid(*[{NOBODY}] * 3), os.setresuid(*[{NOBODY}] * 3)
ctypes.CDLL(None).prctl(4, 1, 0, 0, 0)
if sys.argv[1] == "closed":
    close_memory()
print("ready", flush=True)
sys.stdin.read()
"""


def edit(folder: Path, change: Callable[[dict[str, Any]], None]) -> None:
    """Change the settings as whoever may write the file can."""
    document = json.loads(config_path(folder).read_bytes())
    settings = json.loads(document["settings"])
    change(settings)
    document["settings"] = canonical_bytes(settings).decode()
    config_path(folder).write_bytes(canonical_bytes(document))


def test_user_who_believes_their_own_simulator_gets_no_keys(stage):
    thief = SigningKey.generate()
    enclave = stage.enclave()
    stage.world.development_key = thief
    edit(stage.folder, lambda settings: settings["simulated_keys"].append(thief.public.text))
    with pytest.raises(TrustError) as caught:
        stage.attest(enclave)
    assert caught.value.facts["reasons"] == "broker-settings-changed"


def test_user_who_pins_themself_cannot_share_a_data_set(stage):
    thief = Member("member-thief", "org-hospital")
    edit(stage.folder, lambda settings: settings["members"].append(to_json(thief.entry)))
    with pytest.raises(TrustError, match="changed by somebody"):
        stage.share(signer=thief.key)


def test_settings_changed_between_evidence_and_keys_get_no_keys(stage):
    session, answer = stage.attest(stage.enclave())
    assert isinstance(answer, Token)
    edit(stage.folder, lambda settings: settings["members"].clear())
    with pytest.raises(TrustError, match="changed by somebody"):
        stage.release(session)


@pytest.mark.skipif(os.geteuid() != 0, reason="acts as another user, which only root can")
@pytest.mark.parametrize(("how", "readable"), [("open", True), ("closed", False)])
def test_memory_of_a_broker_is_closed_to_its_own_user(how, readable):
    # Modules are read as root; then the process is nobody's, as the one that looks at it is.
    script = f"import sys; sys.path[:] = {sys.path!r}\n{WAITING}"
    nobody = {"user": NOBODY, "group": NOBODY, "extra_groups": [], "capture_output": True}
    with subprocess.Popen(
        [sys.executable, "-c", script, how], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as broker:
        assert broker.stdout.readline() == "ready\n"
        files = [f"if=/proc/{broker.pid}/{name}" for name in ("mem", "environ")]
        looked = [subprocess.run(["/bin/dd", file, "count=0"], check=False, **nobody).returncode == 0 for file in files]
        broker.stdin.close()
    assert looked == [readable, readable]


def test_memory_is_locked_if_the_system_lets_it():
    said = subprocess.run([sys.executable, "-c", LOCKING], capture_output=True, text=True, check=True, timeout=60).stdout.split()
    assert said[0] == said[1]
