import asyncio

from opaque_jobs.airflow.poller import Poller, shared_poller


class Database:
    """Approval states that a test changes while triggers wait."""

    def __init__(self):
        self.states = {}
        self.asked = []
        self.away = False

    async def read(self, run_ids):
        self.asked.append(set(run_ids))
        if self.away:
            raise ConnectionError
        return {run_id: self.states.get(run_id, "waiting") for run_id in run_ids}


async def test_poller_with_many_waiters_asks_once_for_all():
    database = Database()
    poller = Poller(database.read, interval_s=0.01)
    waiting = [asyncio.create_task(poller.settled(f"run-{number}")) for number in range(1000)]
    await asyncio.sleep(0.05)
    database.states = {f"run-{number}": "open" for number in range(1000)}
    assert set(await asyncio.gather(*waiting)) == {"open"}
    assert len(database.asked) < 20
    assert database.asked[0] == {f"run-{number}" for number in range(1000)}


async def test_poller_gives_a_refusal_as_its_word():
    database = Database()
    database.states = {"run-a": "withdrawn"}
    assert await Poller(database.read, interval_s=0.01).settled("run-a") == "withdrawn"


async def test_poller_with_a_database_that_is_away_goes_on_waiting():
    database = Database()
    database.away = True
    waiting = asyncio.create_task(Poller(database.read, interval_s=0.01).settled("run-a"))
    await asyncio.sleep(0.05)
    assert not waiting.done()
    database.away, database.states = False, {"run-a": "open"}
    assert await waiting == "open"


async def test_poller_without_waiters_stops_asking():
    database = Database()
    poller = Poller(database.read, interval_s=0.01)
    waiting = asyncio.create_task(poller.settled("run-a"))
    await asyncio.sleep(0.03)
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    await asyncio.sleep(0.03)
    asked = len(database.asked)
    await asyncio.sleep(0.05)
    assert len(database.asked) == asked


async def test_shared_poller_in_one_loop_is_one():
    database = Database()
    assert shared_poller(lambda: database.read) is shared_poller(lambda: database.read)
