"""The audit of a whole log, one lie at a time: each is found in the step meant for it, and the first broken entry is named."""

import base64
import json
from dataclasses import replace

import pytest

from opaque_jobs.crypto.checkpoints import Checkpoint, log_origin, sign_checkpoint
from opaque_jobs.crypto.consent import sign_acceptance
from opaque_jobs.crypto.keys import SigningKey
from opaque_jobs.crypto.merkle import EMPTY, leaf_hash
from opaque_jobs.crypto.service_keys import load_service_key
from opaque_jobs.crypto.signing import sign_statement
from opaque_jobs.domain.canonical import canonical_bytes, digest
from opaque_jobs.domain.workspace import parse_roster
from opaque_jobs.services.access import roster_in_force
from opaque_jobs.services.log_audit import Witness, audit_log


class Stored:
    """What is stored of the history's log, to be changed; `sign` is what whoever holds the log's key can do."""

    def __init__(self, history):
        cast = history.cast
        self.entries = list(cast.services.logs.kept(cast.workspace_id, actor=cast.id("lea")))
        with cast.services.context.store.read() as session:
            self.roster = roster_in_force(session, cast.workspace_id)
        self.key = load_service_key(cast.services.context.settings.log_key_path)
        self.note, self.root = "", b""
        self.sign()
        seen = Checkpoint(origin=log_origin(self.roster.workspace_id), size=len(self.entries), root=self.root)
        self.witness = Witness(member_id="member-lea", key_ids=[cast.people["lea"].entry.key_id], seen=seen)

    def sign(self, key=None):
        tree = EMPTY
        for at, kept in enumerate(self.entries):
            made = {}
            tree = tree.append(leaf_hash(kept.body), lambda level, _at, node, made=made: made.update({level: node}))
            self.entries[at] = replace(kept, nodes=made)
        self.root = tree.root
        said = Checkpoint(origin=log_origin(self.roster.workspace_id), size=tree.size, root=tree.root)
        self.note = sign_checkpoint(said, key or self.key)

    def first(self, kind):
        return next(at for at, kept in enumerate(self.entries) if kept.filed[0] == kind)

    def change(self, at, /, *, document=None, **over):
        kept = self.entries[at]
        body = json.loads(kept.body) | over
        if document is not None:
            body["statement"] = digest(document)
        filed = (body["kind"], body["subject"], body["statement"])
        self.entries[at] = replace(kept, body=canonical_bytes(body), filed=filed, document=document or kept.document)

    def audit(self):
        return audit_log(self.entries, note=self.note, in_force=self.roster, witness=self.witness)


@pytest.fixture
def stored(history):
    return Stored(history)


def test_sound_log_holds(stored):
    report = stored.audit()
    assert (report.holds, len(report.steps), report.entry) == (True, 7, None)


def found(stored, step, entry=None):
    report = stored.audit()
    assert (len(report.steps), report.entry) == (step, entry), report.steps[-1]
    assert report.steps[-1].problem
    assert not report.holds
    assert not any(each.problem for each in report.steps[:-1])


def test_checkpoint_by_another_key_is_found(stored):
    stored.sign(SigningKey.generate())
    found(stored, 1)


@pytest.mark.parametrize("at", [0, 4, -1])
def test_missing_entry_is_named(stored, at):
    del stored.entries[at]
    found(stored, 2, at if at >= 0 else len(stored.entries))


@pytest.mark.parametrize("part", range(3))
def test_entry_filed_elsewhere_is_named(stored, part):
    filed = stored.entries[3].filed
    stored.entries[3] = replace(stored.entries[3], filed=(*filed[:part], "run", *filed[part + 1 :]))
    found(stored, 2, 3)


def test_entry_kept_under_another_index_than_its_own_is_named(stored):
    last = len(stored.entries) - 1
    stored.entries[last] = replace(stored.entries[last], seq=last + 1)
    found(stored, 2, last)


@pytest.mark.parametrize("over", [{"workspace_id": "ws-2"}, {"seq": 4}])
def test_entry_of_another_place_or_log_is_named(stored, over):
    stored.change(3, **over)
    stored.sign()
    found(stored, 2, 3)


def test_entry_that_is_none_is_named(stored):
    stored.entries[3] = replace(stored.entries[3], body=b"{}")
    found(stored, 2, 3)


def test_changed_document_is_named(stored):
    at = stored.first("vote")
    stored.entries[at] = replace(stored.entries[at], document=b"{}")
    found(stored, 3, at)


@pytest.mark.parametrize("kind", ["roster", "acceptance", "vote", "withdrawal", "sharing", "release"])
def test_signed_kind_that_names_nothing_is_named(stored, kind):
    at = stored.first(kind)
    stored.change(at, statement=None)
    stored.entries[at] = replace(stored.entries[at], document=None)
    stored.sign()
    found(stored, 3, at)


@pytest.mark.parametrize("kind", ["acceptance", "vote", "withdrawal", "sharing", "release"])
def test_signature_of_nobodys_is_named_though_the_log_signed_it(stored, kind):
    at = stored.first(kind)
    envelope = json.loads(stored.entries[at].document)
    envelope["signatures"][0]["sig"] = "A" * 86 + "=="
    stored.change(at, document=canonical_bytes(envelope))
    stored.sign()
    found(stored, 4, at)


@pytest.mark.parametrize(
    ("kind", "fact", "value"),
    [
        ("roster", "epoch", 9),
        ("acceptance", "epoch", 9),
        ("acceptance", "roster", "x"),
        ("vote", "actor", "member-lea"),
        ("vote", "decision", "reject"),
        ("vote", "job_digest", "x"),
        ("withdrawal", "actor", "member-lea"),
        ("withdrawal", "job_digest", "x"),
        ("sharing", "shared", False),
        ("sharing", "actor", "member-lea"),
        ("sharing", "actor", "member-ben"),
        ("release", "organisation_id", "org-x"),
        ("release", "job_digest", "x"),
        ("outcome", "job_digest", "x"),
    ],
)
def test_entry_that_says_otherwise_than_what_was_signed_is_named(stored, kind, fact, value):
    at = stored.first(kind)
    facts = json.loads(stored.entries[at].body)["facts"]
    stored.change(at, facts=facts | {fact: value})
    stored.sign()
    found(stored, 4, at)


@pytest.mark.parametrize("kind", ["roster", "acceptance", "sharing", "release"])
def test_entry_about_something_else_than_what_was_signed_is_named(stored, kind):
    at = stored.first(kind)
    stored.change(at, subject="x")
    stored.sign()
    found(stored, 4, at)


def signed_again(stored, at, signer, **over):
    """Give a document with a part of what it says changed, signed anew."""
    statement = json.loads(base64.b64decode(json.loads(stored.entries[at].document)["payload"]))
    subject = statement["subject"][0]
    about = over.get("workspace_genesis", f"sha256:{subject['digest']['sha256']}")
    return sign_statement(
        signer,
        predicate_type=statement["predicateType"],
        subject_name=subject["name"],
        subject_digest=about,
        predicate=statement["predicate"] | over,
    )


NOTHING = "sha256:" + "00" * 32


@pytest.mark.parametrize(
    ("kind", "fact", "over"),
    [
        ("vote", {"actor": "member-lea"}, {"reviewer_id": "member-ben"}),
        ("vote", {"actor": "member-lea"}, {"roster_digest": NOTHING}),
        ("sharing", {"shared": False}, {"workspace_id": "ws-2"}),
        ("sharing", {"shared": False}, {"workspace_genesis": NOTHING}),
        ("release", {"organisation_id": "org-hospital"}, {"workspace_id": "ws-2"}),
    ],
)
def test_document_of_the_right_signer_about_another_workspace_member_or_list_is_named(history, stored, kind, fact, over):
    cast = history.cast
    signers = {
        "vote": cast.people["lea"].key,
        "sharing": cast.people["ben"].key,
        "release": cast.organisations["hospital"].signing,
    }
    at = next(
        at for at, kept in enumerate(stored.entries)
        if kept.filed[0] == kind and fact.items() <= json.loads(kept.body)["facts"].items()
    )  # fmt: skip
    stored.change(at, document=signed_again(stored, at, signers[kind]))
    stored.sign()
    assert stored.audit().entry is None
    stored.change(at, document=signed_again(stored, at, signers[kind], **over))
    stored.sign()
    found(stored, 4, at)


@pytest.mark.parametrize("name", ["hospital", "laboratory"])
def test_release_signed_by_another_organisations_broker_is_named(history, stored, name):
    signers = {each: history.cast.organisations[each].signing for each in ("hospital", "laboratory")}
    at = next(
        at for at, kept in enumerate(stored.entries)
        if kept.filed[0] == "release" and json.loads(kept.body)["facts"]["organisation_id"] == f"org-{name}"
    )  # fmt: skip
    stored.change(at, document=signed_again(stored, at, signers.pop(name)))
    stored.sign()
    assert stored.audit().entry is None
    stored.change(at, document=signed_again(stored, at, *signers.values()))
    stored.sign()
    found(stored, 4, at)


def test_erasure_by_another_broker_or_of_another_data_set_is_named(history, stored):
    at, hospital = stored.first("erasure"), history.cast.organisations["hospital"].signing
    stored.change(at, document=signed_again(stored, at, hospital))
    stored.sign()
    assert stored.audit().entry is None
    stored.change(at, document=signed_again(stored, at, history.cast.organisations["laboratory"].signing))
    stored.sign()
    found(stored, 4, at)
    stored.change(at, document=signed_again(stored, at, hospital), subject="ds-findings")
    stored.sign()
    found(stored, 4, at)


def test_sharing_by_a_key_of_an_earlier_list_alone_is_named(history, stored):
    at = max(at for at, kept in enumerate(stored.entries) if kept.filed[0] == "sharing")
    stored.change(at, document=signed_again(stored, at, history.former))
    stored.sign()
    found(stored, 4, at)


def test_vote_by_nobody_of_the_list_is_named(stored):
    at = stored.first("vote")
    stored.change(at, document=signed_again(stored, at, SigningKey.generate()))
    stored.sign()
    found(stored, 4, at)


def test_vote_before_any_list_was_in_force_is_named(stored):
    stored.entries = [replace(stored.entries[stored.first("vote")], seq=0)]
    stored.change(0, seq=0)
    stored.sign()
    found(stored, 4, 0)


def test_member_list_of_another_workspace_is_named(stored):
    at = stored.first("roster")
    other = replace(parse_roster(stored.entries[at].document), workspace_id="ws-2")
    stored.change(at, subject="ws-2", document=other.to_bytes())
    stored.sign()
    found(stored, 4, at)


def test_acceptance_of_a_list_that_the_log_does_not_hold_is_named(history, stored):
    at, anna = stored.first("acceptance"), history.cast.people["anna"]
    other = replace(stored.roster, name="Other")
    stored.change(at, document=sign_acceptance(other, anna.entry, anna.key, now=history.cast.clock()))
    stored.sign()
    found(stored, 4, at)


def listed_again(history, stored, **over):
    """Change the newest member list, with everybody's signature; gives it, and where the last acceptance stands."""
    of_kind = [(at, kept.filed[0]) for at, kept in enumerate(stored.entries)]
    at = max(at for at, kind in of_kind if kind == "roster")
    after = replace(parse_roster(stored.entries[at].document), **over)
    facts = json.loads(stored.entries[at].body)["facts"]
    stored.change(at, facts=facts | {"epoch": after.epoch}, document=after.to_bytes())
    accepting = [each for each, kind in of_kind if kind == "acceptance" and each > at]
    for each in accepting:
        said = json.loads(stored.entries[each].body)
        person = history.cast.people[said["subject"].removeprefix("member-")]
        facts = said["facts"] | {"epoch": after.epoch, "roster": after.digest}
        stored.change(each, facts=facts, document=sign_acceptance(after, person.entry, person.key, now=history.cast.clock()))
    return after, accepting[-1]


@pytest.mark.parametrize("over", [{"epoch": 3}, {"previous": NOTHING}, {"genesis": NOTHING}])
def test_list_that_everybody_signed_and_that_does_not_follow_the_one_before_is_named(history, stored, over):
    _, last = listed_again(history, stored, **over)
    stored.sign()
    found(stored, 4, last)


def test_list_that_everybody_signed_and_that_names_another_log_is_found(history, stored):
    key = SigningKey.generate()
    stored.roster, last = listed_again(history, stored, log_key=key.public.text)
    for at, kept in enumerate(stored.entries):
        if at > last and kept.filed[0] == "vote":
            voter = history.cast.people[json.loads(kept.body)["facts"]["actor"].removeprefix("member-")]
            stored.change(at, document=signed_again(stored, at, voter.key, roster_digest=stored.roster.digest))
    stored.sign(key)
    found(stored, 5)


def test_log_without_a_list_that_anybody_signed_is_found(stored):
    del stored.entries[stored.first("acceptance") :]
    stored.sign()
    found(stored, 5)


def test_member_list_that_does_not_name_me_is_found(stored):
    stored.witness = replace(stored.witness, member_id="member-nobody")
    found(stored, 5)


def test_member_list_in_force_that_the_log_does_not_end_with_is_found(stored):
    stored.roster = replace(stored.roster, name="Other")
    found(stored, 5)


def test_member_list_that_names_me_with_a_strange_key_is_found(stored):
    stored.witness = replace(stored.witness, key_ids=["sha256:" + "00" * 32])
    found(stored, 5)


def test_entry_changed_after_signing_is_named(stored):
    stored.change(5, at="2026-01-01T00:00:00+00:00")
    found(stored, 6, 5)


def test_entry_changed_with_all_nodes_over_it_is_found_by_what_was_signed(stored):
    signed = stored.note
    stored.change(5, at="2026-01-01T00:00:00+00:00")
    stored.sign()
    stored.note = signed
    found(stored, 6)


def test_damaged_node_is_found_though_the_tree_is_right(stored):
    nodes = {**stored.entries[7].nodes, 0: b"\0" * 32}
    stored.entries[7] = replace(stored.entries[7], nodes=nodes)
    found(stored, 6, 7)


def test_log_that_was_written_anew_and_signed_is_found_by_memory_alone(stored):
    stored.change(stored.first("run"), at="2026-01-01T00:00:00+00:00")
    stored.sign()
    found(stored, 7)


def test_log_that_was_cut_and_signed_is_found_by_memory_alone(stored):
    del stored.entries[-1]
    stored.sign()
    found(stored, 7, len(stored.entries))
