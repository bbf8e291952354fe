"""Commands in a home that a consortium made: everything but running brokers, private keys and the enclave."""

import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

sys.path.insert(0, str(Path(__file__).parents[2] / "support"))

from consortium import Consortium, copy_consortium, open_consortium
from own_files import write_own_files

from opaque_jobs.cli.main import build_app


@dataclass
class Shell:
    """Runs commands as one member."""

    study: Consortium
    member: str = "anna"

    def __call__(self, *arguments: str) -> Result:
        env = {"OPAQUE_JOBS_HOME": str(self.study.home), "OPAQUE_JOBS_AS": self.member}
        return CliRunner().invoke(build_app(arguments), [*arguments], env=env)

    def says(self, *arguments: str) -> str:
        """Give what a command prints for people, on both streams."""
        result = self(*arguments)
        assert result.exit_code == 0, result.output
        return result.output

    def json(self, *arguments: str) -> Any:
        result = self(*arguments, "--json")
        assert result.exit_code == 0, result.output
        return json.loads(result.stdout)

    def fails(self, code: int, *arguments: str) -> str:
        """Give what a command that must fail says on stderr, in one line."""
        result = self(*arguments)
        assert result.exit_code == code, result.output
        assert "Traceback" not in result.output
        return " ".join(result.stderr.split())


@pytest.fixture(scope="session")
def settled(tmp_path_factory) -> Consortium:
    """Made once; tests work on copies."""
    consortium = open_consortium(tmp_path_factory.mktemp("settled") / "home")
    consortium.settle_in()
    consortium.services.close()
    return consortium


@pytest.fixture
def study(settled, tmp_path):
    """The workspace of anna, ben and lea, with two data sets."""
    consortium = copy_consortium(settled, tmp_path / "home")
    yield consortium
    consortium.services.close()


@pytest.fixture
def shell(study) -> Shell:
    write_own_files(study, "anna")
    return Shell(study)
