"""Plain files in, encrypted parts out: types, broken input, and nothing left behind."""

import datetime as dt
from decimal import Decimal
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from opaque_jobs.crypto.parquet import RootKey
from opaque_jobs.data.dataset_files import EncryptedDataset, encrypt_file, read_files, verify_files
from opaque_jobs.data.sources import column_names
from opaque_jobs.errors import ConfigurationError, ConflictError, InvalidInputError, NotFoundError, TrustError
from tests.world import everything

NOW = dt.datetime(2026, 1, 2, 3, 4, 5, tzinfo=dt.UTC)
SECRET = "canary-7f3a"


def encrypt(source: Path, **over: object) -> EncryptedDataset:
    options = {
        "name": "people",
        "dataset_id": "ds-1",
        "version": 1,
        "organisation_id": "org-1",
        "out_dir": source.parent / "encrypted",
        "now": NOW,
        "policy": everything,
    }
    return encrypt_file(source, **{**options, **over})


def written(folder: Path, text: str | bytes, name: str = "source.csv") -> Path:
    path = folder / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def read_back(source: Path, result: EncryptedDataset) -> pa.Table:
    return pa.Table.from_batches(list(read_files(result.manifest, source.parent / "encrypted", result.root_key)))


def test_encrypt_csv_with_all_types_reads_back_the_same_values(tmp_path):
    source = written(
        tmp_path,
        "id,code,amount,yes,day,local,zoned,note\n"
        '1,007,1.50,true,2024-02-29,2024-01-01 10:00:00,2024-01-01T10:00:00+02:00,"a, ""b""\nc"\n'
        '2,12,NA,FALSE,,,,""\n'
        "3,,1e3,,2024-03-01,2024-01-01T10:00:00.5,2024-01-01T10:00:00Z,\n",
    )
    result = encrypt(source)
    assert [column.type for column in result.manifest.columns] == [
        "int64", "string", "double", "bool", "date32[day]", "timestamp[us]", "timestamp[us, tz=UTC]", "string",
    ]  # fmt: skip
    rows = read_back(source, result).to_pydict()
    assert rows["code"] == ["007", "12", None]
    assert rows["amount"] == [1.5, None, 1000.0]
    assert rows["yes"] == [True, False, None]
    assert rows["day"] == [dt.date(2024, 2, 29), None, dt.date(2024, 3, 1)]
    assert rows["zoned"][0] == dt.datetime(2024, 1, 1, 8, tzinfo=dt.UTC)
    assert rows["note"] == ['a, "b"\nc', "", None]


def test_encrypt_csv_with_explicit_types_uses_them(tmp_path):
    source = written(tmp_path, "a,b\n1,2.50\n2,3\n")
    result = encrypt(source, types={"a": "text", "b": "decimal(12, 2)"})
    assert read_back(source, result).to_pydict() == {"a": ["1", "2"], "b": [Decimal("2.50"), Decimal("3.00")]}


def test_encrypt_csv_whose_type_changes_late_finds_the_wider_type(tmp_path):
    source = written(tmp_path, "a,b\n" + "1,x\n" * 500_000 + "x1,y\n")
    result = encrypt(source)
    assert result.manifest.columns[0].type == "string"
    assert result.manifest.rows == 500_001


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (f"a,b\n1,2\n3\n{SECRET},5\n", "line 3: 1 fields instead of 2"),
        (f"a,b\n1,2\n3,4,{SECRET}\n", "line 3: 3 fields instead of 2"),
        (b"a,b\n1,canary-7f3a\xff\n", "not UTF-8"),
        (f"a,A\n1,{SECRET}\n", "same name"),
        (f"a,a\n1,{SECRET}\n", "same name"),
        (f"a,\n1,{SECRET}\n", "a column has none"),
        ("", "empty"),
    ],
)
def test_encrypt_csv_that_is_broken_says_where_and_shows_no_cell(tmp_path, text, message):
    with pytest.raises(InvalidInputError, match=message) as caught:
        encrypt(written(tmp_path, text))
    assert SECRET not in repr(caught.value) + caught.value.hint
    assert caught.value.hint
    assert [path.name for path in tmp_path.iterdir()] == ["source.csv"]


def test_encrypt_csv_with_a_value_of_another_type_names_column_and_row_only(tmp_path):
    source = written(tmp_path, "a,b\n" + "1,2\n" * 100_000 + f"1,{SECRET}\n1,2\n")
    with pytest.raises(InvalidInputError, match=r"column 'b', data row 100,001") as caught:
        encrypt(source, types={"b": "integer"})
    assert SECRET not in repr(caught.value)
    assert caught.value.__cause__ is None
    assert [path.name for path in tmp_path.iterdir()] == ["source.csv"]


def test_encrypt_csv_with_a_type_for_an_unknown_column_is_refused(tmp_path):
    with pytest.raises(InvalidInputError, match="'c'"):
        encrypt(written(tmp_path, "a,b\n1,2\n"), types={"c": "text"})


def test_encrypt_csv_with_an_unknown_type_is_refused(tmp_path):
    with pytest.raises(InvalidInputError, match="not known"):
        encrypt(written(tmp_path, "a,b\n1,2\n"), types={"a": "blob"})


@pytest.mark.parametrize("text", ["a,b\n", "a,b"])
def test_encrypt_csv_of_no_rows_gives_one_empty_part(tmp_path, text):
    source = written(tmp_path, text)
    result = encrypt(source)
    assert (result.manifest.rows, len(result.manifest.parts)) == (0, 1)
    assert [column.name for column in result.manifest.columns] == ["a", "b"]
    assert list(read_files(result.manifest, tmp_path / "encrypted", result.root_key)) == []


def test_encrypt_csv_of_one_row_without_line_end_keeps_it(tmp_path):
    source = written(tmp_path, "a,b\n1,2")
    assert read_back(source, encrypt(source)).to_pydict() == {"a": [1], "b": [2]}


def test_encrypt_csv_with_mark_semicolons_and_unicode_names_reads_them(tmp_path):
    source = written(tmp_path, "\ufeffGröße in cm;名前\n1;x\n")
    assert read_back(source, encrypt(source, delimiter=";")).to_pydict() == {"Größe in cm": [1], "名前": ["x"]}


def test_encrypt_csv_of_a_thousand_columns_keeps_them_all(tmp_path):
    names = [f"column {i}" for i in range(1000)]
    source = written(tmp_path, ",".join(names) + "\n" + ",".join("1" for _ in names) + "\n")
    result = encrypt(source)
    assert [column.name for column in result.manifest.columns] == names
    assert read_back(source, result).num_columns == 1000


def nested_table() -> pa.Table:
    return pa.table(
        {
            "list of structs": pa.array(
                [[{"a b": 1, "c.d": "x"}], None, []], pa.list_(pa.struct([("a b", pa.int32()), ("c.d", pa.string())]))
            ),
            "map": pa.array([[("k", 1.5)], [], None], pa.map_(pa.string(), pa.float64())),
            "dec": pa.array([Decimal("1.23"), None, Decimal("-99999999.99")], pa.decimal128(10, 2)),
            "day": pa.array([dt.date(1900, 1, 1), None, dt.date(2100, 12, 31)]),
            "zoned": pa.array([dt.datetime(2024, 1, 1, tzinfo=dt.UTC), None, None], pa.timestamp("us", tz="Europe/Berlin")),
            "fine": pa.array([1_000, None, 2_000], pa.timestamp("ns")),
            "word": pa.array(["x", "y", None]).dictionary_encode(),
            "raw": pa.array([b"\x00\xff", b"", None]),
            "größe, 大": pa.array([1, 2, None], pa.int8()),
        }
    )


def test_encrypt_parquet_with_nested_and_exact_types_reads_back_the_same_values(tmp_path):
    table = nested_table()
    pq.write_table(table, tmp_path / "source.parquet")
    result = encrypt(tmp_path / "source.parquet")
    back = read_back(tmp_path / "source.parquet", result)
    assert back.to_pydict() == table.to_pydict()
    assert back.schema.field("zoned").type.tz == "Europe/Berlin"


def test_encrypt_parquet_with_several_parts_numbers_them(tmp_path):
    pq.write_table(pa.table({"a": list(range(1_000_000))}), tmp_path / "source.parquet")
    result = encrypt(tmp_path / "source.parquet", part_bytes=2_000_000)
    assert [part.name for part in result.manifest.parts][:2] == ["part-00000.parquet", "part-00001.parquet"]
    assert read_back(tmp_path / "source.parquet", result)["a"].to_pylist() == list(range(1_000_000))


@pytest.mark.parametrize("kind", [pa.time64("us"), pa.duration("s"), pa.null()])
def test_encrypt_parquet_with_a_type_that_spark_lacks_is_refused(tmp_path, kind):
    pq.write_table(pa.table({"odd one": pa.array([None], kind)}), tmp_path / "source.parquet")
    with pytest.raises(InvalidInputError, match="odd one"):
        encrypt(tmp_path / "source.parquet")


def test_encrypt_parquet_cut_short_is_refused(tmp_path):
    pq.write_table(pa.table({"a": [SECRET]}), tmp_path / "whole.parquet")
    written(tmp_path, (tmp_path / "whole.parquet").read_bytes()[:-20], "source.parquet")
    with pytest.raises(InvalidInputError, match="damaged"):
        encrypt(tmp_path / "source.parquet")


def test_encrypt_parquet_damaged_inside_is_refused_and_leaves_nothing(tmp_path):
    pq.write_table(pa.table({"a": [f"{SECRET}{i}" for i in range(10_000)]}), tmp_path / "whole.parquet")
    data = bytearray((tmp_path / "whole.parquet").read_bytes())
    data[4:200] = b"\xff" * 196
    source = written(tmp_path, bytes(data), "source.parquet")
    with pytest.raises(InvalidInputError) as caught:
        encrypt(source)
    assert SECRET not in repr(caught.value)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["source.parquet", "whole.parquet"]


@pytest.mark.parametrize("name", ["", "source.xlsx"])
def test_encrypt_of_something_else_is_refused(tmp_path, name):
    path = tmp_path / name
    if name:
        written(tmp_path, b"PK\x03\x04", name)
    with pytest.raises(InvalidInputError):
        encrypt(path, out_dir=tmp_path / "out")


def test_encrypt_of_a_missing_file_says_so(tmp_path):
    with pytest.raises(NotFoundError):
        encrypt(tmp_path / "none.csv")


def test_encrypt_into_an_existing_folder_is_refused(tmp_path):
    (tmp_path / "encrypted").mkdir()
    with pytest.raises(ConflictError):
        encrypt(written(tmp_path, "a\n1\n"))


def test_encrypt_interrupted_by_the_user_leaves_nothing(tmp_path):
    source = written(tmp_path, "a,b\n" + "1,2\n" * 2_000_000)

    def interrupt(done: int, total: int) -> None:
        if done > 0.8 * total:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        encrypt(source, progress=interrupt, part_bytes=100_000)
    assert [path.name for path in tmp_path.iterdir()] == ["source.csv"]


def test_encrypt_onto_a_full_disk_says_so_and_leaves_nothing(tmp_path, small_disk):
    pq.write_table(pa.table({"a": list(range(3_000_000))}), tmp_path / "source.parquet")
    with pytest.raises(ConfigurationError, match="No space left"):
        encrypt(tmp_path / "source.parquet", out_dir=small_disk / "encrypted")
    assert list(small_disk.iterdir()) == []


def test_encrypt_reports_progress_that_only_grows(tmp_path):
    seen: list[tuple[int, int]] = []
    encrypt(written(tmp_path, "a,b\n" + "1,2\n" * 3_000_000), progress=lambda done, total: seen.append((done, total)))
    shares = [done / total for done, total in seen]
    assert shares == sorted(shares)
    assert len(shares) > 3
    assert shares[-1] == 1.0


@pytest.fixture
def dataset(tmp_path: Path) -> tuple[EncryptedDataset, Path]:
    pq.write_table(pa.table({"a": list(range(300_000))}), tmp_path / "source.parquet")
    return encrypt(tmp_path / "source.parquet", part_bytes=1_000_000), tmp_path / "encrypted"


def test_verify_of_untouched_files_passes(dataset):
    result, folder = dataset
    assert len(result.manifest.parts) > 1
    verify_files(result.manifest, folder)


def cut(folder: Path) -> None:
    path = folder / "part-00000.parquet"
    path.write_bytes(path.read_bytes()[:-1])


def lengthen(folder: Path) -> None:
    path = folder / "part-00000.parquet"
    path.write_bytes(path.read_bytes() + b"x")


def flip(folder: Path) -> None:
    path = folder / "part-00001.parquet"
    data = bytearray(path.read_bytes())
    data[1000] ^= 1
    path.write_bytes(bytes(data))


def swap(folder: Path) -> None:
    (folder / "part-00000.parquet").rename(folder / "x")
    (folder / "part-00001.parquet").rename(folder / "part-00000.parquet")
    (folder / "x").rename(folder / "part-00001.parquet")


def link(folder: Path) -> None:
    (folder / "part-00000.parquet").rename(folder.parent / "elsewhere")
    (folder / "part-00000.parquet").symlink_to(folder.parent / "elsewhere")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (cut, "cut short"),
        (lengthen, "longer"),
        (flip, "part-00001.parquet was changed"),
        (swap, "part-0000"),
        (lambda folder: (folder / "part-00001.parquet").unlink(), "part-00001.parquet is missing"),
        (lambda folder: (folder / "part-00099.parquet").write_bytes(b""), "does not list"),
        (link, "missing"),
    ],
)
def test_verify_of_changed_files_names_what_is_wrong(dataset, change, message):
    result, folder = dataset
    change(folder)
    with pytest.raises(TrustError, match=message):
        verify_files(result.manifest, folder)


def test_read_files_with_another_root_key_is_refused(dataset):
    result, folder = dataset
    with pytest.raises(TrustError):
        list(read_files(result.manifest, folder, RootKey.generate(dataset_id="ds-1", version=1)))


@pytest.mark.parametrize(
    ("text", "delimiter", "names"),
    [
        ('"id;age"\n1\n', "", ["id;age"]),
        ("id\n1\n", "", ["id"]),
        ("id;age\n1;2\n", ";", ["id", "age"]),
        ("id\tage\n1\t2\n", "tab", ["id", "age"]),
        ("id\tage\n1\t2\n", "\\t", ["id", "age"]),
        ("id,a;b\n1,2\n", "", ["id", "a;b"]),
    ],
)
def test_csv_header_gives_the_columns_that_its_delimiter_makes(tmp_path, text, delimiter, names):
    path = tmp_path / "some.csv"
    path.write_text(text)
    assert column_names(path, types={}, delimiter=delimiter) == names
