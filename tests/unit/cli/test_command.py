import json

import pytest
from typer.testing import CliRunner

from opaque_jobs.cli.command import EXIT_CODES, Noun, common
from opaque_jobs.cli.main import build_app
from opaque_jobs.cli.output import print_json
from opaque_jobs.errors import (
    ConfigurationError,
    ConflictError,
    DeniedError,
    InvalidInputError,
    NotFoundError,
    OpaqueJobsError,
    SandboxError,
    TrustError,
)

CANARY = "canary-7f3a"


def run(*arguments: str, error: BaseException | None = None):
    toy = Noun()

    @toy.command("do")
    def do() -> None:
        if error is not None:
            raise error
        print_json({"json": common().json, "home": str(common().home)})

    @toy.command("other")
    def other() -> None: ...

    return CliRunner().invoke(toy, ["do", *arguments])


@pytest.mark.parametrize(
    ("family", "code"),
    [
        (ConfigurationError, 3),
        (NotFoundError, 4),
        (InvalidInputError, 5),
        (DeniedError, 6),
        (ConflictError, 7),
        (TrustError, 8),
        (SandboxError, 9),
    ],
)
def test_command_with_error_of_a_family_ends_with_its_code_message_and_hint(family, code):
    result = run(error=family("it is wrong", hint="mend it"))
    assert result.exit_code == code
    assert "it is wrong" in result.stderr
    assert "mend it" in result.stderr
    assert "Traceback" not in result.output
    assert code in dict(EXIT_CODES)


def test_command_with_error_and_json_prints_one_json_error_on_stderr():
    result = run("--json", error=OpaqueJobsError("it is wrong", hint="mend it", job_id="job-1"))
    assert json.loads(result.stderr)["error"] == {
        "kind": "OpaqueJobsError",
        "message": "it is wrong",
        "hint": "mend it",
        "facts": {"job_id": "job-1"},
    }


def test_command_with_unexpected_error_names_its_type_and_hides_its_text():
    result = run(error=ValueError(CANARY))
    assert result.exit_code == 1
    assert "ValueError" in result.stderr
    assert CANARY not in result.output + result.stderr
    assert "Traceback" not in result.stderr


def test_command_with_unexpected_error_and_debug_shows_the_traceback():
    assert "Traceback" in run("--debug", error=ValueError(CANARY)).stderr


def test_command_interrupted_ends_with_130_and_no_traceback():
    result = run(error=KeyboardInterrupt())
    assert result.exit_code == 130
    assert "Traceback" not in result.stderr


def test_command_with_unknown_option_ends_with_2():
    assert run("--no-such-option").exit_code == 2


def test_common_options_reach_the_command_and_do_not_stay(tmp_path):
    assert json.loads(run("--json", "--home", str(tmp_path)).stdout) == {"json": True, "home": str(tmp_path)}
    assert common().json is False


def test_help_states_every_exit_code():
    text = " ".join(CliRunner().invoke(build_app(), ["--help"]).stdout.split())
    for code, meaning in EXIT_CODES:
        assert f"{code} {meaning}" in text.replace("│ ", "")
