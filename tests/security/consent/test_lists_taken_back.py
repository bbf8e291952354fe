"""A member list that somebody took back, or signed another in place of, and that the others complete behind their back."""

from contextlib import suppress

import pytest
from members_desk import NOBODY
from own_files import accept_shown, forget

from opaque_jobs.client import withdrawals
from opaque_jobs.client.holds import hold, signed_hold, tell_taken_back
from opaque_jobs.client.keys import own_key_ids
from opaque_jobs.client.memory import own_memory
from opaque_jobs.client.organisation import pinned_organisation
from opaque_jobs.client.reviews import cast_vote, submit_job
from opaque_jobs.client.rosters import accept_roster, changed_keys, in_force, take_back_roster
from opaque_jobs.client.signed_lists import list_for_brokers, signed_list
from opaque_jobs.client.telling import push
from opaque_jobs.client.withdrawals import tell_withdrawals, withdraw_consent
from opaque_jobs.crypto.consent import sign_withdrawal
from opaque_jobs.domain.canonical import digest
from opaque_jobs.domain.release import HoldScope
from opaque_jobs.domain.review import Decision, NamedJob
from opaque_jobs.domain.workspace import Roster, RunPolicy
from opaque_jobs.errors import ConfigurationError, ConflictError, NotFoundError, OpaqueJobsError, TrustError


def known(desk, *names: str) -> None:
    """These members' clients see the list in force."""
    for name in names:
        in_force(*desk.who(name)[:2], desk.cast.workspace_id)


@pytest.fixture
def desk(desk):
    known(desk, "anna", "ben", "lea")
    return desk


def propose(desk, policy: RunPolicy = RunPolicy.ALL_MEMBERS) -> Roster:
    return desk.who("anna")[0].workspaces.propose_change(workspace_id=desk.cast.workspace_id, run_policy=policy).roster


def waiting(desk):
    return desk.cast.services.workspaces.show(desk.cast.workspace_id, actor=desk.cast.id("anna")).proposal


def accept(desk, *names: str) -> None:
    for name in names:
        opened, member, key = desk.who(name)
        accept_shown(opened, desk.cast.workspace_id, member, key)


def complete(desk, roster: Roster, *names: str) -> None:
    """The database's administrator puts a list up again, and these members sign it."""
    desk.run("UPDATE rosters SET state = 'replaced' WHERE state = 'proposed'")
    desk.run("UPDATE rosters SET state = 'proposed' WHERE digest = ?", roster.digest)
    desk.run("UPDATE workspaces SET status = 'active'")
    for name in names:
        with suppress(OpaqueJobsError):
            accept(desk, name)


def take_back(desk, who: str = "lea") -> str | None:
    opened, member, key = desk.who(who)
    return take_back_roster(opened, desk.cast.workspace_id, member, lambda: key)[1]


def held(desk, organisation: str = "laboratory") -> frozenset[str]:
    with desk.house.brokers[organisation].store.transaction() as memory:
        return memory.vetoes.held()


def believed(desk, organisation: str) -> str | None:
    with desk.house.brokers[organisation].store.transaction() as memory:
        known = memory.roster(desk.cast.workspace_id)
    return known and known.digest


def test_list_that_a_member_took_back_is_not_believed_by_their_own_broker_whoever_completes_it(desk):
    roster = propose(desk)
    accept(desk, "anna", "lea")
    take_back(desk)
    complete(desk, roster, "ben")
    assert desk.cast.services.workspaces.show(desk.cast.workspace_id, actor=desk.cast.id("lea")).roster == roster
    assert believed(desk, "hospital") == roster.digest != believed(desk, "laboratory")


def test_list_that_a_member_signed_and_the_database_hides_is_taken_back(desk):
    roster = propose(desk)
    accept(desk, "anna", "lea")
    desk.run("UPDATE rosters SET state = 'replaced' WHERE state = 'proposed'")
    with pytest.raises(ConflictError):
        take_back(desk)
    complete(desk, roster, "ben")
    assert believed(desk, "laboratory") != roster.digest


def test_taking_a_list_back_leaves_the_one_in_force(desk):
    """It came into force while nobody told the member."""
    propose(desk)
    accept(desk, "lea", "anna", "ben")
    propose(desk, RunPolicy.AUTHOR)
    assert take_back(desk) is None
    assert waiting(desk) is None
    assert not held(desk)


def test_list_in_force_that_the_database_hides_is_not_held(desk):
    roster = propose(desk)
    accept(desk, "lea", "anna", "ben")
    desk.run("DELETE FROM acceptances WHERE roster_digest = ?", roster.digest)
    desk.run("UPDATE rosters SET state = 'proposed' WHERE digest = ?", roster.digest)
    with pytest.raises(ConflictError, match="is in force"):
        take_back(desk)
    assert not held(desk)
    assert not own_memory(desk.cast.services.context.settings, desk.who("lea")[1]).lists_taken_back()
    assert believed(desk, "laboratory") == roster.digest


def test_list_that_a_member_did_not_sign_is_taken_back_without_their_key(desk):
    propose(desk)
    opened, lea, _ = desk.who("lea")
    view, digest = take_back_roster(opened, desk.cast.workspace_id, lea, lambda: pytest.fail("nothing is to be signed"))
    assert (view.proposal, digest) == (None, None)
    assert not held(desk)


def test_list_is_taken_back_though_the_own_broker_is_away_which_is_said_and_told_later(desk):
    roster = propose(desk)
    accept(desk, "anna", "lea")
    desk.pin(NOBODY)
    with pytest.raises(ConfigurationError):
        take_back(desk)
    assert waiting(desk) is None
    desk.pin()
    opened, lea, _ = desk.who("lea")
    tell_withdrawals(opened, lea, desk.cast.workspace_id)
    assert held(desk) == {roster.digest}
    complete(desk, roster, "ben")
    assert believed(desk, "laboratory") != roster.digest


def test_member_relies_on_no_list_that_they_took_back_and_signs_it_no_more(desk):
    roster = propose(desk)
    accept(desk, "anna", "lea")
    assert take_back(desk) == roster.digest
    complete(desk, roster, "ben")
    opened, lea, key = desk.who("lea")
    told = opened.workspaces.broker_push(desk.cast.workspace_id)
    with pytest.raises(TrustError, match="you took back"):
        signed_list(opened.settings, lea, told.roster, told.acceptances)
    desk.run("DELETE FROM acceptances WHERE member_id = 'member-lea' AND roster_digest = ?", roster.digest)
    desk.run("UPDATE rosters SET state = 'proposed' WHERE digest = ?", roster.digest)
    with pytest.raises(ConflictError, match="took this member list back"):
        accept_shown(opened, desk.cast.workspace_id, lea, key)


def test_member_votes_on_nothing_under_a_list_that_they_took_back(desk):
    roster = propose(desk)
    accept(desk, "anna", "lea")
    take_back(desk)
    complete(desk, roster, "ben")
    job = desk.cast.make_job().id
    desk.cast.submit(job)
    with pytest.raises(TrustError, match="you took back"):
        cast_vote(*desk.who("lea"), job, decision=Decision.APPROVE, expected_digest=desk.digest(job))


def test_author_submits_nothing_under_a_list_that_they_took_back(desk):
    roster = propose(desk)
    accept(desk, "anna", "lea")
    take_back(desk, "anna")
    complete(desk, roster, "ben")
    job = desk.cast.make_job().id
    seen = desk.cast.services.jobs.spec_for_submission(job, actor="member-anna").digest
    with pytest.raises(TrustError, match="you took back"):
        submit_job(*desk.who("anna"), job, test_run_id=None, no_test_reason="none", expected_digest=seen)


def test_list_that_was_taken_back_is_told_to_no_broker_by_a_client_that_keeps_none(desk):
    roster = propose(desk)
    accept(desk, "anna", "lea")
    take_back(desk)
    complete(desk, roster, "ben")
    opened, lea, _ = desk.who("lea")
    forget(opened.settings, "lea", "agreed_lists")
    with pytest.raises(TrustError, match="you took back"):
        list_for_brokers(opened, lea, desk.cast.workspace_id)


def kept(desk) -> list[str]:
    opened, lea, _ = desk.who("lea")
    return [each.digest for each in own_memory(opened.settings, lea).lists_taken_back()]


def test_what_a_broker_knows_already_or_refuses_keeps_nothing_else_from_it(desk):
    """One list was held by hand meanwhile, another lifted by a colleague, one is in force: the rest is told all the same."""
    opened, lea, key = desk.who("lea")
    settings, own = opened.settings, pinned_organisation(opened.settings, lea)
    lists = []
    desk.pin(NOBODY)
    for _ in range(3):
        lists.append(propose(desk))
        accept(desk, "lea")
        with pytest.raises(ConfigurationError):
            take_back(desk)
    desk.pin()
    assert kept(desk) == [each.digest for each in lists]
    hold(own, lea, key, scope=HoldScope.ROSTER, subject=lists[0].digest, held=True)
    tell_taken_back(
        settings, lea, [each for each in own_memory(settings, lea).lists_taken_back() if each.digest == lists[1].digest]
    )
    hold(own, lea, key, scope=HoldScope.ROSTER, subject=lists[1].digest, held=False)
    last = propose(desk)
    accept(desk, "lea", "anna", "ben")
    said = signed_hold(own, lea, key, scope=HoldScope.ROSTER, subject=last.digest)
    own_memory(settings, lea).remember_taken_back(last, said)
    job = desk.cast.make_job().id
    desk.cast.submit(job)
    spec = desk.cast.spec(job)
    own_memory(settings, lea).remember_consent([spec], withdrawal=desk.cast.withdrawal(spec, "lea"))
    with pytest.raises(OpaqueJobsError):
        tell_withdrawals(opened, lea, desk.cast.workspace_id)
    assert kept(desk) == [each.digest for each in lists]
    assert held(desk) == {lists[0].digest, lists[2].digest}
    assert desk.told(spec.digest) == [1, 1]


def test_first_list_taken_back_while_the_broker_was_away_is_told_by_the_workspaces_id(desk):
    opened, lea, key = desk.who("lea")
    proposal = desk.cast.propose_workspace("lea", "anna", name="Other")
    accept_shown(opened, proposal.workspace_id, lea, key)
    desk.pin(NOBODY)
    with pytest.raises(ConfigurationError) as caught:
        take_back_roster(opened, proposal.workspace_id, lea, lambda: key)
    assert f"tell-brokers {proposal.workspace_id}" in caught.value.hint
    desk.pin()
    tell_withdrawals(opened, lea, proposal.workspace_id)
    assert held(desk) == {proposal.roster.digest}


def test_broker_that_was_away_is_spoken_of_though_the_database_hides_the_list(desk):
    propose(desk)
    accept(desk, "lea")
    desk.run("UPDATE rosters SET state = 'replaced' WHERE state = 'proposed'")
    desk.pin(NOBODY)
    with pytest.raises(ConfigurationError):
        take_back(desk)


def test_broker_that_refuses_a_withdrawal_is_spoken_of_by_who_took_a_list_back(desk, monkeypatch):
    propose(desk)
    accept(desk, "lea")
    take_back(desk)
    opened, lea, _ = desk.who("lea")

    def elsewhere(*_args: object, **_over: object) -> None:
        raise NotFoundError("another server answers there")

    monkeypatch.setattr(withdrawals, "push", elsewhere)
    with pytest.raises(NotFoundError, match="another server"):
        tell_withdrawals(opened, lea, desk.cast.workspace_id)


def test_withdrawal_reaches_brokers_that_believe_a_list_that_the_member_took_back(desk):
    """The hospital's broker believes it, as its people signed it; lea took it back, and then her consent too."""
    roster = propose(desk)
    accept(desk, "anna", "lea")
    take_back(desk)
    complete(desk, roster, "ben")
    assert believed(desk, "hospital") == roster.digest
    job = desk.cast.make_job().id
    desk.cast.submit(job)
    spec = desk.cast.spec(job)
    opened, lea, key = desk.who("lea")
    with suppress(OpaqueJobsError):
        withdraw_consent(opened, lea, key, job)
    assert desk.told(spec.digest) == [1, 1]


def test_withdrawal_reaches_brokers_that_only_a_list_that_the_member_took_back_names(desk):
    cast, (opened, lea, key) = desk.cast, desk.who("lea")
    where = cast.make_workspace("lea", "mallory", name="Other")
    in_force(opened, lea, where)
    members = [cast.id(each) for each in ("lea", "mallory", "anna")]
    proposal = opened.workspaces.propose_change(workspace_id=where, member_ids=members)
    accept_shown(opened, where, lea, key)
    take_back_roster(opened, where, lea, lambda: key)
    desk.run("UPDATE rosters SET state = 'proposed' WHERE digest = ?", proposal.roster.digest)
    for name in ("mallory", "anna"):
        cast.accept(proposal, name)
    job = NamedJob(workspace_id=where, job_id="job-1", digest=digest(b"approved"))
    with suppress(OpaqueJobsError), withdrawals.taken_back(opened, lea, key, [job]):
        pass
    with desk.house.brokers["hospital"].store.transaction() as memory:
        assert len(memory.withdrawals(where, job.digest)) == 1


def test_withdrawal_that_cannot_be_told_for_want_of_a_list_is_spoken_of(desk):
    opened, lea, key = desk.who("lea")
    proposal = desk.cast.propose_workspace("lea", "anna", name="Other")
    accept_shown(opened, proposal.workspace_id, lea, key)
    take_back_roster(opened, proposal.workspace_id, lea, lambda: key)
    tell_withdrawals(opened, lea, proposal.workspace_id)
    job = NamedJob(workspace_id=proposal.workspace_id, job_id="job-1", digest=digest(b"approved"))
    own_memory(opened.settings, lea).remember_consent([job], withdrawal=sign_withdrawal(job, lea, key, now=desk.cast.clock()))
    with pytest.raises((ConflictError, NotFoundError)):
        tell_withdrawals(opened, lea, proposal.workspace_id)


class Forgetful:
    """Asks for a passphrase, and gets a wrong one the first time."""

    def __init__(self, key) -> None:
        self.key, self.asked = key, 0
        self.public = key.public

    def sign(self, data: bytes) -> bytes:
        self.asked += 1
        if self.asked == 1:
            raise TrustError("the passphrase is wrong")
        return self.key.sign(data)


def test_wrong_passphrase_drops_no_list_that_is_to_be_taken_back(desk):
    propose(desk)
    accept(desk, "lea")
    propose(desk)
    opened, lea, key = desk.who("lea")
    with pytest.raises(TrustError, match="passphrase"):
        accept_shown(opened, desk.cast.workspace_id, lea, Forgetful(key))
    assert lea.id in waiting(desk).waiting_for


def test_list_is_signed_in_place_of_another_though_the_own_broker_learns_that_later(desk):
    """After a change of the member's key the broker knows the new one only once it is pinned."""
    replaced = propose(desk)
    accept(desk, "lea")
    desk.pin(NOBODY)
    propose(desk)
    notes: list[str] = []
    opened, lea, key = desk.who("lea")
    accept_shown(opened, desk.cast.workspace_id, lea, key, on_note=notes.append)
    desk.pin()
    opened, lea, _ = desk.who("lea")
    assert len(notes) == 1
    assert desk.cast.workspace_id in notes[0]
    tell_withdrawals(opened, lea, desk.cast.workspace_id)
    assert held(desk) == {replaced.digest}


def test_list_that_the_own_broker_knows_to_be_in_force_is_not_signed_away(desk):
    roster = propose(desk)
    accept(desk, "lea", "anna", "ben")
    desk.run("DELETE FROM acceptances WHERE roster_digest = ?", roster.digest)
    desk.run("UPDATE rosters SET state = 'replaced' WHERE epoch = 2")
    desk.run("UPDATE rosters SET state = 'in_force' WHERE epoch = 1")
    propose(desk)
    opened, lea, key = desk.who("lea")
    with pytest.raises(TrustError, match="does not follow"):
        accept_shown(opened, desk.cast.workspace_id, lea, key)
    assert not held(desk)


def test_list_that_calls_the_workspace_otherwise_is_not_signed(desk):
    desk.run("UPDATE workspaces SET name = 'Elsewhere'")
    propose(desk)
    opened, lea, key = desk.who("lea")
    with pytest.raises(TrustError, match="calls the workspace otherwise"):
        accept_shown(opened, desk.cast.workspace_id, lea, key)


def test_list_in_whose_place_a_member_signed_another_is_not_believed_by_their_own_broker(desk):
    replaced = propose(desk)
    accept(desk, "anna", "lea")
    propose(desk)
    accept(desk, "lea")
    complete(desk, replaced, "ben")
    assert believed(desk, "hospital") == replaced.digest != believed(desk, "laboratory")


def test_list_that_another_follows_is_not_held(desk):
    for policy in (RunPolicy.ALL_MEMBERS, RunPolicy.AUTHOR):
        propose(desk, policy)
        accept(desk, "anna", "ben", "lea")
    assert not held(desk)


def test_list_that_is_put_up_in_place_of_one_in_force_is_not_signed(desk):
    """Its epoch is that of a list that all signed: signing it would take that one back."""
    roster = propose(desk)
    accept(desk, "anna", "ben", "lea")
    known(desk, "lea")
    opened, lea, key = desk.who("lea")
    own_memory(opened.settings, lea).remember_list(roster)
    desk.run("UPDATE rosters SET state = 'replaced' WHERE epoch = 2")
    desk.run("UPDATE rosters SET state = 'in_force' WHERE epoch = 1")
    propose(desk)
    with pytest.raises(TrustError, match="does not follow"):
        changed_keys(opened, opened.workspaces.show(desk.cast.workspace_id), lea)
    with pytest.raises(TrustError, match="does not follow"):
        accept_shown(opened, desk.cast.workspace_id, lea, key)
    assert believed(desk, "laboratory") == roster.digest


def test_the_same_proposed_again_after_it_was_taken_back_is_another_list(desk):
    first = propose(desk)
    accept(desk, "anna", "lea")
    take_back(desk)
    second = propose(desk)
    assert second.digest != first.digest
    assert len(waiting(desk).waiting_for) == 3
    accept(desk, "anna", "ben", "lea")
    assert believed(desk, "laboratory") == believed(desk, "hospital") == second.digest


def test_list_is_accepted_only_with_the_digest_that_was_seen(desk):
    seen = propose(desk)
    shown = propose(desk)
    opened, lea, key = desk.who("lea")
    with pytest.raises(ConflictError, match="not the one that you looked at"):
        accept_roster(opened, desk.cast.workspace_id, lea, key, expected_digest=seen.digest)
    view = accept_roster(opened, desk.cast.workspace_id, lea, key, expected_digest=shown.digest)
    assert lea.id not in view.proposal.waiting_for


def test_brokers_that_missed_lists_are_told_those_that_the_member_kept_where_the_database_hides_them(desk):
    for policy in (RunPolicy.ALL_MEMBERS, RunPolicy.AUTHOR):
        propose(desk, policy)
        proposal = waiting(desk)
        for name in ("anna", "ben", "lea"):
            desk.cast.accept(proposal, name)
        known(desk, "lea")
    desk.run("DELETE FROM acceptances WHERE roster_digest IN (SELECT digest FROM rosters WHERE epoch < 3)")
    desk.run("UPDATE rosters SET body = CAST('{}' AS BLOB) WHERE epoch = 2")
    opened, lea, _ = desk.who("lea")
    told = list_for_brokers(opened, in_force(opened, lea, desk.cast.workspace_id), desk.cast.workspace_id)
    assert [len(signed) for _, signed in told.earlier] == [3, 3]
    push(told, pinned_organisation(opened.settings, lea), keys=own_key_ids(opened.settings, lea))
    assert believed(desk, "laboratory") == believed(desk, "hospital") == digest(told.roster)
