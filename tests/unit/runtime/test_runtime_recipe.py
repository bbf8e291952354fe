"""The lists from which the runtime is built."""

import re
from pathlib import Path

import grimp
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


def test_agent_sources_hold_all_that_the_agent_imports_and_no_key_store():
    graph, found = grimp.build_graph("opaque_jobs"), set()
    waiting = {name for name in graph.modules if name.startswith("opaque_jobs.enclave.agent")}
    while waiting:
        found |= waiting
        waiting = {each for name in waiting for each in graph.find_modules_directly_imported_by(name)} - found
    sources = {path for name in AGENT_SOURCES for path in (_below(PACKAGE / name))}
    imported = {_source(name.split(".")[1:]) for name in found}
    assert imported <= sources
    crypto = {path.relative_to(PACKAGE).as_posix() for path in sources if path.is_relative_to(PACKAGE / "crypto")}
    needed = {path.relative_to(PACKAGE).as_posix() for path in imported if path.is_relative_to(PACKAGE / "crypto")}
    assert crypto == needed | {"crypto/__init__.py"}


def _below(path: Path) -> list[Path]:
    return [path] if path.is_file() else list(path.rglob("*.py"))


def _source(parts: list[str]) -> Path:
    path = PACKAGE.joinpath(*parts)
    return path / "__init__.py" if path.is_dir() else path.with_suffix(".py")


def test_agent_sources_exist_and_hold_nothing_of_the_host():
    assert all((PACKAGE / name).exists() for name in AGENT_SOURCES)
    forbidden = (
        "settings",
        "store",
        "broker",
        "services",
        "airflow",
        "runner",
        "storage",
        "cli",
        "enclave/sandbox",
        "enclave/runtime",
        "enclave/session",
    )
    assert not any(name.removesuffix(".py").startswith(forbidden) for name in AGENT_SOURCES)
