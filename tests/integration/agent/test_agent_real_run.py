"""A real run: encrypted data of two owners, two brokers, sealed result, receipt; and runs that must not become one."""

import base64
import json
from dataclasses import replace

import pyarrow as pa
import pytest

from opaque_jobs.crypto.consent import RECEIPT
from opaque_jobs.crypto.keys import VerifyKey
from opaque_jobs.crypto.signing import verify_statement
from opaque_jobs.domain.canonical import digest
from opaque_jobs.domain.dataset import ReleasePolicy
from opaque_jobs.domain.job import Language
from opaque_jobs.domain.row_rule import RowOperator, RowTest
from opaque_jobs.domain.run import parse_receipt
from opaque_jobs.protocol.enclave import FailureWord

pytestmark = pytest.mark.spark

PEOPLE = pa.table(
    {
        "id": pa.array([1, 2, 3, 4, 5], pa.int64()),
        "na me": ["a", "b", "c", "d", None],
        "site": ["A", "A", "B", "A", "A"],
        "unseen": [10, 20, 30, 40, 50],
        "ne sted": pa.array([{"x.y": 1, "z": [1, 2]}] * 5),
    }
)
FINDINGS = pa.table({"id": pa.array([1, 2, 3, 9], pa.int64()), "value": [1.5, 2.5, 3.5, 9.5]})
ONLY_A = RowTest(column="site", type="string", operator=RowOperator.EQUAL, values=("A",))


@pytest.fixture
def staged(runs):
    policy = ReleasePolicy(columns=("id", "na me", "ne sted"), row_rule=ONLY_A)
    runs.add(runs.world.hospital, "people", PEOPLE, policy=policy, part_bytes=64)
    runs.add(runs.world.laboratory, "findings", FINDINGS)
    return runs


def test_real_run_on_two_owners_data_gives_sealed_result_and_valid_receipt(staged):
    code = "select p.id, `na me`, `ne sted`.`x.y` as xy, value from people p join findings f using (id) order by id"
    spec = staged.spec(code, Language.SQL)

    done = staged.run_real(spec)

    assert done.failure is None
    assert done.words[-1] == "done"
    opened = staged.opened(done)
    assert opened["rows"] == [
        {"id": 1, "na me": "a", "xy": 1, "value": 1.5},
        {"id": 2, "na me": "b", "xy": 1, "value": 2.5},
    ]
    assert opened["preview"] == opened["rows"]
    envelope = (done.out / "receipt.json").read_bytes()
    predicate = json.loads(base64.b64decode(opened["receipt"]["payload"]))["predicate"]
    statement = verify_statement(envelope, VerifyKey.parse(predicate["tee_signing_key"]), predicate_type=RECEIPT)
    receipt = parse_receipt(statement.predicate)
    assert statement.subject_digest == spec.digest
    assert {f.name: f.sha256 for f in receipt.outputs} == {
        path.relative_to(done.out).as_posix(): digest(path.read_bytes())
        for path in done.out.rglob("*")
        if path.is_file() and path.name != "receipt.json"
    }
    assert [record.organisation_id for record in receipt.evidence] == ["org-hospital", "org-laboratory"]
    assert done.outcome.files == (
        "log.sealed.json", "preview.sealed.json", "receipt.json", "result.key.json", "result.sealed",
    )  # fmt: skip


COUNT = "select count(*) as n from people"


def test_real_run_with_a_changed_part_is_refused_and_leaves_nothing(staged, tmp_path):
    part = next(iter(sorted(staged.stages["people"].folder.iterdir())))
    data = bytearray(part.read_bytes())
    data[100] ^= 1
    part.write_bytes(bytes(data))

    done = staged.run_real(staged.spec(COUNT, Language.SQL))

    assert (done.failure, done.outcome.files) == (FailureWord.DATA_REFUSED, ())


def test_real_run_for_another_runtime_is_refused_by_the_broker(staged):
    done = staged.run_real(staged.spec(COUNT, Language.SQL, measurement="sha256:" + "11" * 32))

    assert (done.failure, done.outcome.files) == (FailureWord.BROKER_REFUSED, ())
    assert done.outcome.reasons


def test_real_run_with_an_input_that_may_not_be_set_asks_no_broker(staged):
    done = staged.run_real(staged.spec(COUNT, Language.SQL), inputs={"fixed": 8})

    assert done.failure is FailureWord.INPUTS_REFUSED
    assert done.requests == []


def test_real_run_beyond_its_time_ends_itself(staged):
    spec = staged.spec(COUNT, Language.SQL)

    done = staged.run_real(replace(spec, limits=replace(spec.limits, timeout_s=1)))

    assert (done.failure, done.outcome.files) == (FailureWord.TIME_LIMIT, ())
