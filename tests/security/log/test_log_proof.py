"""What is shown of the log for a run, one lie at a time: each is refused for the reason meant for it."""

from dataclasses import replace

import pytest

from opaque_jobs.crypto.checkpoints import sign_checkpoint
from opaque_jobs.crypto.keys import SigningKey
from opaque_jobs.crypto.log_proof import log_refusals
from opaque_jobs.domain.canonical import digest
from opaque_jobs.domain.inputs import effective_inputs
from opaque_jobs.domain.log import EntryKind
from opaque_jobs.domain.run import inputs_digest
from tests.world import World


class Shown:
    """A world in whose log a run stands with all that it rests on, and a bundle that shows it."""

    def __init__(self) -> None:
        self.world = World()
        self.spec = self.world.make_spec()
        self.bundle = self.world.make_bundle(self.spec)
        self.texts = [each.encode() for each in (self.bundle.roster, *self.bundle.acceptances, *self.bundle.approvals)]
        self.values = inputs_digest(effective_inputs(self.spec.inputs, {}, aliases=self.spec.aliases))

    def refusals(self, **over):
        """Judge the bundle, with a part of what is shown of the log changed."""
        bundle = replace(self.bundle, log=replace(self.bundle.log, **over)) if over else self.bundle
        return log_refusals(bundle, run_id="run-1", job_digest=self.spec.digest, inputs_digest=self.values)

    def first(self, kind):
        return next(at for at, each in enumerate(self.bundle.log.entries) if each.entry.kind is kind)

    def changed(self, at, **over):
        """Judge it with one of the entries shown changed; what stands in the log is as it was."""
        entries = list(self.bundle.log.entries)
        entries[at] = replace(entries[at], **over)
        return self.refusals(entries=tuple(entries))

    def proven_again(self, *more):
        """Show the bundle's entries, and these, as the log holds them now."""
        known = [self.world.log.proven(each.entry) for each in self.bundle.log.entries]
        entries = (*known, *(self.world.log.proven(self.world.log.logged[seq].entry) for seq in more))
        return self.refusals(checkpoint=self.world.log.note(), entries=entries)


@pytest.fixture
def shown():
    return Shown()


def test_run_that_stands_in_the_log_with_all_that_it_rests_on_is_not_refused(shown):
    assert shown.refusals() == []


def test_bundle_without_a_proof_is_refused(shown):
    shown.bundle = replace(shown.bundle, log=None)
    assert shown.refusals() == ["log-checkpoint-invalid"]


def test_checkpoint_that_the_lists_log_did_not_sign_is_refused(shown):
    log = shown.world.log
    forged = sign_checkpoint(log.checkpoint(), SigningKey.generate())
    elsewhere = sign_checkpoint(replace(log.checkpoint(), origin="opaque-jobs.log/ws-2"), log.key)
    for note in (forged, elsewhere, "nonsense", ""):
        assert shown.refusals(checkpoint=note) == ["log-checkpoint-invalid"]


def test_bundle_whose_member_list_is_none_is_refused(shown):
    shown.bundle = replace(shown.bundle, roster="{}")
    assert shown.refusals() == ["log-checkpoint-invalid"]


LEFT_OUT = {
    EntryKind.ROSTER: "approval-not-in-log",
    EntryKind.ACCEPTANCE: "approval-not-in-log",
    EntryKind.VOTE: "approval-not-in-log",
    EntryKind.RUN: "run-not-in-log",
}


@pytest.mark.parametrize("kind", LEFT_OUT)
def test_entry_that_is_not_shown_is_missed(shown, kind):
    entries = list(shown.bundle.log.entries)
    del entries[shown.first(kind)]
    assert shown.refusals(entries=tuple(entries)) == [LEFT_OUT[kind]]


@pytest.mark.parametrize("kind", [EntryKind.ROSTER, EntryKind.ACCEPTANCE, EntryKind.VOTE])
def test_entry_of_another_kind_about_the_same_document_is_not_taken_for_it(shown, kind):
    at = shown.first(kind)
    document = next(each for each in shown.texts if digest(each) == shown.bundle.log.entries[at].entry.statement)
    seq = shown.world.log.append(EntryKind.OUTCOME, "ws-1", document)
    kept = [each for place, each in enumerate(shown.bundle.log.entries) if place != at]
    shown.bundle = replace(shown.bundle, log=replace(shown.bundle.log, entries=tuple(kept)))
    assert shown.proven_again(seq) == ["approval-not-in-log"]


def test_entry_changed_after_it_was_proven_is_refused(shown):
    at = shown.first(EntryKind.RUN)
    proven = shown.bundle.log.entries[at]
    for over in ({"subject": "run-2"}, {"seq": 0}, {"facts": {}}):
        assert shown.changed(at, entry=replace(proven.entry, **over)) == ["log-proof-invalid"]
    for path in ((), proven.path[1:], ("zz",), (*proven.path, "00" * 32), ("00" * 32, *proven.path[1:])):
        assert shown.changed(at, path=path) == ["log-proof-invalid"]


@pytest.mark.parametrize(
    ("run_id", "over"),
    [("run-1", {}), ("run-2", {}), ("run-1", {"job_digest": "x"}), ("run-1", {"inputs_digest": "x"}), ("run-1", {"more": 1})],
)
def test_second_run_beside_the_one_is_refused(shown, run_id, over):
    facts = {"job_digest": shown.spec.digest, "inputs_digest": shown.values} | over
    seq = shown.world.log.append(EntryKind.RUN, run_id, **facts)
    assert shown.proven_again() == []
    assert shown.proven_again(seq) == ["run-not-in-log"]


@pytest.mark.parametrize(("run_id", "over"), [("run-2", {}), ("run-1", {"job_digest": "x"}), ("run-1", {"inputs_digest": "x"})])
def test_run_of_another_name_job_or_values_does_not_stand_for_this_one(shown, run_id, over):
    facts = {"job_digest": shown.spec.digest, "inputs_digest": shown.values} | over
    seq = shown.world.log.append(EntryKind.RUN, run_id, **facts)
    entries = [each for each in shown.bundle.log.entries if each.entry.kind is not EntryKind.RUN]
    shown.bundle = replace(shown.bundle, log=replace(shown.bundle.log, entries=tuple(entries)))
    assert shown.proven_again(seq) == ["run-not-in-log"]


def test_what_else_stands_in_the_log_changes_nothing(shown):
    seq = shown.world.log.append(EntryKind.SUBMISSION, "job-1")
    assert shown.proven_again(seq) == []
