from opaque_jobs.airflow.retirement import Retirement
from opaque_jobs.airflow.stubs import Stub

STUB = Stub(job_id="job-a", revision=3, marker="accepted")


class Clock:
    def __init__(self):
        self.seconds = 0.0

    def __call__(self):
        return self.seconds


def kept(retirement, *, deployable=(), open_runs=()):
    return [stub.job_id for stub in retirement.kept([STUB], deployable=deployable, with_open_runs=open_runs)]


def test_file_of_a_job_that_may_run_is_not_kept_by_retirement():
    assert kept(Retirement(), deployable={"job-a"}) == []


def test_file_of_a_job_with_an_open_run_stays_however_long_it_takes():
    clock = Clock()
    retirement = Retirement(linger_s=10, clock=clock)
    for _round in range(5):
        clock.seconds += 100
        assert kept(retirement, open_runs={"job-a"}) == ["job-a"]


def test_file_of_a_job_whose_last_run_closed_stays_for_a_while_and_then_goes():
    clock = Clock()
    retirement = Retirement(linger_s=10, clock=clock)
    kept(retirement, open_runs={"job-a"})
    clock.seconds = 9
    assert kept(retirement) == ["job-a"]
    clock.seconds = 10
    assert kept(retirement) == []


def test_file_that_is_kept_names_the_same_revision():
    (stub,) = Retirement().kept([STUB], deployable=(), with_open_runs={"job-a"})
    assert stub.revision == STUB.revision
    assert stub.marker != STUB.marker
