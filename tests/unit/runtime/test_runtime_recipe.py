"""The lists from which the runtime is built."""

import re
from pathlib import Path

import pytest

import opaque_jobs
from opaque_jobs.enclave import runtime
from opaque_jobs.enclave.runtime.build import AGENT_SOURCES

FOLDER = Path(runtime.__file__).parent
PACKAGE = Path(opaque_jobs.__file__).parent


@pytest.mark.parametrize("name", ["requirements.lock", "build-requirements.lock"])
def test_lock_names_versions_and_hashes_and_no_address(name):
    text = (FOLDER / name).read_text()
    blocks = re.split(r"\n(?=\S)", text.replace("\\\n", " ").strip())
    assert blocks
    assert all(re.match(r"^[a-z0-9-]+==[0-9][\w.]*( +--hash=sha256:[0-9a-f]{64})+\s*$", block) for block in blocks)
    assert "://" not in text
    assert "--index" not in text


def test_lock_holds_everything_asked_for():
    asked = {re.split(r"[<>=]", line)[0] for line in (FOLDER / "requirements.in").read_text().split()}
    locked = {line.split("==")[0] for line in (FOLDER / "requirements.lock").read_text().splitlines() if "==" in line}
    assert asked <= locked


def test_agent_sources_exist_and_hold_nothing_of_the_host():
    assert all((PACKAGE / name).exists() for name in AGENT_SOURCES)
    forbidden = (
        "settings",
        "store",
        "broker",
        "services",
        "orchestration",
        "cli",
        "enclave/sandbox",
        "enclave/runtime",
        "enclave/session",
    )
    assert not any(name.removesuffix(".py").startswith(forbidden) for name in AGENT_SOURCES)
