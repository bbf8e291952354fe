"""A receipt in a file of its own: all that is needed to verify it travels with it, newer data set versions too."""

import json
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

sys.path.insert(0, str(Path(__file__).parents[2] / "support"))

from consortium import open_consortium
from own_files import write_own_files
from simulated_agent import SimulatedAgent

from opaque_jobs.cli.main import build_app
from opaque_jobs.crypto.consent import sign_manifest
from opaque_jobs.crypto.service_keys import create_service_key
from opaque_jobs.domain.lifecycle import RunState
from opaque_jobs.domain.rerun_terms import RerunTerms
from opaque_jobs.runner.execution import execute
from opaque_jobs.verify.own_trust import own_trust

TERMS = RerunTerms(
    max_runs=3,
    not_before=None,
    not_after="2100-01-01T00:00:00+00:00",
    min_interval_s=0,
    schedule=None,
    variable_inputs=(),
    follows=("patients",),
)


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """A run that read a newer version than its job names, and the file with its receipt."""
    folder = tmp_path_factory.mktemp("receipt")
    cast = open_consortium(folder / "home")
    cast.settle_in()
    create_service_key(cast.services.context.settings.simulated_key_path)
    job = cast.accepted_job(rerun_terms=TERMS)
    manifest, storage = cast.manifest("patients", "anna", version=2)
    envelope = sign_manifest(manifest, cast.people["anna"].key)
    cast.services.datasets.add_version(actor=cast.id("anna"), envelope=envelope, storage=storage)
    run = cast.open_run(job.id)
    outcome = execute(cast.services, run.id, cores=1, memory_bytes=1 << 31, session=SimulatedAgent(cast))
    assert outcome.state is RunState.SUCCEEDED
    cast.services.close()
    file = folder / "receipt.json"
    assert call(cast, "receipt", "export", run.id, "--to", str(file), "--as", "lea").exit_code == 0
    write_own_files(cast, "lea")
    assert call(cast, "receipt", "trust", "Study", "--to", str(folder / "anchors"), "--as", "lea").exit_code == 0
    return cast, file


def call(cast, *arguments):
    return CliRunner().invoke(build_app(arguments), [*arguments, "--home", str(cast.home), "--json"], env={})


def test_receipt_file_of_a_run_that_read_a_newer_version_verifies_by_itself(exported):
    cast, file = exported
    result = call(cast, "receipt", "verify", str(file), "--trust", str(file.with_name("anchors")))
    assert result.exit_code == 0, result.output
    shown = json.loads(result.stdout)
    assert (shown["holds"], shown["anchored"], shown["approval_rule"]) == (True, True, "unanimous")
    assert set(json.loads(file.read_bytes())["refreshed"]) == {"patients"}


@pytest.mark.parametrize("refreshed", [{}, {"patients": "{}"}, {"patients": 1}, []])
def test_receipt_file_without_the_newer_versions_manifest_does_not(exported, tmp_path, refreshed):
    cast, file = exported
    other = tmp_path / "other.json"
    other.write_text(json.dumps(json.loads(file.read_bytes()) | {"refreshed": refreshed}))
    assert call(cast, "receipt", "verify", str(other), "--trust", str(file.with_name("anchors"))).exit_code in (5, 8)


def test_receipt_file_without_anchors_vouches_for_nobody(exported, tmp_path):
    """Anyone makes a workspace, members and a broker of their own, and a receipt that holds by itself."""
    cast, file = exported
    result = call(cast, "receipt", "verify", str(file))
    assert result.exit_code == 8
    assert "vouches for nobody" in json.loads(result.stderr)["error"]["message"]
    shown = json.loads(result.stdout)
    assert (shown["holds"], shown["anchored"]) == (False, False)
    assert all(not each["problem"] for each in shown["steps"])
    nothing = tmp_path / "anchors"
    nothing.write_bytes(own_trust(cast.services.context.settings).to_bytes())
    assert call(cast, "receipt", "verify", str(file), "--trust", str(nothing)).exit_code in (5, 8)
