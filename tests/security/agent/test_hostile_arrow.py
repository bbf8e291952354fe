"""Arrow data whose lengths and offsets lie, from the author's client and from Python workers: none reads the engine's memory."""

from pathlib import Path

import pyarrow as pa
import pytest

from opaque_jobs.domain.job import Language
from opaque_jobs.domain.output_policy import OutputPolicy

pytestmark = pytest.mark.spark

CODE = Path(__file__).with_name("hostile_arrow.py").read_text()
ROOMY = OutputPolicy(max_rows=1000, max_columns=10, max_bytes=1 << 24, preview_rows=0)


@pytest.fixture(scope="module")
def found(runs):
    runs.add(runs.world.hospital, "people", pa.table({"id": [1]}))
    done = runs.run_test(runs.spec(CODE, Language.PYTHON, output_policy=ROOMY), {"people": pa.table({"id": [1]})})
    assert done.failure is None, done.test_log
    return {row["name"]: row for row in done.test_rows}


def test_arrow_that_is_not_sound_is_refused_whoever_sends_it(found):
    tried = [row for name, row in found.items() if name.startswith(("client", "worker"))]
    assert len(tried) > 100
    assert [row for row in tried if row["outcome"] != "refused"] == []


def test_arrow_from_the_client_is_refused_before_the_engine(found):
    said = {row["detail"].partition(" ")[0] for name, row in found.items() if name.startswith("client")}
    assert said == {"data"}


def test_arrow_from_a_worker_is_refused_where_it_enters_the_engine(found):
    offsets = [row for name, row in found.items() if name.startswith("worker: string")]
    assert [row for row in offsets if "Arrow data that is not sound" not in row["detail"]] == []


def test_socket_of_the_workers_is_out_of_their_reach(found):
    tried = [row for name, row in found.items() if name.startswith("socket")]
    assert len(tried) == 4
    assert [row for row in tried if row["outcome"] != "refused" and row["name"] != "socket: make_the_folder"] == []


def test_sound_data_of_every_form_passes_from_client_and_worker(found):
    honest = {name: row for name, row in found.items() if name.startswith("honest")}
    assert len(honest) == 15
    assert {name: row["detail"] for name, row in honest.items() if row["outcome"] != "reached"} == {}
    assert found["honest: worker after all"]["detail"] == "1"
