"""A broker that follows a log: each lie of a page is refused, all or nothing, and what nobody signed teaches nothing."""

from dataclasses import replace

import pytest

from opaque_jobs.broker.anchor import Anchor, Mark
from opaque_jobs.broker.authentic import Authenticator, Purpose
from opaque_jobs.broker.monitor import accept_page, followed_to
from opaque_jobs.crypto.keys import SigningKey
from opaque_jobs.crypto.log_proof import log_refusals, proven
from opaque_jobs.crypto.release import sign_release
from opaque_jobs.domain.inputs import effective_inputs
from opaque_jobs.domain.log import PAGE_ENTRIES, EntryKind, parse_entry
from opaque_jobs.domain.release import Release
from opaque_jobs.domain.run import inputs_digest
from opaque_jobs.errors import ConfigurationError, ConflictError, InvalidInputError, OpaqueJobsError, TrustError
from tests.world import World

OWN = Authenticator.of(World().hospital.broker, Purpose.GUARD)


class Follower:
    """The hospital's broker, and a log with a roster, its acceptances and a run."""

    def __init__(self, folder):
        self.world = World()
        self.roster = self.world.make_roster()
        self.world.make_bundle(self.world.make_spec())
        self.broker = self.world.make_broker(self.world.hospital, folder / "broker")

    def take(self, **over):
        accept_page(self.broker, self.world.log.page(0, **over).to_bytes())

    def entries(self, at, **over):
        entries = list(self.world.log.logged)
        entries[at] = replace(entries[at], **over)
        return tuple(entries)


@pytest.fixture
def follower(tmp_path):
    return Follower(tmp_path)


def test_honest_page_is_followed(follower):
    follower.take()
    assert followed_to(follower.broker, "ws-1") == follower.world.log.tree.size


def changed_entry(f):
    return {"entries": f.entries(-1, entry=replace(f.world.log.logged[-1].entry, at="2026-03-02T09:00:00+00:00"))}


def changed_document(f):
    return {"entries": f.entries(2, document="{}")}


def dropped_document(f):
    return {"entries": f.entries(2, document=None)}


def dropped_entry(f):
    return {"entries": tuple(f.world.log.logged[:-1])}


def dropped_entry_in_between(f):
    return {"entries": (*f.world.log.logged[:3], *f.world.log.logged[4:])}


def swapped_entries(f):
    first, second, *rest = f.world.log.logged
    return {"entries": (second, first, *rest)}


def entry_of_another_workspace(f):
    return {"entries": f.entries(-1, entry=replace(f.world.log.logged[-1].entry, workspace_id="ws-2"))}


def checkpoint_of_an_earlier_size(f):
    return {"checkpoint": f.world.log.note(2)}


def checkpoint_by_another_key(f):
    f.world.log.key = SigningKey.generate()
    return {}


def page_of_another_workspace(_f):
    return {"workspace_id": "ws-2"}


LIES = [
    changed_entry,
    changed_document,
    dropped_document,
    dropped_entry,
    dropped_entry_in_between,
    swapped_entries,
    entry_of_another_workspace,
    checkpoint_of_an_earlier_size,
    checkpoint_by_another_key,
    page_of_another_workspace,
]


@pytest.mark.parametrize("lie", LIES, ids=lambda lie: lie.__name__)
def test_page_that_lies_is_refused_whole(follower, lie):
    over = lie(follower)
    with pytest.raises(TrustError):
        follower.take(**over)
    assert followed_to(follower.broker, "ws-1") == 0
    with follower.broker.store.transaction() as memory:
        assert memory.roster("ws-1") is None


def test_page_that_begins_elsewhere_is_refused(follower):
    with pytest.raises(ConflictError):
        accept_page(follower.broker, follower.world.log.page(1).to_bytes())


@pytest.mark.parametrize("over", [{"seq": 99}, {"workspace_id": "ws-2"}, {"statement": "sha256:" + "00" * 32}])
def test_entry_that_names_another_place_log_or_document_is_refused_before_its_tree_is_made(follower, over):
    log = follower.world.log
    entry = replace(log.logged[-1].entry, **over)
    keeper = World()
    keeper.log = type(log)("ws-1", log.key)
    for each in log.logged:
        keeper.log.append(each.entry.kind, each.entry.subject, each.document and each.document.encode(), **each.entry.facts)
    keeper.log.logged[-1] = replace(keeper.log.logged[-1], entry=entry)
    with pytest.raises(TrustError, match="not what it names"):
        accept_page(follower.broker, keeper.log.page(0).to_bytes())


def test_page_with_more_entries_than_anybody_sends_is_refused_and_a_full_one_is_followed(follower):
    log = follower.world.log
    while log.tree.size < PAGE_ENTRIES:
        log.append(EntryKind.DATASET, "ds-1")
    full = log.page(0)
    log.append(EntryKind.DATASET, "ds-1")
    with pytest.raises(InvalidInputError, match="too many entries"):
        accept_page(follower.broker, log.page(0).to_bytes())
    assert followed_to(follower.broker, "ws-1") == 0
    accept_page(follower.broker, replace(full, checkpoint=log.note(PAGE_ENTRIES)).to_bytes())
    assert followed_to(follower.broker, "ws-1") == PAGE_ENTRIES


def test_page_with_a_byte_changed_is_refused(follower):
    page = follower.world.log.page(0).to_bytes()
    for at in range(0, len(page), 401):
        with pytest.raises((OpaqueJobsError, UnicodeDecodeError)):
            accept_page(follower.broker, page[:at] + bytes([page[at] ^ 1]) + page[at + 1 :])
    assert followed_to(follower.broker, "ws-1") == 0


def test_each_byte_of_an_entry_and_of_its_path_counts():
    world = World()
    world.make_bundle(world.make_spec())
    shown = world.log.proven(world.log.logged[-1].entry)
    assert proven(shown, world.log.checkpoint())
    body = shown.entry.to_bytes()
    for at in range(len(body)):
        try:
            entry = parse_entry(body[:at] + bytes([body[at] ^ 1]) + body[at + 1 :])
        except OpaqueJobsError:
            continue
        assert not proven(replace(shown, entry=entry), world.log.checkpoint())
    for level, each in enumerate(shown.path):
        for at in range(len(each)):
            flipped = each[:at] + chr(ord(each[at]) ^ 1) + each[at + 1 :]
            path = (*shown.path[:level], flipped, *shown.path[level + 1 :])
            assert not proven(replace(shown, path=path), world.log.checkpoint())


def test_page_of_a_workspace_that_nobody_vouches_for_is_refused(tmp_path):
    world = World()
    world.log.append(EntryKind.RUN, "run-1")
    broker = world.make_broker(world.hospital, tmp_path / "broker")
    with pytest.raises(TrustError, match="no member list"):
        accept_page(broker, world.log.page(0).to_bytes())


def test_log_that_brings_a_list_that_nobody_accepted_is_refused(tmp_path):
    world = World()
    world.log.append(EntryKind.ROSTER, "ws-1", world.make_roster().to_bytes())
    broker = world.make_broker(world.hospital, tmp_path / "broker")
    with pytest.raises(TrustError, match="no member list"):
        accept_page(broker, world.log.page(0).to_bytes())


def test_log_that_signs_with_the_key_of_a_list_that_nobody_accepted_is_refused_whole(tmp_path):
    world, thief = World(), SigningKey.generate()
    true = world.make_roster()
    world.log.append(EntryKind.ROSTER, "ws-1", replace(true, log_key=thief.public.text).to_bytes())
    world.log.append(EntryKind.ROSTER, "ws-1", true.to_bytes())
    for each in world.acceptances(true):
        world.log.append(EntryKind.ACCEPTANCE, "member", each)
    world.log.key = thief
    broker = world.make_broker(world.hospital, tmp_path / "broker")
    with pytest.raises(TrustError, match="no member list"):
        accept_page(broker, world.log.page(0).to_bytes())
    assert followed_to(broker, "ws-1") == 0


def test_later_page_is_signed_with_the_key_that_is_known_whatever_list_it_brings(follower):
    follower.take()
    log, thief = follower.world.log, SigningKey.generate()
    size = log.tree.size
    log.append(EntryKind.ROSTER, "ws-1", replace(follower.roster, log_key=thief.public.text).to_bytes())
    true, log.key = log.key, thief
    with pytest.raises(TrustError):
        accept_page(follower.broker, log.page(size).to_bytes())
    log.key = true
    assert accept_page(follower.broker, log.page(size).to_bytes()) == size + 1


def test_entries_that_hold_nothing_or_nonsense_are_followed_and_move_nothing(tmp_path):
    world = World()
    world.log.append(EntryKind.ROSTER, "ws-1")
    roster = world.make_roster()
    world.make_bundle(world.make_spec())
    unknown = replace(roster, name="Other")
    for kind in EntryKind:
        world.log.append(kind, "x")
        world.log.append(kind, "x", b"{}")
    world.log.append(EntryKind.ACCEPTANCE, "x", world.acceptances(unknown)[0])
    strange = replace(roster, workspace_id="ws-2")
    world.log.append(EntryKind.ROSTER, "ws-1", strange.to_bytes())
    broker = world.make_broker(world.hospital, tmp_path / "broker")
    assert accept_page(broker, world.log.page(0).to_bytes()) == world.log.tree.size
    with broker.store.transaction() as memory:
        assert memory.roster("ws-1") == roster
        assert (memory.seen_list(strange.digest), memory.seen_list(unknown.digest), memory.lost) == (None, None, False)


def make_release(follower, **over):
    fields = {
        "v": 1, "organisation_id": follower.broker.config.organisation_id, "workspace_id": "ws-1", "run_id": "run-1",
        "tee_key_id": "sha256:" + "77" * 32, "datasets": {"ds-1/1": "sha256:" + "33" * 32},
        "released_at": "2026-03-01T09:00:00+00:00",
    }  # fmt: skip
    return Release(**(fields | over))


def test_release_is_in_the_log_only_once_it_stands_there_as_it_was_signed(follower):
    log, key, digest = follower.world.log, follower.broker.keys.signing, follower.world.make_spec().digest
    own, other = (
        sign_release(make_release(follower, released_at=f"2026-03-01T09:0{n}:00+00:00"), key, job_digest=digest) for n in range(2)
    )
    with follower.broker.store.transaction() as memory:
        memory.record_release(make_release(follower), job_digest=digest, statement=own)
    for statement, logged in ((other, False), (own, True)):
        first = followed_to(follower.broker, "ws-1")
        log.append(EntryKind.RELEASE, "run-1", statement)
        accept_page(follower.broker, log.page(first).to_bytes())
        with follower.broker.store.transaction() as memory:
            assert (memory.statement(digest, "run-1"), memory.lost) == ((own, logged), False)


@pytest.mark.parametrize(
    ("signer", "workspace_id", "lost"), [("own", "ws-1", True), ("own", "ws-2", False), ("another", "ws-1", False)]
)
def test_release_that_a_broker_does_not_remember_means_lost_memory_only_if_it_is_its_own(follower, signer, workspace_id, lost):
    release = make_release(follower, workspace_id=workspace_id)
    key = follower.broker.keys.signing if signer == "own" else SigningKey.generate()
    digest = follower.world.make_spec().digest
    follower.world.log.append(EntryKind.RELEASE, "run-1", sign_release(release, key, job_digest=digest))
    follower.take()
    with follower.broker.store.transaction() as memory:
        assert memory.lost is lost
        assert (memory.statement(digest, "run-1") is not None) is lost


def test_withdrawal_is_kept_for_the_decision_whoever_signed_it(follower):
    """By whom it counts is judged then, by the job's own member list (`test_broker_withdrawals.py`)."""
    world, spec = follower.world, follower.world.make_spec()
    signed = [world.withdrawal(spec, each) for each in (world.carl, replace(world.carl, key=SigningKey.generate()))]
    for envelope in signed:
        world.log.append(EntryKind.WITHDRAWAL, spec.job_id, envelope)
    follower.take()
    with follower.broker.store.transaction() as memory:
        assert sorted(memory.withdrawals("ws-1", spec.digest)) == sorted(signed)


def test_list_that_not_all_accepted_is_not_in_force(follower):
    world = follower.world
    after = world.next_roster(follower.roster)
    world.log.once(EntryKind.ROSTER, "ws-1", after.to_bytes())
    for each in world.acceptances(after)[:-1]:
        world.log.once(EntryKind.ACCEPTANCE, "ws-1", each)
    follower.take()
    with follower.broker.store.transaction() as memory:
        assert memory.roster("ws-1") == follower.roster


def test_mark_lets_no_older_other_or_unmarked_database_pass(tmp_path):
    anchor = Anchor(tmp_path / "memory.anchor", OWN)
    assert anchor.allows(Mark(identity="a", steps=0, seal="s"))
    assert not anchor.allows(Mark(identity="a", steps=1, seal="s"))
    anchor.keep(Mark(identity="a", steps=5, seal="s"))
    allowed = [steps for steps in range(8) if anchor.allows(Mark(identity="a", steps=steps, seal="s"))]
    assert (allowed, anchor.steps) == ([5, 6], 5)
    assert not anchor.allows(Mark(identity="b", steps=6, seal="s"))
    assert not anchor.allows(Mark(identity="a", steps=5, seal="other"))
    (tmp_path / "memory.anchor").write_bytes(b"{}")
    assert not anchor.allows(Mark(identity="a", steps=9, seal="s"))
    with pytest.raises(InvalidInputError):
        accept_page(None, b"{}")


def test_mark_that_cannot_be_read_or_written_lets_nothing_pass(tmp_path):
    anchor = Anchor(tmp_path / "folder", OWN)
    (tmp_path / "folder").mkdir()
    assert not anchor.allows(Mark(identity="a", steps=0, seal="s"))
    assert anchor.steps == 0
    for path in (tmp_path / "folder", tmp_path / "none" / "memory.anchor"):
        with pytest.raises(ConfigurationError):
            Anchor(path, OWN).keep(Mark(identity="a", steps=1, seal="s"))
    assert list(tmp_path.iterdir()) == [tmp_path / "folder"]


def test_run_entered_as_another_workspaces_proves_none_here():
    """Whoever holds the log's key can sign a tree with such an entry in it."""
    world = World()
    spec, log = world.make_spec(), world.log
    bundle = world.make_bundle(spec)
    texts = [bundle.roster, *bundle.acceptances, *bundle.approvals]
    values = inputs_digest(effective_inputs(spec.inputs, {}, aliases=spec.aliases))
    refused = {}
    for run_id, workspace_id in (("run-2", "ws-1"), ("run-3", "ws-2")):
        log.workspace_id = workspace_id
        world.enter_run(spec, run_id, {})
        log.workspace_id = "ws-1"
        shown = replace(bundle, log=log.proof([each.encode() for each in texts], run_id))
        refused[run_id] = log_refusals(shown, run_id=run_id, job_digest=spec.digest, inputs_digest=values)
    assert refused == {"run-2": [], "run-3": ["log-proof-invalid"]}
