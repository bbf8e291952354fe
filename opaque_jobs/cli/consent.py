"""`opaque-jobs consent`: any member's veto, at any time."""

from typing import Annotated

import typer

from opaque_jobs.cli.command import Noun, common
from opaque_jobs.cli.documents import review_document
from opaque_jobs.cli.output import print_record, stderr
from opaque_jobs.cli.passphrase import PassphraseFile
from opaque_jobs.cli.session import Acting, acting_session, member_key
from opaque_jobs.client.rosters import in_force
from opaque_jobs.client.session import listed
from opaque_jobs.client.signed_names import named_job
from opaque_jobs.client.withdrawals import withdraw_consent

__all__ = ["app"]

app = Noun(help="Consent: what you have approved you can take back, at any time.")


@app.command("withdraw")
def withdraw(
    *,
    job: Annotated[str, typer.Argument(help="Job, by id, by name, or by a digest that you approved.")],
    acting: Acting = None,
    passphrase_file: PassphraseFile = None,
) -> None:
    """Withdraw your consent for good: every broker is told at once, and queued and scheduled runs get no keys.

    It works for every job that was ever submitted: cancelled, expired, rejected and superseded ones too. A name is first of all
    that of a job that you approved, which your own client remembers: also of one that the metadata database shows no more.

    A run that has its keys already goes on; who may run the job can end it with 'opaque-jobs run cancel'.
    """
    with acting_session(acting, passphrase_file, own=True) as (session, actor):
        workspace_id, job_id = named_job(session, actor, job)
        signing = in_force(session, actor, workspace_id)
        view = withdraw_consent(session, signing, member_key(session.settings, signing, passphrase_file), job_id)
        if view is None:
            stderr().print("every broker was told; the metadata database does not show this job")
            print_record({"job_id": job_id, "status": "withdrawn"}, as_json=common().json, title="consent withdrawn")
            return
        names = {entry.id: entry.name for entry in listed(session.people.members)}
        print_record(review_document(view, names), as_json=common().json, title="consent withdrawn")
