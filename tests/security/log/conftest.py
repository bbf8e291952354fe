"""A workspace whose log has an entry of every kind, and lea, who looks at it from the command line."""

import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

sys.path.insert(0, str(Path(__file__).parents[2] / "support"))

from consortium import Consortium, open_consortium
from simulated_agent import SimulatedAgent

from opaque_jobs.cli.main import build_app
from opaque_jobs.client.keys import member_key_path
from opaque_jobs.crypto.key_files import KeyKind, create_key_file, open_signing_key
from opaque_jobs.crypto.keys import SigningKey
from opaque_jobs.crypto.release import sign_release
from opaque_jobs.crypto.service_keys import create_service_key
from opaque_jobs.domain.lifecycle import RunState
from opaque_jobs.domain.log import EntryKind
from opaque_jobs.domain.release import Release
from opaque_jobs.domain.review import Decision
from opaque_jobs.runner.execution import execute
from opaque_jobs.services import log_book

PASSPHRASE = "correct horse battery"


@dataclass
class History:
    """The home, and what it takes to call commands in it; and ben's key in the first member list."""

    cast: Consortium
    former: SigningKey
    workspace_id: str
    others_id: str

    def call(self, *arguments: str, as_json: bool = True) -> Result:
        given = [*arguments, "--home", str(self.cast.home), *(["--json"] if as_json else [])]
        return CliRunner().invoke(build_app(given), given, env={"OPAQUE_JOBS_AS": "lea"})

    def answers(self, *arguments: str) -> Any:
        result = self.call(*arguments)
        assert result.exit_code == 0, result.output + result.stderr
        return json.loads(result.stdout)


def make_history(home: Path) -> History:
    cast = open_consortium(home)
    settings = cast.services.context.settings
    create_service_key(settings.simulated_key_path)
    path = member_key_path(settings, "lea")
    create_key_file(path, kind=KeyKind.MEMBER, owner_id=cast.id("lea"), passphrase=PASSPHRASE)
    cast.change_key("lea", open_signing_key(path, PASSPHRASE))
    cast.settle_in()
    # A tested job that all approve; it runs, with a release by each side and a receipt; then a member withdraws.
    job = cast.make_job()
    cast.submit(job.id, test_run_id=cast.passed_test(job.id))
    cast.vote(job.id, "ben")
    cast.vote(job.id, "lea")
    run = cast.open_run(job.id)
    assert execute(cast.services, run.id, cores=1, memory_bytes=1 << 31, session=SimulatedAgent(cast)).state is RunState.SUCCEEDED
    for name in cast.organisations:
        log_release(cast, name, run.id, cast.spec(job.id).digest)
    cast.forget_keys("patients", "ben")
    cast.withdraw(job.id, "ben")
    former = cast.people["ben"].key
    # A key changes: another epoch. The data is taken back with the new key; somebody rejects.
    cast.change_key("ben", SigningKey.generate())
    cast.accept_waiting("anna", "ben", "lea")
    other = cast.make_job(name="Second")
    cast.submit(other.id)
    cast.vote(other.id, "lea", Decision.REJECT)
    cast.share(cast.dataset_ids["patients"], "ben", back=True)
    others = cast.make_workspace("lea", "ben", name="Other")
    return History(cast=cast, former=former, workspace_id=cast.workspace_id, others_id=others)


def log_release(cast: Consortium, name: str, run_id: str, job_digest: str) -> None:
    """Enter a release as the relay does."""
    owner = cast.organisations[name]
    said = Release(
        v=1,
        organisation_id=owner.entry.id,
        workspace_id=cast.workspace_id,
        run_id=run_id,
        tee_key_id="sha256:" + "77" * 32,
        datasets={"ds-patients/1": "sha256:" + "33" * 32},
        released_at=cast.clock().isoformat(),
    )
    with cast.services.context.store.write() as session:
        log_book.append(
            cast.services.context,
            session,
            cast.workspace_id,
            EntryKind.RELEASE,
            run_id,
            now=cast.clock(),
            document=sign_release(said, owner.signing, job_digest=job_digest),
            organisation_id=owner.entry.id,
            job_digest=job_digest,
        )


@pytest.fixture(scope="session")
def history(tmp_path_factory) -> History:
    """Made once; nobody changes it."""
    made = make_history(tmp_path_factory.mktemp("history") / "home")
    made.cast.services.close()
    return made
