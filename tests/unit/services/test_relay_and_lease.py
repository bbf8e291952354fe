"""The relay carries an enclave's requests to the job's own brokers only; the lease ends with the caller's or the run's word."""

import pytest

from opaque_jobs.attestation.kbs import LOG_KEEPER, consistency_answer, consistency_path
from opaque_jobs.errors import ConflictError
from opaque_jobs.protocol.enclave import BrokerRequest
from opaque_jobs.runner.lease import RunLease
from opaque_jobs.runner.relay import BrokerRelay


def make_request(**over):
    given = {"request_id": 1, "org_id": "org-laboratory", "method": "POST", "path": "/kbs/v0/auth", "cookie": "", "body": "{}"}
    return BrokerRequest(**(given | over))


@pytest.mark.parametrize("over", [{"org_id": "org-other"}, {"org_id": ""}, {"path": "/opaque/v1/deposits"}, {"method": "PUT"}])
def test_request_to_anybody_or_anything_else_does_not_leave(study, over):
    spec = study.services.jobs.spec_for_submission(study.make_job().id, actor=study.id("anna"))
    with BrokerRelay(study.services.context, spec, run_id="run-1", asks_for_keys=lambda: None) as relay:
        assert relay(make_request(**over)).status == 0


@pytest.mark.parametrize(("sizes", "proved"), [((3, 5), True), ((5, 3), False), ((3, 10**9), False)])
def test_keeper_of_the_log_proves_that_it_only_grew_as_far_as_it_goes(study, sizes, proved):
    spec = study.services.jobs.spec_for_submission(study.make_job().id, actor=study.id("anna"))
    asked = make_request(org_id=LOG_KEEPER, method="GET", path=consistency_path(*sizes), body="")
    with BrokerRelay(study.services.context, spec, run_id="run-1", asks_for_keys=lambda: None) as relay:
        answer = relay(asked)
    path = study.services.logs.consistency(study.workspace_id, actor=study.id("anna"), first=3, second=5)
    assert (answer.status, answer.body) == (200, consistency_answer(path if proved else []))


def test_request_for_keys_is_noted_before_it_leaves(study):
    spec = study.services.jobs.spec_for_submission(study.make_job().id, actor=study.id("anna"))
    noted = []

    def refuse():
        noted.append(1)
        raise ConflictError("closed")

    with BrokerRelay(study.services.context, spec, run_id="run-1", asks_for_keys=refuse) as relay:
        path = f"/kbs/v0/resource/{spec.workspace_id}/ds-findings/1"
        assert relay(make_request(method="GET", path=path, body="")).status == 0
    assert noted == [1]


def test_lease_is_not_renewed_once_the_caller_says_no(study):
    run = study.open_run(study.accepted_job().id)
    study.services.runs.start(run.id)
    answers = [True, False]
    with RunLease(study.services.runs, run.id, lambda: answers.pop(0)) as lease:
        assert lease.keep()
        assert not lease.keep()


def test_lease_is_not_renewed_after_its_session(study):
    run = study.open_run(study.accepted_job().id)
    study.services.runs.start(run.id)
    with RunLease(study.services.runs, run.id, lambda: True) as lease:
        assert lease.keep()
    assert not lease.keep()


def test_told_word_is_stored_with_the_next_answer(study):
    run = study.open_run(study.accepted_job().id)
    study.services.runs.start(run.id)
    with RunLease(study.services.runs, run.id, lambda: True) as lease:
        lease.tell("attesting")
        assert lease.keep()
    assert study.services.runs.show(run.id, actor=study.id("lea")).progress == "attesting"
