"""What one reviewer signs counts as theirs alone, and says what log they saw; a broker compares both with what it knows."""

from datetime import timedelta

import pytest

from opaque_jobs.broker.policy import Granted
from opaque_jobs.crypto.checkpoints import Checkpoint, log_origin
from opaque_jobs.crypto.consent import APPROVAL, sign_vote
from opaque_jobs.crypto.signing import sign_statement
from opaque_jobs.domain.document import to_json
from opaque_jobs.domain.log import EntryKind
from opaque_jobs.domain.review import Decision, approval_for
from tests.support.release_attempt import Attacks, Attempt, refused_for
from tests.world import NOW, World

attack = Attacks()


def anna_speaks_for_ben(a, **claimed):
    """Put what anna signs in place of ben's vote."""
    world, spec = a.world, a.spec()
    vote = approval_for(
        spec, decision=Decision.APPROVE, comment_digest=None, nonce="00" * 16, log_checkpoint=world.log.checkpoint().seen,
        decided_at=NOW.isoformat(), **claimed,
    )  # fmt: skip
    signed = sign_statement(
        world.anna.key, predicate_type=APPROVAL, subject_name="job-1", subject_digest=spec.digest, predicate=to_json(vote)
    )
    a.bundle_over["approvals"] = (*world.votes(spec, [world.anna, world.carl]), signed.decode())


def carl_saw(a, seen):
    """Let carl's vote name another state of the log than there was."""
    world, spec = a.world, a.spec()
    carl, key = world.carl.entry, world.carl.key
    vote = sign_vote(spec, carl, key, decision=Decision.APPROVE, comment=None, seen=seen, now=NOW)
    a.bundle_over["approvals"] = (*world.votes(spec, [world.anna, world.ben]), vote.decode())


@attack("approval-invalid", "not-unanimous")
def one_member_votes_by_the_key_of_another(a):
    anna_speaks_for_ben(a, reviewer_id=a.world.anna.id, reviewer_key_id=a.world.ben.entry.key_id)


@attack("approval-invalid", "not-unanimous")
def one_member_votes_by_the_name_of_another(a):
    anna_speaks_for_ben(a, reviewer_id=a.world.ben.id, reviewer_key_id=a.world.anna.entry.key_id)


@attack("approval-invalid", "not-unanimous")
def one_member_votes_by_name_and_key_of_another(a):
    anna_speaks_for_ben(a, reviewer_id=a.world.ben.id, reviewer_key_id=a.world.ben.entry.key_id)


@attack("log-forked")
def reviewer_who_was_shown_another_log(a):
    carl_saw(a, Checkpoint(origin=log_origin("ws-1"), size=1, root=b"?" * 32).seen)


@attack("log-forked")
def reviewer_who_was_shown_a_log_beyond_this_one(a):
    carl_saw(a, Checkpoint(origin=log_origin("ws-1"), size=1000, root=b"?" * 32).seen)


@attack("log-forked")
def reviewer_who_names_no_state_of_the_log(a):
    carl_saw(a, "none")


@attack("approval-too-late")
def approval_that_stood_in_the_log_in_time_as_something_else(a):
    """Whoever keeps the log enters the bytes as an outcome before the deadline, and as a vote when it suits."""
    a.spec_over["review_until"] = NOW.isoformat()
    log, votes = a.world.log, a.world.votes(a.spec())
    a.bundle_over["approvals"] = votes
    for text in votes[:-1]:
        log.append(EntryKind.VOTE, "ws-1", text.encode())
    log.append(EntryKind.OUTCOME, "run-0", votes[-1].encode())
    in_time = log.tree.size
    log.append(EntryKind.VOTE, "ws-1", votes[-1].encode())
    a.known_over["log_seen"] = lambda size: NOW if size <= in_time else NOW + timedelta(days=1)


@pytest.mark.parametrize(("function", "reasons"), attack.params)
def test_attack_is_refused_for_its_reason(function, reasons):
    refused_for(function, reasons)


def test_approval_that_stands_in_the_log_again_after_the_deadline_was_there_in_time():
    attempt = Attempt(World(), spec_over={"review_until": NOW.isoformat()})
    log, votes = attempt.world.log, attempt.world.votes(attempt.spec())
    attempt.bundle_over["approvals"] = votes
    for text in votes:
        log.append(EntryKind.VOTE, "ws-1", text.encode())
    in_time = log.tree.size
    log.append(EntryKind.VOTE, "ws-1", votes[0].encode())
    attempt.known_over["log_seen"] = lambda size: NOW if size <= in_time else NOW + timedelta(days=1)
    assert isinstance(attempt.decide(), Granted)
