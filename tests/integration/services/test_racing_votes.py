"""Members who act at the same moment, from processes that know nothing of each other."""

import threading

from consortium import Consortium

from opaque_jobs.domain.lifecycle import JobStatus
from opaque_jobs.domain.review import Decision
from opaque_jobs.domain.run import Trigger
from opaque_jobs.errors import ConflictError
from opaque_jobs.services import open_services


def _at_once(cast: Consortium, *acts):
    """Run each act with services of its own, all at the same moment; gives the errors."""
    start, errors = threading.Barrier(len(acts)), []

    def run(act):
        context = cast.services.context
        services = open_services(context.settings, now=context.now, runtime=context.runtime)
        start.wait()
        try:
            act(services)
        except Exception as error:  # noqa: BLE001 - a thread's error would be lost
            errors.append(error)
        finally:
            services.close()

    threads = [threading.Thread(target=run, args=(act,)) for act in acts]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return errors


def test_last_two_votes_at_once_accept_the_job(study):
    job = study.make_job()
    study.submit(job.id)
    envelopes = [study.sign(study.spec(job.id), name) for name in ("ben", "lea")]
    errors = _at_once(
        study, *(lambda services, each=each: services.reviews.vote(job_id=job.id, envelope=each) for each in envelopes)
    )
    assert errors == []
    assert study.show(job.id).status is JobStatus.ACCEPTED


def test_approval_and_rejection_at_once_never_accept(study):
    job = study.make_job()
    study.submit(job.id)
    approval = study.sign(study.spec(job.id), "ben")
    rejection = study.sign(study.spec(job.id), "lea", Decision.REJECT, "no")
    withdrawal = study.withdrawal(study.spec(job.id), "lea")
    _at_once(
        study,
        lambda services: services.reviews.vote(job_id=job.id, envelope=approval),
        lambda services: services.reviews.vote(job_id=job.id, envelope=rejection, comment="no", withdrawal=withdrawal),
    )
    assert study.show(job.id).status is JobStatus.REJECTED


def test_same_attempt_opened_at_once_is_one_run(study):
    job = study.accepted_job()
    found = []

    def open_it(services):
        run = services.runs.open(
            job_id=job.id,
            revision=1,
            dag_run_id="manual__1",
            attempt=1,
            actor=study.id("anna"),
            trigger=Trigger.MANUAL,
            inputs={},
        )
        found.append(run.id)

    assert _at_once(study, *[open_it] * 4) == []
    assert len(set(found)) == 1


def test_run_started_at_once_by_many_starts_once(study):
    run = study.open_run(study.accepted_job().id)
    errors = _at_once(study, *[lambda services: services.runs.start(run.id)] * 4)
    assert [type(error) for error in errors] == [ConflictError] * 3
