"""Consent taken back beside a database that refuses, forgets or lies: brokers learn it first, and the own file keeps it."""

from collections.abc import Callable
from dataclasses import replace

import pytest
from members_desk import NOBODY, Desk, open_desk

from opaque_jobs.client.memory import memory_path, own_memory
from opaque_jobs.client.reviews import cancel_review, cast_vote, revise_job
from opaque_jobs.client.signed_names import named_job
from opaque_jobs.client.withdrawals import taken_back, tell_withdrawals, withdraw_consent
from opaque_jobs.crypto.consent import sign_withdrawal
from opaque_jobs.crypto.keys import SigningKey
from opaque_jobs.domain.lifecycle import JobStatus
from opaque_jobs.domain.review import Decision
from opaque_jobs.errors import ConfigurationError, ConflictError, DeniedError, NotFoundError


@pytest.fixture(scope="module")
def desk():
    with open_desk(Desk) as made:
        yield made


@pytest.fixture
def refusing(desk):
    """A database that writes no withdrawal and moves no job."""
    refusals = ("withdrawals", "INSERT ON withdrawals"), ("jobs", "UPDATE ON jobs")
    yield lambda: desk.sql(*(f"CREATE TRIGGER no_{n} BEFORE {on} BEGIN SELECT RAISE(ABORT, 'no'); END" for n, on in refusals))
    desk.sql(*(f"DROP TRIGGER no_{name}" for name, _ in refusals))


def _reject(desk: Desk, job: str) -> None:
    cast_vote(*desk.who("lea"), job, decision=Decision.REJECT, comment="too wide", expected_digest=desk.digest(job))


ACTS: dict[str, tuple[str, Callable[[Desk], str], Callable[[Desk, str], object]]] = {
    "reject": ("lea", lambda desk: desk.submitted("ben"), _reject),
    "cancel": ("anna", lambda desk: desk.submitted("ben"), lambda desk, job: cancel_review(*desk.who("anna"), job)),
    "revise": ("anna", Desk.expired, lambda desk, job: revise_job(*desk.who("anna"), job)),
    "withdraw": ("ben", lambda desk: desk.submitted("ben", "lea"), lambda desk, job: withdraw_consent(*desk.who("ben"), job)),
}


@pytest.mark.parametrize("name", list(ACTS))
def test_database_that_does_not_write_keeps_no_withdrawal_from_brokers(desk, refusing, name):
    who, prepare, act = ACTS[name]
    job = prepare(desk)
    refusing()
    with pytest.raises(ConflictError, match="refers to it"):
        act(desk, job)
    assert desk.told(desk.digest(job)) == [1, 1]
    assert desk.kept(who)[desk.digest(job)]
    assert memory_path(desk.cast.services.context.settings, who).stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize("name", ["revise", "withdraw"])
def test_broker_that_is_away_is_named_and_told_later(desk, name):
    who, prepare, act = ACTS[name]
    job = prepare(desk)
    for each in desk.house.addresses:
        desk.cast.services.workspaces.move_broker(f"org-{each}", broker_address=NOBODY)
    desk.pin(NOBODY)
    try:
        with pytest.raises(ConfigurationError) as caught:
            act(desk, job)
    finally:
        desk.pin()
        for each, address in desk.house.addresses.items():
            desk.cast.services.workspaces.move_broker(f"org-{each}", broker_address=address)
    assert "tell-brokers" in caught.value.hint
    assert desk.told(desk.digest(job)) == [0, 0]
    desk.sql("DELETE FROM withdrawals")
    tell_withdrawals(*desk.who(who)[:2], desk.cast.workspace_id)
    assert desk.told(desk.digest(job)) == [1, 1]


@pytest.fixture
def away(desk):
    """Brokers that do not answer."""
    for each in desk.house.addresses:
        desk.cast.services.workspaces.move_broker(f"org-{each}", broker_address=NOBODY)
    desk.pin(NOBODY)
    yield
    desk.pin()
    for each, address in desk.house.addresses.items():
        desk.cast.services.workspaces.move_broker(f"org-{each}", broker_address=address)


def test_broker_that_is_away_is_named_though_the_database_refuses_too(desk, away, refusing):
    """What went wrong with the database hides nothing of what brokers do not know yet."""
    job = desk.submitted("ben", "lea")
    refusing()
    with pytest.raises(ConflictError, match=r"refers to it.*besides:.*cannot be reached") as caught:
        withdraw_consent(*desk.who("ben"), job)
    assert "tell-brokers" in caught.value.hint


@pytest.mark.parametrize("ended", [KeyboardInterrupt, ZeroDivisionError])
def test_broker_that_is_away_is_named_though_the_rest_is_interrupted(desk, away, ended):
    job = desk.submitted("ben", "lea")
    opened, ben, key = desk.who("ben")
    with pytest.raises(ConfigurationError, match=f"cannot be reached.*{ended.__name__}"):  # noqa: SIM117 - what is raised where
        with taken_back(opened, ben, key, [desk.cast.spec(job)]):
            raise ended


def test_withdrawal_of_a_former_key_keeps_no_other_from_brokers(desk):
    stale, job = desk.submitted("ben"), desk.submitted("ben")
    settings, former = desk.cast.services.context.settings, SigningKey.generate()
    before = replace(desk.cast.people["ben"].entry, public_key=former.public.text)
    old = sign_withdrawal(desk.cast.spec(stale), before, former, now=desk.cast.clock())
    now = desk.cast.withdrawal(desk.cast.spec(job), "ben")
    own_memory(settings, before).remember_consent([desk.cast.spec(stale)], withdrawal=old)
    own_memory(settings, before).remember_consent([desk.cast.spec(job)], withdrawal=now)
    tell_withdrawals(*desk.who("ben")[:2], desk.cast.workspace_id)
    assert (desk.told(desk.digest(stale)), desk.told(desk.digest(job))) == ([0, 0], [1, 1])
    withdraw_consent(*desk.who("ben"), stale)
    assert desk.told(desk.digest(stale)) == [1, 1]


def test_status_column_denies_no_withdrawal(desk):
    job = desk.submitted("ben", "lea")
    desk.sql(f"UPDATE revisions SET status = 'superseded' WHERE job_id = '{job}'", "UPDATE jobs SET status = 'expired'")  # noqa: S608
    withdraw_consent(*desk.who("ben"), job)
    assert desk.told(desk.digest(job)) == [1, 1]


def test_job_that_the_database_forgot_is_withdrawn_by_what_the_member_kept(desk):
    job = desk.submitted()
    digest = desk.digest(job)
    cast_vote(*desk.who("ben"), job, decision=Decision.APPROVE, expected_digest=desk.digest(job))
    desk.sql(*(f"DELETE FROM {table} WHERE job_id = '{job}'" for table in ("votes", "revision_datasets", "revisions")))  # noqa: S608
    desk.sql(f"DELETE FROM jobs WHERE id = '{job}'")  # noqa: S608
    opened, ben, _ = desk.who("ben")
    assert named_job(opened, ben, digest) == named_job(opened, ben, job) == (desk.cast.workspace_id, job)
    assert withdraw_consent(*desk.who("ben"), job) is None
    assert desk.told(digest) == [1, 1]
    with pytest.raises(NotFoundError):
        withdraw_consent(*desk.who("lea"), job)


def test_revision_that_is_called_accepted_without_its_votes_is_taken_back_when_its_author_revises(desk):
    job = desk.submitted("ben")
    desk.sql(*(f"UPDATE {table} SET status = 'accepted'" for table in ("revisions", "jobs")))  # noqa: S608
    assert revise_job(*desk.who("anna"), job).status is JobStatus.DRAFT
    assert desk.told(desk.digest(job)) == [1, 1]


def test_accepted_revision_stays_while_its_author_revises_and_an_act_that_is_not_allowed_signs_nothing(desk):
    job = desk.submitted("ben", "lea")
    with pytest.raises(ConflictError):
        cancel_review(*desk.who("anna"), job)
    with pytest.raises(DeniedError):
        revise_job(*desk.who("ben"), job)
    revise_job(*desk.who("anna"), job)
    with pytest.raises(ConflictError):
        revise_job(*desk.who("anna"), job)
    assert desk.told(desk.digest(job)) == [0, 0]
    assert not desk.kept("anna").get(desk.digest(job))


def test_what_may_not_be_revised_is_not_taken_back(desk):
    waiting, over = desk.submitted("ben"), desk.expired()
    with pytest.raises(ConflictError):
        revise_job(*desk.who("anna"), waiting)
    with pytest.raises(DeniedError):
        revise_job(*desk.who("ben"), over)
    with pytest.raises(ConflictError):
        revise_job(*desk.who("anna"), desk.cast.make_job().id)
    for job, name in ((waiting, "anna"), (over, "ben")):
        assert desk.told(desk.digest(job)) == [0, 0]
        assert not desk.kept(name).get(desk.digest(job))
