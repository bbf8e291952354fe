"""The database hides, plants and swaps rows, so that what is taken back would be nowhere: the member's client knows better."""

from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from consortium import make_person
from members_desk import NOBODY, Desk, open_desk
from own_files import write_public_part

from opaque_jobs.client.keys import former_key_path, member_key_path
from opaque_jobs.client.memory import own_memory
from opaque_jobs.client.organisation import pinned_organisation
from opaque_jobs.client.publishing import unshare_dataset
from opaque_jobs.client.reviews import cancel_review, cast_vote, revise_job, submit_job
from opaque_jobs.client.rosters import in_force
from opaque_jobs.client.signed_lists import list_for_brokers
from opaque_jobs.client.telling import push
from opaque_jobs.client.withdrawals import tell_withdrawals, withdraw_consent
from opaque_jobs.crypto.consent import consent_refusals, sign_acceptance, sign_vote
from opaque_jobs.crypto.key_files import read_public_keys
from opaque_jobs.crypto.keys import SigningKey
from opaque_jobs.domain.review import Decision
from opaque_jobs.domain.workspace import RunPolicy, parse_roster
from opaque_jobs.errors import ConfigurationError, OpaqueJobsError, TrustError
from opaque_jobs.standalone.local_session import local_session


class Lying(Desk):
    """A desk whose database somebody else writes."""

    def signed(self) -> str:
        """A job that its author submitted with their own client."""
        job = self.cast.make_job().id
        self.submit(job)
        return job

    def submit(self, job: str) -> None:
        seen = self.cast.services.jobs.spec_for_submission(job, actor=self.cast.id("anna")).digest
        submit_job(*self.who("anna"), job, test_run_id=None, no_test_reason="tested elsewhere", expected_digest=seen)

    def approved(self, job: str, *names: str) -> str:
        for name in names:
            cast_vote(*self.who(name), job, decision=Decision.APPROVE, expected_digest=self.digest(job))
        return self.digest(job)

    def known(self, *names: str) -> None:
        """These members' clients saw the list in force."""
        for name in names:
            in_force(
                local_session(self.cast.services, self.cast.people[name].entry),
                self.cast.people[name].entry,
                self.cast.workspace_id,
            )

    def shared(self) -> set[str]:
        genesis = self.first.genesis_digest
        with self.house.brokers["hospital"].store.transaction() as memory:
            return memory.vetoes.shared(self.cast.workspace_id, genesis)

    def share(self) -> None:
        opened, anna, _ = self.who("anna")
        self.first = opened.workspaces.show(self.cast.workspace_id).roster
        told = opened.workspaces.broker_push(self.cast.workspace_id)
        own = pinned_organisation(opened.settings, anna)
        push(told, own, sharings=[self.cast.sharing("ds-patients", "anna")], only=own.entry.id)
        assert self.shared() == {"ds-patients"}


@pytest.fixture
def desk():
    with open_desk(Lying, now=datetime.now(UTC)) as made:
        yield made


def test_cancel_takes_back_what_the_author_signed_whatever_document_is_shown(desk):
    job = desk.signed()
    true = desk.cast.spec(job)
    other = replace(true, name="Another")
    desk.run("UPDATE revisions SET spec = ?, digest = ? WHERE job_id = ?", other.to_bytes(), other.digest, job)
    cancel_review(*desk.who("anna"), job)
    assert (desk.told(true.digest), desk.told(other.digest)) == ([1, 1], [1, 1])
    assert desk.kept("anna")[true.digest]


def test_cancel_takes_back_the_revision_under_review_and_leaves_the_accepted_one(desk):
    job = desk.signed()
    first = desk.approved(job, "ben", "lea")
    revise_job(*desk.who("anna"), job)
    desk.submit(job)
    second = desk.digest(job)
    cancel_review(*desk.who("anna"), job)
    assert (desk.told(first), desk.told(second)) == ([0, 0], [1, 1])


def test_cancel_takes_back_what_was_submitted_last_though_its_votes_were_held_back_until_then(desk):
    job = desk.signed()
    digest = desk.approved(job, "ben", "lea")
    desk.run("UPDATE jobs SET status = 'under_review' WHERE id = ?", job)
    desk.run("UPDATE revisions SET status = 'under_review' WHERE job_id = ?", job)
    cancel_review(*desk.who("anna"), job)
    assert desk.told(digest) == [1, 1]


def test_revise_takes_back_what_the_author_signed_and_the_database_hides(desk):
    job = desk.signed()
    first = desk.approved(job, "ben", "lea")
    revise_job(*desk.who("anna"), job)
    desk.submit(job)
    second = desk.digest(job)
    for table in ("revision_datasets", "votes", "revisions"):
        desk.run(f"DELETE FROM {table} WHERE revision = 2")  # noqa: S608
    desk.run("UPDATE jobs SET status = 'expired' WHERE id = ?", job)
    revise_job(*desk.who("anna"), job)
    assert (desk.told(first), desk.told(second)) == ([0, 0], [1, 1])


def test_revision_before_is_taken_back_once_another_is_accepted_though_the_database_hides_it(desk):
    job = desk.signed()
    first = desk.approved(job, "ben", "lea")
    revise_job(*desk.who("anna"), job)
    desk.submit(job)
    desk.approved(job, "ben")
    for table in ("revision_datasets", "votes", "revisions"):
        desk.run(f"DELETE FROM {table} WHERE revision = 1")  # noqa: S608
    second = desk.approved(job, "lea")
    assert (desk.told(first), desk.told(second)) == ([1, 1], [0, 0])


def test_revision_that_only_an_invented_list_accepts_is_taken_back_when_its_author_revises(desk):
    """All in that list signed it and approve; the keys by which it names anna and the others are the administrator's."""
    cast, job = desk.cast, desk.signed()
    desk.approved(job, "ben", "lea")
    forgers = [make_person(name, cast.people[name].entry.organisation_id) for name in ("anna", "ben", "lea")]
    invented = replace(desk.first_list(), members=tuple(each.entry for each in forgers), name="Invented")
    true = cast.spec(job)
    other = replace(true, roster_digest=invented.digest, workspace_genesis=invented.genesis_digest)
    insert = "INSERT INTO rosters SELECT ?, workspace_id, epoch, 'past', ?, created_at FROM rosters"
    desk.run(insert, invented.digest, invented.to_bytes())
    desk.run("UPDATE revisions SET spec = ?, digest = ?, roster_digest = ?", other.to_bytes(), other.digest, invented.digest)
    for each in forgers:
        accepted = sign_acceptance(invented, each.entry, each.key, now=cast.clock())
        row = "INSERT INTO acceptances SELECT ?, member_id, ?, accepted_at FROM acceptances WHERE member_id = ? LIMIT 1"
        desk.run(row, invented.digest, accepted, each.id)
        vote = sign_vote(other, each.entry, each.key, decision=Decision.APPROVE, comment=None, seen="0 x", now=cast.clock())
        desk.run("UPDATE votes SET envelope = ? WHERE member_id = ?", vote, each.id)
    assert not consent_refusals(cast.services.reviews.bundle(job, 1), other)
    settings, anna = cast.services.context.settings, cast.people["anna"].entry
    own_memory(settings, anna).remember_consent([other], withdrawal=None)
    revise_job(*desk.who("anna"), job)
    assert desk.told(other.digest) == [1, 1]


@pytest.mark.parametrize("nonsense", [False, True])
def test_planted_revision_keeps_no_withdrawal_from_brokers(desk, nonsense):
    job = desk.cast.accepted_job().id
    true = desk.cast.spec(job)
    planted = replace(true, revision=2, workspace_id="ws-elsewhere")
    rest = "roster_digest, submitted_at, decided_at, deadline, test_run_id, no_test_reason FROM revisions WHERE job_id = ?"
    desk.run(
        f"INSERT INTO revisions SELECT job_id, 2, status, version, ?, ?, {rest}",
        planted.digest,
        b"{}" if nonsense else planted.to_bytes(),
        job,
    )
    withdraw_consent(*desk.who("lea"), job)
    assert desk.told(true.digest) == [1, 1]


def test_another_job_shown_as_a_revision_is_not_withdrawn_with_it(desk):
    job, other = desk.cast.accepted_job().id, desk.cast.accepted_job(name="Other").id
    shown = desk.cast.spec(other)
    rest = "roster_digest, submitted_at, decided_at, deadline, test_run_id, no_test_reason FROM revisions WHERE job_id = ?"
    desk.run(f"INSERT INTO revisions SELECT job_id, 2, status, version, ?, ?, {rest}", "planted", shown.to_bytes(), job)
    withdraw_consent(*desk.who("lea"), job)
    assert desk.told(shown.digest) == [0, 0]


def test_job_of_the_same_id_elsewhere_that_was_signed_before_keeps_no_withdrawal_from_brokers(desk):
    cast = desk.cast
    job, other = cast.accepted_job().id, cast.make_workspace("lea", name="Alone")
    settings, lea = cast.services.context.settings, cast.people["lea"].entry
    for elsewhere in (other, "ws-gone"):
        own_memory(settings, lea).remember_consent([replace(cast.spec(job), workspace_id=elsewhere)], withdrawal=None)
    with pytest.raises(OpaqueJobsError):  # nobody knows one of the workspaces
        withdraw_consent(*desk.who("lea"), job)
    assert desk.told(desk.digest(job)) == [1, 1]
    assert None not in desk.kept("lea").values()


HIDDEN = ("DELETE FROM roster_members", "UPDATE rosters SET state = 'past'")
NONSENSE = ("UPDATE rosters SET body = X'7B7D'",)


@pytest.mark.parametrize("lies", [HIDDEN, NONSENSE], ids=["hidden", "nonsense"])
def test_member_list_that_is_hidden_or_nonsense_keeps_no_withdrawal_from_brokers(desk, lies):
    job = desk.signed()
    digest = desk.approved(job, "ben", "lea")
    desk.known("lea")
    desk.sql(*lies)
    opened, lea, key = desk.who("lea")
    member = in_force(opened, lea, desk.cast.workspace_id)
    assert member == lea
    with suppress(OpaqueJobsError):  # it cannot be recorded there
        withdraw_consent(opened, member, key, job)
    assert desk.told(digest) == [1, 1]


def test_list_of_an_earlier_epoch_is_not_taken_for_the_one_in_force(desk):
    cast = desk.cast
    proposal = cast.services.workspaces.propose_change(
        actor=cast.id("anna"), workspace_id=cast.workspace_id, run_policy=RunPolicy.ALL_MEMBERS
    )
    for name in ("anna", "ben", "lea"):
        cast.accept(proposal, name)
    desk.known("lea")
    desk.sql("UPDATE rosters SET state = 'past' WHERE epoch = 2", "UPDATE rosters SET state = 'in_force' WHERE epoch = 1")
    opened, lea, _ = desk.who("lea")
    assert parse_roster(list_for_brokers(opened, lea, cast.workspace_id).roster).epoch == 2


def test_brokers_are_told_beside_the_last_list_that_was_signed_where_another_is_shown(desk):
    desk.known("lea")
    other = desk.cast.make_workspace("lea", name="Alone")
    digest = desk.approved(job := desk.submitted("ben"), "lea")
    desk.pin(NOBODY)
    for each in desk.house.addresses:
        desk.cast.services.workspaces.move_broker(f"org-{each}", broker_address=NOBODY)
    with pytest.raises(ConfigurationError):
        withdraw_consent(*desk.who("lea"), job)
    desk.pin()
    for each, address in desk.house.addresses.items():
        desk.cast.services.workspaces.move_broker(f"org-{each}", broker_address=address)
    swapped = "UPDATE rosters SET body = (SELECT body FROM rosters WHERE workspace_id = ?) WHERE workspace_id = ?"
    desk.run(swapped, other, desk.cast.workspace_id)
    tell_withdrawals(*desk.who("lea")[:2], desk.cast.workspace_id)
    assert desk.told(digest) == [1, 1]


def test_telling_brokers_beside_another_workspaces_list_is_no_success(desk):
    other = desk.cast.make_workspace("lea", name="Alone")
    swapped = "UPDATE rosters SET body = (SELECT body FROM rosters WHERE workspace_id = ?) WHERE workspace_id = ?"
    desk.run(swapped, other, desk.cast.workspace_id)
    with pytest.raises(TrustError, match="another workspace's member list"):
        tell_withdrawals(*desk.who("lea")[:2], desk.cast.workspace_id)


SHARINGS = {
    "hidden list": HIDDEN,
    "nonsense for a list": NONSENSE,
    "sharing that is not shown": ("DELETE FROM dataset_shares",),
    "owner who is another": ("UPDATE datasets SET organisation_id = 'org-laboratory'",),
}


@pytest.mark.parametrize("lies", SHARINGS.values(), ids=list(SHARINGS))
def test_own_broker_learns_that_a_data_set_is_taken_back_whatever_is_shown(desk, lies):
    desk.share()
    desk.known("anna")
    desk.sql(*lies)
    with pytest.raises(OpaqueJobsError):
        unshare_dataset(*desk.who("anna"), dataset_id="ds-patients", workspace_id=desk.cast.workspace_id)
    assert desk.shared() == set()


def test_withdrawal_that_does_not_hold_beside_the_list_that_is_shown_is_no_success(desk):
    """Ben's key changed; brokers have not heard of it, his client's memory of lists is lost, and the list before is shown."""
    cast = desk.cast
    cast.change_key("ben", SigningKey.generate())
    settings, entry = cast.services.context.settings, cast.people["ben"].entry
    former = member_key_path(settings, "ben")
    former.rename(former_key_path(former, read_public_keys(former).signing.key_id))
    write_public_part(settings, entry)
    cast.accept_waiting("anna", "ben", "lea")
    job = desk.submitted()
    own_memory(settings, entry).remember_consent([cast.spec(job)], withdrawal=cast.withdrawal(cast.spec(job), "ben"))
    desk.sql("UPDATE rosters SET state = 'past' WHERE epoch = 2", "UPDATE rosters SET state = 'in_force' WHERE epoch = 1")
    with pytest.raises(TrustError, match="was told to nobody"):
        tell_withdrawals(local_session(cast.services, entry), entry, cast.workspace_id)
    assert desk.told(desk.digest(job)) == [0, 0]


def test_withdrawals_of_another_workspaces_jobs_keep_none_from_brokers(desk):
    cast = desk.cast
    job, other = desk.submitted(), cast.make_workspace("anna", "ben", name="Other")
    settings, entry = cast.services.context.settings, cast.people["ben"].entry
    elsewhere = replace(cast.spec(job), workspace_id=other, job_id="job-elsewhere")
    for spec in (cast.spec(job), elsewhere):
        own_memory(settings, entry).remember_consent([spec], withdrawal=cast.withdrawal(spec, "ben"))
    tell_withdrawals(*desk.who("ben")[:2], cast.workspace_id)
    assert desk.told(desk.digest(job)) == [1, 1]
