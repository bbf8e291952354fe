"""What the engine's Java lets Parquet read and write: attacks on every file, in one start of the engine."""

import base64
import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from opaque_jobs.crypto.parquet import RootKey, released_keys
from opaque_jobs.crypto.parquet_write import write_dataset
from opaque_jobs.enclave.agent.functions import REFUSED_FUNCTIONS
from tests.support.enclave_probe import run_probe

pytestmark = pytest.mark.spark

ROOT = RootKey(dataset_id="ds-a", version=1, secret=b"a" * 32)
TABLE = pa.table({"id": list(range(1000)), "hidden": list(range(1000))})


def encrypt(folder: Path, root: RootKey, table: pa.Table = TABLE, **over) -> list[Path]:
    write_dataset(table.to_batches(max_chunksize=500), table.schema, folder, root, **over)
    return sorted(folder.iterdir())


def flipped(data: bytes, place: int) -> bytes:
    return data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :]


@pytest.fixture(scope="module")
def report(enclave_runtime, tmp_path_factory):
    folder = tmp_path_factory.mktemp("keys")
    data = folder / "data"
    data.mkdir()
    first, second = encrypt(folder / "sound", ROOT, part_bytes=4000, row_group_rows=500)[:2]
    other_version = encrypt(folder / "v2", RootKey(dataset_id="ds-a", version=2, secret=b"a" * 32))[0]
    other_dataset = encrypt(folder / "ds-b", RootKey(dataset_id="ds-b", version=1, secret=b"a" * 32))[0]
    other_key = encrypt(folder / "key", RootKey(dataset_id="ds-a", version=1, secret=b"b" * 32))[0]
    sound = first.read_bytes()
    files = {
        "part-00000.parquet": sound,
        "part-00001.parquet": second.read_bytes(),
        "swapped.parquet": second.read_bytes(),
        "other-version.parquet": other_version.read_bytes(),
        "other-dataset.parquet": other_dataset.read_bytes(),
        "other-key.parquet": other_key.read_bytes(),
        "unlisted.parquet": sound,
        "truncated.parquet": sound[:-100],
        **{f"flipped-{part}.parquet": flipped(sound, len(sound) * part // 10) for part in range(1, 10)},
    }
    for name, content in files.items():
        (data / name).write_bytes(content)
    pq.write_table(TABLE, data / "plaintext.parquet")
    relabelled = bytearray((data / "plaintext.parquet").read_bytes())
    relabelled[-4:] = b"PARE"
    (data / "plaintext-relabelled.parquet").write_bytes(bytes(relabelled))
    keys = released_keys(ROOT, ["id"])
    given = {"footer": keys.footer_key, "id": keys.column_keys["id"]}
    (data / "keys.json").write_text(json.dumps({name: base64.b64encode(key).decode() for name, key in given.items()}))
    script = Path(__file__).with_name("key_probe.py")
    return run_probe(enclave_runtime, script, data=data, out=folder / "out")


@pytest.mark.parametrize("name", ["part-00000.parquet", "part-00001.parquet"])
def test_engine_sound_part_under_its_name_reads(report, name):
    assert report[name][0] == "done", report[name]


@pytest.mark.parametrize(
    "name",
    [
        "swapped", "other-version", "other-dataset", "other-key", "unlisted", "truncated", "plaintext", "plaintext-relabelled",
        *(f"flipped-{part}" for part in range(1, 10)),
    ],
)  # fmt: skip
def test_engine_file_that_is_not_what_its_path_says_is_refused(report, name):
    outcome, detail = report[f"{name}.parquet"]
    if name.startswith("flipped") and outcome == "done":
        # The bit may lie in the column that is not read: then nothing may change.
        assert detail == report["part-00000.parquet"][1]
        return
    assert outcome == "refused"


def test_engine_most_flipped_bits_are_refused(report):
    refused = [report[f"flipped-{part}.parquet"][0] == "refused" for part in range(1, 10)]
    assert sum(refused) >= 3


def test_engine_column_without_a_key_is_refused(report):
    outcome, detail = report["hidden_column"]
    assert outcome == "refused"
    assert "KeyAccessDeniedException" in detail


def test_engine_write_before_the_table_is_closed_is_refused(report):
    assert report["before_freeze_write"][0] == "refused"


def test_engine_key_after_the_table_is_closed_is_refused(report):
    assert report["after_freeze_key"][0] == "refused"


def test_engine_result_is_written_and_not_readable_again(report):
    assert report["write_result"][0] == "done"
    assert report["read_own_result"][0] == "refused"


def test_engine_path_as_table_is_refused_by_spark_itself(report):
    assert report["path_table"][0] == "refused"


def test_engine_forgot_the_functions_that_jobs_may_not_call(report):
    assert len(report["registry"]) > 400
    assert not REFUSED_FUNCTIONS & set(report["registry"])


def test_engine_keys_are_in_no_configuration_argument_or_environment(report):
    assert report["key_in_conf_argv_environment"] is False
