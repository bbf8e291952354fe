"""Reviews against a tiny model: whatever members do in whatever order, the services and the model agree."""

import atexit
import tempfile
from datetime import timedelta
from pathlib import Path

from consortium import copy_consortium, open_consortium
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from opaque_jobs.domain.review import Decision
from opaque_jobs.errors import ConflictError

MEMBERS = ("anna", "ben", "lea")
VOTERS = st.sampled_from(("ben", "lea"))
ANYBODY = st.sampled_from(MEMBERS)
_origins: dict[str, object] = {}


def _origin():
    """Enlist once a process; every example works on a copy."""
    if not _origins:
        folder = tempfile.TemporaryDirectory(prefix="opaque-jobs-model-")
        atexit.register(folder.cleanup)
        cast = open_consortium(Path(folder.name) / "home")
        cast.settle_in()
        cast.services.close()
        _origins.update(folder=folder, cast=cast)
    return _origins["cast"]


class ReviewMachine(RuleBasedStateMachine):
    """One job of a workspace of three; the model is a status, the voters of the open review, and the accepted revision."""

    def __init__(self):
        super().__init__()
        self.folder = tempfile.TemporaryDirectory(prefix="opaque-jobs-model-")
        self.cast = copy_consortium(_origin(), Path(self.folder.name) / "home")
        self.status, self.approved, self.revision, self.accepted = "draft", set(), 0, None
        self.specs, self.gates = {}, {}

    def teardown(self):
        self.cast.services.close()
        self.folder.cleanup()

    @initialize()
    def write(self):
        self.job_id = self.cast.make_job().id

    def _attempt(self, allowed, act):
        """Do it, and demand a refusal exactly where the model says so."""
        try:
            act()
        except ConflictError:
            assert not allowed
            return False
        assert allowed
        return True

    def _envelope_spec(self):
        return self.specs.get(self.revision)

    @rule()
    def submit(self):
        deadline = self.cast.clock() + timedelta(days=1)
        if self._attempt(self.status == "draft", lambda: self.cast.submit(self.job_id, deadline=deadline)):
            self.revision += 1
            self.status, self.approved = "under_review", {"anna"}
            self.specs[self.revision] = self.cast.spec(self.job_id)
            self.gates[self.revision] = "waiting"

    @precondition(lambda self: self.specs)
    @rule(name=VOTERS)
    def approve(self, name):
        envelope = self.cast.sign(self._envelope_spec(), name)
        allowed = self.status == "under_review" and name not in self.approved
        if self._attempt(allowed, lambda: self.cast.services.reviews.vote(job_id=self.job_id, envelope=envelope)):
            self.approved.add(name)
            if self.approved == set(MEMBERS):
                if self.accepted is not None:
                    self.gates[self.accepted] = "superseded"
                self.status, self.accepted = "accepted", self.revision
                self.gates[self.revision] = "open"

    @precondition(lambda self: self.specs)
    @rule(name=VOTERS)
    def reject(self, name):
        envelope = self.cast.sign(self._envelope_spec(), name, Decision.REJECT, "no")
        allowed = self.status == "under_review" and name not in self.approved
        withdrawal = self.cast.withdrawal(self._envelope_spec(), name)
        vote = self.cast.services.reviews.vote
        act = lambda: vote(job_id=self.job_id, envelope=envelope, comment="no", withdrawal=withdrawal)  # noqa: E731
        if self._attempt(allowed, act):
            self.status = "rejected"
            self.gates[self.revision] = "rejected"

    @rule()
    def cancel_review(self):
        before = self.status
        act = lambda: self.cast.cancel_review(self.job_id)  # noqa: E731
        if self._attempt(self.status in ("under_review", "rejected"), act):
            self.status = "draft"
            if before == "under_review":
                self.gates[self.revision] = "review-cancelled"

    @rule()
    def revise(self):
        act = lambda: self.cast.services.jobs.revise(actor=self.cast.id("anna"), job_id=self.job_id)  # noqa: E731
        if self._attempt(self.status in ("accepted", "expired", "withdrawn", "superseded"), act):
            self.status = "draft"

    @precondition(lambda self: self.accepted is not None)
    @rule(name=ANYBODY)
    def withdraw_from_accepted(self, name):
        self.cast.withdraw(self.job_id, name, self.specs[self.accepted])
        self.gates[self.accepted] = "withdrawn"
        if self.status == "accepted":
            self.status = "withdrawn"
        self.accepted = None

    @precondition(lambda self: self.status == "under_review")
    @rule(name=ANYBODY)
    def withdraw_from_review(self, name):
        self.cast.withdraw(self.job_id, name, self.specs[self.revision])
        self.status = "withdrawn"
        self.gates[self.revision] = "withdrawn"

    @rule()
    def let_the_deadline_pass(self):
        self.cast.clock.forward(days=2)
        expired = self.cast.services.reviews.expire_due()
        assert expired == ([self.job_id] if self.status == "under_review" else [])
        if expired:
            self.status = "expired"
            self.gates[self.revision] = "expired"

    @rule()
    def begin_a_new_epoch(self):
        roster = self.cast.services.workspaces.show(self.cast.workspace_id, actor=self.cast.id("anna")).roster
        policy = "all_members" if roster.run_policy == "author" else "author"
        proposal = self.cast.services.workspaces.propose_change(
            actor=self.cast.id("anna"), workspace_id=self.cast.workspace_id, run_policy=type(roster.run_policy)(policy)
        )
        for name in MEMBERS:
            self.cast.accept(proposal, name)
        if self.status in ("under_review", "accepted"):
            if self.status == "under_review":
                self.gates[self.revision] = "superseded"
            self.status = "superseded"
        if self.accepted is not None:
            self.gates[self.accepted] = "superseded"
            self.accepted = None

    @invariant()
    def services_and_model_agree(self):
        if not hasattr(self, "job_id"):
            return
        view = self.cast.show(self.job_id)
        assert (view.status, view.accepted_revision, len(view.revisions)) == (self.status, self.accepted, self.revision)
        wanted = {f"{self.job_id}@{number}": word for number, word in self.gates.items()}
        assert self.cast.services.deployments.gate_states(list(wanted)) == wanted
        deployed = [each.revision for each in self.cast.services.deployments.deployable()]
        assert deployed == [number for number, word in sorted(self.gates.items()) if word in ("waiting", "open")]


TestReviewModel = ReviewMachine.TestCase
TestReviewModel.settings = settings(
    max_examples=12,
    stateful_step_count=25,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
