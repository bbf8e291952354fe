"""What a log says of destroyed keys: by the owner's broker alone, once in each workspace where the data set is shared."""

import pytest

from opaque_jobs.domain.log import EntryKind
from opaque_jobs.errors import DeniedError, TrustError
from opaque_jobs.store import log as log_rows


def entered(study) -> int:
    with study.services.context.store.read() as session:
        found = log_rows.entries_about(session, study.workspace_id, EntryKind.ERASURE, study.dataset_ids["patients"])
        return len(found)


def test_destroyed_keys_are_in_the_log_of_each_workspace_once(study):
    assert study.forget_keys("patients", "anna") == (study.workspace_id,)
    study.forget_keys("patients", "ben")
    assert entered(study) == 1


@pytest.mark.parametrize(
    "over", [{"organisation": "laboratory"}, {"dataset_id": "ds-findings"}, {"organisation_id": "org-laboratory"}]
)
def test_statement_of_another_broker_or_data_set_is_not_entered(study, over):
    with pytest.raises(TrustError):
        study.forget_keys("patients", "anna", **over)
    assert entered(study) == 0


def test_erasure_is_entered_by_members_of_the_owner_alone(study):
    with pytest.raises(DeniedError):
        study.forget_keys("patients", "lea")
    assert entered(study) == 0


def test_erasure_is_in_the_log_of_a_workspace_that_the_data_set_was_taken_back_from(study):
    study.share(study.dataset_ids["patients"], "anna", back=True)
    assert study.forget_keys("patients", "anna") == (study.workspace_id,)
