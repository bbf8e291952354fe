"""Every (state, event) pair of every lifecycle, against the tables of the product's description written out again."""

from itertools import product

import pytest

from opaque_jobs.domain.lifecycle import (
    JOB,
    RUN,
    WORKSPACE,
    JobEvent,
    JobStatus,
    RunEvent,
    RunState,
    WorkspaceEvent,
    WorkspaceStatus,
)
from opaque_jobs.errors import ConflictError

JOB_PATHS = {
    "draft": {"submit": "under_review"},
    "under_review": {
        "accept": "accepted",
        "reject": "rejected",
        "cancel_review": "draft",
        "expire": "expired",
        "withdraw": "withdrawn",
        "supersede": "superseded",
    },
    "accepted": {"revise": "draft", "withdraw": "withdrawn", "supersede": "superseded"},
    "rejected": {"cancel_review": "draft"},
    "expired": {"revise": "draft"},
    "withdrawn": {"revise": "draft"},
    "superseded": {"revise": "draft"},
}
RUN_PATHS = {
    "queued": {"start": "running", "fail": "failed", "cancel": "cancelled"},
    "running": {"succeed": "succeeded", "fail": "failed", "cancel": "cancelled"},
    "succeeded": {},
    "failed": {},
    "cancelled": {},
}
WORKSPACE_PATHS = {
    "pending": {"activate": "active", "cancel": "archived"},
    "active": {"archive": "archived"},
    "archived": {"unarchive": "active"},
}
CASES = [
    *[(JOB, JOB_PATHS, state, event) for state, event in product(JobStatus, JobEvent)],
    *[(RUN, RUN_PATHS, state, event) for state, event in product(RunState, RunEvent)],
    *[(WORKSPACE, WORKSPACE_PATHS, state, event) for state, event in product(WorkspaceStatus, WorkspaceEvent)],
]


@pytest.mark.parametrize(("cycle", "paths", "state", "event"), CASES)
def test_lifecycle_pair_leads_where_the_description_says_or_is_refused(cycle, paths, state, event):
    wanted = paths[state].get(event)
    if wanted is None:
        with pytest.raises(ConflictError) as caught:
            cycle.next(state, event)
        assert caught.value.facts["state"] == state
        assert event not in cycle.events(state)
    else:
        assert cycle.next(state, event) == wanted
        assert event in cycle.events(state)


def test_run_states_that_nothing_leaves_are_the_three_ends():
    assert {state for state in RunState if RUN.terminal(state)} == {"succeeded", "failed", "cancelled"}
