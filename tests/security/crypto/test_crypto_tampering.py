"""The storage and relay adversaries of the threat table, on each sealed, signed or encrypted thing."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pyarrow.parquet import encryption

from opaque_jobs.crypto.keys import SealingKey, SigningKey
from opaque_jobs.crypto.parquet import RootKey, released_keys, result_aad_prefix, result_file_key
from opaque_jobs.crypto.parquet_read import read_dataset, read_result
from opaque_jobs.crypto.parquet_write import write_dataset
from opaque_jobs.crypto.sealing import open_sealed, seal
from opaque_jobs.crypto.signing import sign_statement, verify_statement
from opaque_jobs.errors import NotFoundError, OpaqueJobsError, TrustError

ROOT = RootKey(dataset_id="ds-1", version=1, secret=b"\x03" * 32)
OTHER_VERSION = RootKey(dataset_id="ds-1", version=2, secret=ROOT.secret)
OTHER_DATASET = RootKey(dataset_id="ds-2", version=1, secret=ROOT.secret)
TABLE = pa.table({"id": range(3000), "name": [f"canary-{n}" for n in range(3000)]})
KEYS = released_keys(ROOT, TABLE.schema.names)
RESULT_KEY = b"\x04" * 32
RESULT = "part-00000-c000.snappy.parquet"


def flips(data: bytes, step: int):
    for position in range(0, len(data), step):
        yield data[:position] + bytes([data[position] ^ 0x01]) + data[position + 1 :]


@pytest.fixture
def folder(tmp_path) -> Path:
    write_dataset(TABLE.to_batches(), TABLE.schema, tmp_path / "d", ROOT, part_bytes=20_000, row_group_rows=1000)
    return tmp_path / "d"


@pytest.fixture
def result(tmp_path) -> Path:
    return write_result(tmp_path / RESULT)


def write_result(path: Path, **options) -> Path:
    properties = encryption.create_encryption_properties(
        footer_key=result_file_key(RESULT_KEY, run_id="run-1"),
        aad_prefix=result_aad_prefix(run_id="run-1"),
        store_aad_prefix=False,
        **options,
    )
    pq.write_table(TABLE, path, encryption_properties=properties)
    return path


def everything(files, keys=KEYS) -> pa.Table:
    return pa.Table.from_batches(read_dataset(files, keys), TABLE.schema)


def test_sealed_envelope_with_any_byte_flipped_does_not_open():
    key = SealingKey(b"\x01" * 32)
    for changed in flips(seal(b"secret", key.public, {"a": 1}), 5):
        with pytest.raises(OpaqueJobsError):
            open_sealed(changed, key, {"a": 1})


def test_signed_statement_with_any_byte_flipped_does_not_verify():
    key = SigningKey(b"\x02" * 32)
    envelope = sign_statement(
        key, predicate_type="urn:x", subject_name="x", subject_digest="sha256:" + "0" * 64, predicate={"a": 1}
    )
    for changed in flips(envelope, 1):
        with pytest.raises(OpaqueJobsError):
            verify_statement(changed, key.public, predicate_type="urn:x")


def test_dataset_file_with_any_sampled_byte_flipped_is_refused(folder):
    path = folder / "part-00000.parquet"
    whole = path.read_bytes()
    for changed in flips(whole, max(1, len(whole) // 150)):
        path.write_bytes(changed)
        with pytest.raises(TrustError):
            everything([path])


@pytest.mark.parametrize("keep", [0, 3, 4, 100, -1, -5])
def test_truncated_dataset_file_is_refused(folder, keep):
    path = folder / "part-00000.parquet"
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(TrustError):
        everything([path])


def test_swapped_parts_are_refused(folder):
    first, second = folder / "part-00000.parquet", folder / "part-00001.parquet"
    data = first.read_bytes()
    first.write_bytes(second.read_bytes())
    second.write_bytes(data)
    for path in (first, second):
        with pytest.raises(TrustError, match="not the part"):
            everything([path])


@pytest.mark.parametrize("root", [OTHER_VERSION, OTHER_DATASET])
def test_part_of_another_version_or_dataset_is_refused_even_with_the_same_secret(folder, root):
    with pytest.raises(TrustError, match="another dataset or version"):
        everything([folder / "part-00000.parquet"], released_keys(root, TABLE.schema.names))


def test_wrong_root_key_is_refused(folder):
    wrong = RootKey(dataset_id="ds-1", version=1, secret=bytes(32))
    with pytest.raises(TrustError):
        everything([folder / "part-00000.parquet"], released_keys(wrong, TABLE.schema.names))


@pytest.mark.parametrize("name", ["part-00000.parquet", RESULT])
def test_planted_plaintext_file_is_refused(tmp_path, name):
    path = tmp_path / name
    pq.write_table(TABLE, path)
    with pytest.raises(TrustError, match="not encrypted"):
        list(read_result([path], RESULT_KEY, run_id="run-1")) if name == RESULT else everything([path])


def test_planted_plaintext_file_with_the_magic_of_an_encrypted_one_is_refused(tmp_path):
    path = tmp_path / RESULT
    pq.write_table(TABLE, path)
    path.write_bytes(b"PARE" + path.read_bytes()[4:-4] + b"PARE")
    with pytest.raises(TrustError):
        list(read_result([path], RESULT_KEY, run_id="run-1"))


def test_result_with_a_plaintext_footer_is_refused(tmp_path):
    path = write_result(tmp_path / RESULT, plaintext_footer=True)
    with pytest.raises(TrustError, match="not encrypted"):
        list(read_result([path], RESULT_KEY, run_id="run-1"))


def test_result_file_with_any_sampled_byte_flipped_is_refused(result):
    whole = result.read_bytes()
    for changed in flips(whole, max(1, len(whole) // 150)):
        result.write_bytes(changed)
        with pytest.raises(TrustError):
            list(read_result([result], RESULT_KEY, run_id="run-1"))


def test_missing_result_file_is_not_found(result):
    result.unlink()
    with pytest.raises(NotFoundError):
        list(read_result([result], RESULT_KEY, run_id="run-1"))


def test_values_and_names_stand_nowhere_in_an_encrypted_file(folder):
    for path in folder.iterdir():
        raw = path.read_bytes()
        assert b"canary" not in raw
        assert b"name" not in raw


def test_error_about_changed_data_shows_nothing_of_it(folder):
    path = folder / "part-00000.parquet"
    path.write_bytes(path.read_bytes()[:-200] + bytes(196) + b"PARE")
    with pytest.raises(TrustError) as caught:
        everything([path])
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__
