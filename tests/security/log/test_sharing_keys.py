"""A sharing is judged by the member lists of its own time: a key changed since makes none wrong, and a former key makes none."""

import pytest
from consortium import open_consortium

from opaque_jobs.crypto.keys import SigningKey
from opaque_jobs.domain.log import EntryKind
from opaque_jobs.services import log_book
from opaque_jobs.services.access import roster_in_force
from opaque_jobs.services.log_audit import Witness, audit_log


@pytest.fixture
def cast(tmp_path):
    made = open_consortium(tmp_path / "home")
    made.settle_in()
    yield made
    made.services.close()


def audit(cast):
    head = cast.services.logs.head(cast.workspace_id, actor=cast.id("lea"))
    with cast.services.context.store.read() as session:
        roster = roster_in_force(session, cast.workspace_id)
    witness = Witness(member_id=cast.id("lea"), key_ids=[cast.people["lea"].entry.key_id], seen=None)
    kept = cast.services.logs.kept(cast.workspace_id, actor=cast.id("lea"))
    return audit_log(kept, note=head.checkpoint, in_force=roster, witness=witness)


def log_sharing(cast, envelope, *, shared):
    """Enter a sharing by anna, as somebody with the database can."""
    with cast.services.context.store.write() as session:
        log_book.append(
            cast.services.context,
            session,
            cast.workspace_id,
            EntryKind.SHARING,
            cast.dataset_ids["patients"],
            now=cast.clock(),
            document=envelope,
            actor=cast.id("anna"),
            shared=shared,
        )


def test_sharing_by_a_key_that_was_changed_later_holds(cast):
    cast.change_key("anna", SigningKey.generate())
    cast.accept_waiting("anna", "ben", "lea")
    assert audit(cast).holds


def test_sharing_by_a_key_that_the_lists_do_not_name_yet_holds_also_when_no_list_ever_did(cast):
    cast.change_key("anna", SigningKey.generate())
    cast.clock.forward(seconds=1)
    cast.share(cast.dataset_ids["patients"], "anna", back=True)
    assert audit(cast).holds
    cast.change_key("anna", SigningKey.generate())  # its list takes the other one's place
    assert audit(cast).holds
    cast.accept_waiting("anna", "ben", "lea")
    assert audit(cast).holds


def test_sharing_by_a_former_key_after_the_list_without_it_was_in_force_is_found(cast):
    former = cast.sharing(cast.dataset_ids["patients"], "anna", shared=False)
    cast.change_key("anna", SigningKey.generate())
    cast.accept_waiting("anna", "ben", "lea")
    log_sharing(cast, former, shared=False)
    report = audit(cast)
    assert (report.holds, len(report.steps)) == (False, 4)
    assert "(sharing)" in report.steps[-1].problem
