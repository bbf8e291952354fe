"""What hints, documents and help say about commands is true."""

import re
from pathlib import Path

import pytest
from typer.main import get_command

from opaque_jobs.cli.command import EXIT_CODES
from opaque_jobs.cli.main import build_app

ROOT = Path(__file__).resolve().parents[3]
MENTION = re.compile(r"['`(\n ]opaque-jobs ([a-z][a-z-]*)(?: ([a-z][a-z-]*))?")
PROSE = {"from"}


def commands() -> dict[str, set[str]]:
    """Every command and, for a noun, its own commands."""
    top = get_command(build_app())
    return {name: set(getattr(found, "commands", {})) for name, found in top.commands.items()}


KNOWN = commands()
SOURCES = sorted([*(ROOT / "opaque_jobs").rglob("*.py"), ROOT / "README.md"])


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: str(path.relative_to(ROOT)))
def test_mention_of_a_command_names_one_that_exists(path):
    for noun, verb in MENTION.findall(path.read_text()):
        if noun in PROSE:
            continue
        assert noun in KNOWN, f"opaque-jobs {noun}"
        if verb and KNOWN[noun]:
            assert verb in KNOWN[noun], f"opaque-jobs {noun} {verb}"


def test_readme_states_every_exit_code():
    readme = " ".join((ROOT / "README.md").read_text().split())
    for code, meaning in EXIT_CODES:
        assert f"| {code} | {meaning} |" in readme


def test_readme_names_every_setting_and_only_those():
    used = set()
    for path in (ROOT / "opaque_jobs").rglob("*.py"):
        used |= set(re.findall(r"OPAQUE_JOBS_[A-Z_]+[A-Z]", path.read_text()))
        if path.name == "settings.py":
            used |= {f"OPAQUE_JOBS_{name}" for name in re.findall(r'_PREFIX \+ "([A-Z_]+)"', path.read_text())}
    named = set(re.findall(r"`(OPAQUE_JOBS_[A-Z_]+)`", (ROOT / "README.md").read_text()))
    internal = {"OPAQUE_JOBS_SANDBOX_PID", "OPAQUE_JOBS_UDF_SOCKET", "OPAQUE_JOBS_UDF_SOCKET_FD"}
    assert named == used - internal


@pytest.mark.parametrize("name", sorted(KNOWN))
def test_help_of_every_command_says_what_it_does(name):
    top = get_command(build_app([name]))
    assert top.commands[name].help
    for verb in KNOWN[name]:
        assert top.commands[name].commands[verb].help, verb
