"""A process that carries out a run and is killed: nothing is published, and housekeeping closes the run."""

import os
import signal

import pytest
from simulated_agent import SimulatedAgent

from opaque_jobs.crypto.service_keys import create_service_key
from opaque_jobs.domain.lifecycle import RunState
from opaque_jobs.runner.execution import execute, execute_test
from opaque_jobs.services import open_services


def _die(*_anything):
    os.kill(os.getpid(), signal.SIGKILL)


class DyingClock:
    """Kills its process at the n-th look after the session: while the run is being closed."""

    def __init__(self, clock, looks):
        self.clock, self.looks, self.armed = clock, looks, False

    def __call__(self):
        if self.armed:
            self.looks -= 1
            if self.looks < 0:
                _die()
        return self.clock()


def _in_a_child(cast, work, clock=None):
    """Run in a forked process with services of its own; demands that it was killed."""
    child = os.fork()
    if child == 0:
        context = cast.services.context
        work(open_services(context.settings, now=clock or context.now, runtime=context.runtime))
        os._exit(0)
    assert os.WTERMSIG(os.waitpid(child, 0)[1]) == signal.SIGKILL


def _closed_without_a_trace(cast, run_id):
    runs, settings = cast.services.runs, cast.services.context.settings
    assert runs.show(run_id, actor=cast.id("anna")).state is RunState.RUNNING
    assert runs.reconcile({}) == []
    cast.clock.forward(seconds=61)
    assert [(each.run_id, each.reason) for each in runs.reconcile({})] == [(run_id, "worker-lost")]
    for folder in (settings.results_dir, settings.tests_dir):
        assert not folder.is_dir() or list(folder.iterdir()) == []


@pytest.fixture
def run(study):
    create_service_key(study.services.context.settings.simulated_key_path)
    return study.open_run(study.accepted_job().id)


@pytest.mark.parametrize("when", ["before_end", "closing"])
def test_killed_real_run_leaves_nothing_and_is_closed(study, run, when):
    clock = DyingClock(study.clock, 0)

    def end(_request):
        if when == "before_end":
            _die()
        clock.armed = True

    agent = SimulatedAgent(study, before_end=end)
    _in_a_child(study, lambda services: execute(services, run.id, cores=1, memory_bytes=1 << 31, session=agent), clock)
    _closed_without_a_trace(study, run.id)


def test_killed_test_run_leaves_nothing_and_is_closed(study):
    test = study.services.runs.start_test(actor=study.id("anna"), job_id=study.make_job().id, inputs={})
    agent = SimulatedAgent(study, before_end=_die)
    _in_a_child(study, lambda services: execute_test(services, test.id, cores=1, memory_bytes=1 << 31, session=agent))
    _closed_without_a_trace(study, test.id)


def test_run_closed_by_housekeeping_cannot_be_published_by_a_late_worker(study, run):
    def lose_the_lease(_request):
        study.clock.forward(seconds=61)
        study.services.runs.reconcile({})

    agent = SimulatedAgent(study, before_end=lose_the_lease)
    outcome = execute(study.services, run.id, cores=1, memory_bytes=1 << 31, session=agent)
    assert (outcome.state, outcome.reason) == (RunState.FAILED, "worker-lost")
    results = study.services.context.settings.results_dir
    assert not results.is_dir() or list(results.iterdir()) == []
