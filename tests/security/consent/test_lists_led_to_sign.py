"""A database that would have a member's own client sign a member list that its owner did not mean, attempt by attempt."""

import sqlite3
from contextlib import closing
from dataclasses import replace

import pytest
from consortium import make_organisation, make_person
from own_files import accept_shown

from opaque_jobs.client.memory import memory_path, own_memory
from opaque_jobs.client.rosters import changed_keys
from opaque_jobs.crypto.consent import sign_acceptance
from opaque_jobs.crypto.keys import SigningKey
from opaque_jobs.domain.canonical import digest
from opaque_jobs.domain.key_change import Authority
from opaque_jobs.domain.workspace import Roster
from opaque_jobs.errors import TrustError
from opaque_jobs.standalone.local_session import local_session


def put_list(desk, roster: Roster, *signing, state: str = "proposed") -> None:
    """Write a list of the administrator's, with signatures of people of theirs."""
    desk.run(
        "INSERT INTO rosters (digest, workspace_id, epoch, state, body, created_at) "
        "SELECT ?, workspace_id, ?, ?, ?, created_at FROM rosters WHERE epoch = 1",
        *(roster.digest, roster.epoch, state, roster.to_bytes()),
    )
    for each in roster.members:
        desk.run("INSERT INTO roster_members (roster_digest, member_id) VALUES (?, ?)", roster.digest, each.id)
    for each in signing:
        desk.run(
            "INSERT INTO acceptances (roster_digest, member_id, envelope, accepted_at) "
            "SELECT ?, ?, ?, accepted_at FROM acceptances LIMIT 1",
            *(roster.digest, each.id, sign_acceptance(roster, each.entry, each.key, now=desk.cast.clock())),
        )


def taken_over(desk, before: Roster, *, own_part: bool = True) -> tuple[Roster, tuple]:
    """The next list, in which the hospital and its people have the administrator's keys."""
    cast = desk.cast
    forgers = (make_person("anna", "org-hospital"), make_person("ben", "org-hospital"))
    members = [*(each.entry for each in forgers), *([cast.people["lea"].entry] if own_part else [])]
    organisations = [make_organisation("hospital").entry, *([cast.organisations["laboratory"].entry] if own_part else [])]
    roster = replace(
        before,
        epoch=before.epoch + 1,
        genesis=before.genesis_digest,
        previous=before.digest,
        members=tuple(sorted(members, key=lambda each: each.id)),
        organisations=tuple(sorted(organisations, key=lambda each: each.id)),
    )
    return roster, forgers


def refused(desk, match: str) -> None:
    """Lea's client looks at the list that waits, and does not sign it."""
    opened, lea, key = desk.who("lea")
    with pytest.raises(TrustError, match=match):
        changed_keys(opened, opened.workspaces.show(desk.cast.workspace_id), lea)
    with pytest.raises(TrustError, match=match):
        accept_shown(opened, desk.cast.workspace_id, lea, key)
    proposal = opened.workspaces.show(desk.cast.workspace_id).proposal
    assert lea.id in proposal.waiting_for
    with desk.house.brokers["laboratory"].store.transaction() as memory:
        known = memory.roster(desk.cast.workspace_id)
        assert known is None or known.epoch == 1


@pytest.mark.parametrize("state", ["in_force", "past", "replaced"])
def test_list_with_strangers_keys_is_not_signed_whatever_state_the_one_before_is_said_to_have(desk, state):
    first = desk.first_list()
    put_list(desk, taken_over(desk, first)[0])
    desk.run("UPDATE rosters SET state = ? WHERE digest = ?", state, first.digest)
    refused(desk, "changes a key of 'hospital'")


HIDDEN = {
    "list": "DELETE FROM rosters WHERE epoch = 1",
    "one signature": "DELETE FROM acceptances WHERE member_id = 'member-ben'",
    "all signatures": "DELETE FROM acceptances",
    "body": "UPDATE rosters SET body = (SELECT body FROM rosters WHERE epoch = 2) WHERE epoch = 1",
}


@pytest.mark.parametrize("hidden", list(HIDDEN))
def test_list_whose_predecessor_is_hidden_is_not_signed(desk, hidden):
    first = desk.first_list()
    put_list(desk, taken_over(desk, first)[0])
    desk.run(HIDDEN[hidden])
    desk.run("UPDATE rosters SET state = 'past' WHERE epoch = 1")
    refused(desk, "is not here as all its members signed it")


@pytest.mark.parametrize("over", [{"epoch": 3}, {"genesis": digest(b"another")}, {"log_key": SigningKey.generate().public.text}])
def test_list_that_does_not_follow_the_one_before_in_all_is_not_signed(desk, over):
    first = desk.first_list()
    put_list(desk, replace(first, **({"epoch": 2, "genesis": first.digest, "previous": first.digest} | over)))
    refused(desk, "does not follow|names another log")


def test_list_that_follows_one_in_which_strangers_speak_for_the_member_is_not_signed(desk):
    """All in the administrator's list signed it; the member's key in it is the administrator's."""
    between, forgers = taken_over(desk, desk.first_list())
    another = make_person("lea", "org-laboratory")
    members = tuple(sorted((*(each.entry for each in forgers), another.entry), key=lambda each: each.id))
    between = replace(between, members=members)
    desk.run("UPDATE rosters SET state = 'past' WHERE epoch = 1")
    put_list(desk, between, another, *forgers, state="in_force")
    after = replace(between, epoch=3, previous=between.digest)
    put_list(desk, replace(after, members=tuple(each if each.id != another.id else desk.who("lea")[1] for each in members)))
    refused(desk, "changes a key of 'lea'")


def remembering(desk) -> Roster:
    """Lea's client signed the first list."""
    first = desk.first_list()
    opened, lea, _ = desk.who("lea")
    own_memory(opened.settings, lea).remember_list(first)
    return first


def test_member_who_signed_before_is_no_newcomer_where_a_list_without_them_is_shown(desk):
    """A list of the administrator's own, wholly signed, in which the member is not; the next takes them in."""
    first = remembering(desk)
    between, forgers = taken_over(desk, first, own_part=False)
    desk.run("UPDATE rosters SET state = 'past' WHERE epoch = 1")
    put_list(desk, between, *forgers, state="in_force")
    lea, laboratory = desk.who("lea")[1], desk.cast.organisations["laboratory"].entry
    after = replace(
        between,
        epoch=3,
        previous=between.digest,
        members=tuple(sorted((*between.members, lea), key=lambda each: each.id)),
        organisations=(*between.organisations, laboratory),
    )
    put_list(desk, after)
    refused(desk, "changes a key of 'hospital'")


def test_first_list_shown_again_with_strangers_keys_is_not_signed_in_place_of_the_one_signed(desk):
    first = remembering(desk)
    forged = replace(taken_over(desk, first)[0], epoch=1, genesis=None, previous=None)
    desk.run("DELETE FROM rosters")
    desk.run("DELETE FROM acceptances")
    desk.run(
        "INSERT INTO rosters (digest, workspace_id, epoch, state, body, created_at) "
        "SELECT ?, id, 1, 'proposed', ?, created_at FROM workspaces",
        *(forged.digest, forged.to_bytes()),
    )
    for each in forged.members:
        desk.run("INSERT INTO roster_members (roster_digest, member_id) VALUES (?, ?)", forged.digest, each.id)
    refused(desk, "changes a key of 'hospital'")


AFTERWARDS = {
    "an earlier epoch": {"epoch": 3},
    "another line": {"genesis": digest(b"another")},
    "another log": {"log_key": SigningKey.generate().public.text},
    "another in its place": {"epoch": 2, "previous": digest(b"another")},
}


@pytest.mark.parametrize("signed", list(AFTERWARDS))
def test_list_that_cannot_come_after_the_one_signed_is_not_signed(desk, signed):
    first = desk.first_list()
    opened, lea, _ = desk.who("lea")
    after = replace(first, epoch=2, genesis=first.digest, previous=first.digest)
    put_list(desk, after)
    own_memory(opened.settings, lea).remember_list(replace(after, **AFTERWARDS[signed]))
    refused(desk, "does not follow|names another log")


def test_what_was_signed_is_kept_privately_before_it_leaves_and_believed_only_whole(desk):
    opened, lea, key = desk.who("lea")
    settings, where = opened.settings, desk.cast.workspace_id
    assert own_memory(settings, lea).last_signed(where) is None
    opened.workspaces.propose_change(workspace_id=where, member_ids=[desk.cast.id("anna"), lea.id])
    accept_shown(opened, where, lea, key)
    path = memory_path(settings, "lea")
    assert path.stat().st_mode & 0o777 == 0o600
    assert own_memory(settings, lea).last_signed(where) == opened.workspaces.show(where).proposal.roster
    with closing(sqlite3.connect(path)) as rows, rows:
        rows.execute("UPDATE signed_lists SET roster = replace(roster, 'member-anna', 'member-emma')")
    with pytest.raises(TrustError, match="not the one you signed"):
        own_memory(settings, lea).last_signed(where)


def test_member_left_out_and_taken_in_again_is_compared_with_what_they_signed_before(desk):
    """The honest way: somebody's key changed meanwhile, and the one who returns is told so."""
    remembering(desk)
    cast = desk.cast
    cast.change_members("anna", "ben")
    cast.change_key("ben", SigningKey.generate())
    cast.accept_waiting("anna", "ben")
    cast.services.workspaces.propose_change(
        actor=cast.id("anna"), workspace_id=cast.workspace_id, member_ids=[cast.id(each) for each in ("anna", "ben", "lea")]
    )
    opened, lea, key = desk.who("lea")
    (change,) = changed_keys(opened, opened.workspaces.show(cast.workspace_id), lea)
    assert (change.name, change.authority) == ("ben", Authority.FORMER_KEY)
    assert lea.id not in accept_shown(opened, cast.workspace_id, lea, key).proposal.waiting_for


def test_list_that_takes_the_place_of_one_that_waited_is_signed_too(desk):
    opened, lea, key = desk.who("lea")
    where = desk.cast.workspace_id
    for policy in ("all_members", "author"):
        others = [desk.cast.id(each) for each in ("anna", "lea")] if policy == "author" else None
        opened.workspaces.propose_change(workspace_id=where, run_policy=policy, member_ids=others)
        assert lea.id not in accept_shown(opened, where, lea, key).proposal.waiting_for


def test_newcomer_signs_a_list_that_follows_one_that_all_in_it_signed(desk):
    cast = desk.cast
    cast.services.workspaces.propose_change(
        actor=cast.id("anna"),
        workspace_id=cast.workspace_id,
        member_ids=[cast.id(each) for each in ("anna", "ben", "lea", "mallory")],
    )
    mallory = cast.people["mallory"].entry
    opened = local_session(cast.services, mallory)
    assert changed_keys(opened, opened.workspaces.show(cast.workspace_id), mallory) == ()
