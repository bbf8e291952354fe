"""Arrow data from the author is sound when it goes on, or refused: corruption of every place in a stream, without Spark."""

import random
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal

import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pyspark.sql.connect.proto import base_pb2

from opaque_jobs.enclave.agent.arrow_input import rewritten
from opaque_jobs.enclave.agent.gate_rules import Rules
from opaque_jobs.enclave.agent.schema_rules import RefusedError
from opaque_jobs.enclave.agent.sql_rules import Names

SESSION = "00000000-0000-4000-8000-000000000001"
TABLE = pa.table(
    {
        "text": ["a", None, "c" * 40],
        "large": pa.array(["x", "yy", None], pa.large_string()),
        "bytes": [b"1", b"", None],
        "whole": pa.array([1, 2, None], pa.int32()),
        "yes": [True, None, False],
        "list": [[1, 2], [], None],
        "struct": [{"a": 1, "b": "x"}, None, {"a": None, "b": "y"}],
        "map": pa.array([[("k", 1)], [], None], pa.map_(pa.string(), pa.int64())),
        "money": [Decimal("1.25"), None, Decimal("-3.00")],
        "day": [date(2024, 1, 1), None, date(1969, 1, 1)],
        "moment": pa.array([datetime(2024, 1, 1, tzinfo=UTC), None, None], pa.timestamp("us", "UTC")),
        "span": pa.array([timedelta(1), None, None], pa.duration("us")),
        "none": pa.nulls(3),
    }
)


def stream(table: pa.Table, **options) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema, options=pa.ipc.IpcWriteOptions(**options)) as writer:
        writer.write_table(table)
    return sink.getvalue().to_pybytes()


SOUND = stream(TABLE)


def opened(data: bytes) -> pa.Table:
    return pa.ipc.open_stream(data).read_all()


def with_offsets(values: bytes, offsets: list[int], large: bool) -> bytes:
    """Write a column of strings, then put other offsets in place of its own, and other bytes in place of its text."""
    kind, width = (pa.large_string(), 8) if large else (pa.string(), 4)
    text = "abcdefgh" * 8
    lengths = [7 * (place + 1) for place in range(len(offsets) - 1)]
    array = pa.array([text[:length] for length in lengths], kind)
    own = b"".join(sum(lengths[:place]).to_bytes(width, "little") for place in range(len(offsets)))
    data = stream(pa.table({"stolen": array}))
    place = data.rindex(own)
    changed = b"".join(each.to_bytes(width, "little", signed=True) for each in offsets)
    return (data[:place] + changed + data[place + len(own) :]).replace(text.encode()[:7], values.ljust(7, b"x"), 1)


def test_arrow_sound_data_keeps_its_values_and_schema():
    found = opened(rewritten(SOUND))

    assert found.schema == TABLE.schema
    assert found.equals(TABLE)


def test_arrow_data_without_rows_passes():
    assert opened(rewritten(stream(TABLE.slice(0, 0)))).num_rows == 0


@pytest.mark.parametrize("large", [False, True])
@pytest.mark.parametrize("offsets", [[0, 4096], [-64, 4], [0, 4, 2], [0, 2**31 - 1], [100, 104], [4, 0], [-8, -4], [0, -1]])
def test_arrow_offset_outside_its_buffer_is_refused(offsets, large):
    with pytest.raises(RefusedError):
        rewritten(with_offsets(b"1234", offsets, large))


@pytest.mark.parametrize("offset", [2**40, -(2**40), 2**63 - 1])
def test_arrow_large_offset_outside_its_buffer_is_refused(offset):
    with pytest.raises(RefusedError):
        rewritten(with_offsets(b"1234", [0, offset], True))


@pytest.mark.parametrize("codec", ["lz4", "zstd"])
def test_arrow_compressed_data_is_refused_unopened(codec):
    with pytest.raises(RefusedError, match="compressed"):
        rewritten(stream(pa.table({"bomb": pa.nulls(1_000_000, pa.int64()).fill_null(0)}), compression=codec))


@pytest.mark.parametrize(
    "array",
    [
        pa.array(["a", "a"]).dictionary_encode(),
        pa.array(["a"], pa.string_view()),
        pa.array([b"a"], pa.binary_view()),
        pa.array([b"ab"], pa.binary(2)),
        pa.array([[1]], pa.list_(pa.int64(), 1)),
        pa.array([[1]], pa.large_list(pa.int64())),
        pa.array([[1]], pa.list_view(pa.int64())),
        pa.RunEndEncodedArray.from_arrays(pa.array([1], pa.int32()), pa.array([1])),
        pa.UnionArray.from_dense(pa.array([0], pa.int8()), pa.array([0], pa.int32()), [pa.array([1])]),
        pa.array([1], pa.uint64()),
        pa.array([1.0], pa.float16()),
        pa.array([Decimal(1)], pa.decimal256(50)),
        pa.array([[{"a": ["x"]}]], pa.list_(pa.struct([("a", pa.list_(pa.string_view()))]))),
    ],
    ids=lambda array: str(array.type)[:30],
)
def test_arrow_type_that_spark_does_not_read_is_refused(array):
    with pytest.raises(RefusedError):
        rewritten(stream(pa.table({"a": array})))


def test_arrow_text_that_is_not_utf8_is_refused():
    with pytest.raises(RefusedError):
        rewritten(with_offsets(b"\xf0\xff\xff\xff", [0, 7], False))


@pytest.mark.parametrize(
    "data", [b"x", b"\xff" * 8, b"\xff\xff\xff\xff\xff\xff\xff\x7f", SOUND[:100], SOUND[:-300], b"PAR1" * 100]
)
def test_arrow_bytes_that_are_no_stream_are_refused(data):
    with pytest.raises(RefusedError):
        rewritten(data)


@settings(max_examples=600, deadline=None)
@given(st.integers(0, len(SOUND) - 1), st.integers(0, 7), st.booleans())
def test_arrow_flipped_bits_are_refused_or_give_sound_data(place, bit, run):
    data = bytearray(SOUND)
    for each in range(place, min(place + (8 if run else 1), len(data))):
        data[each] ^= 1 << bit
    try:
        found = rewritten(bytes(data))
    except RefusedError:
        return
    opened(found).validate(full=True)


def test_arrow_mutated_words_are_refused_or_give_sound_data():
    rng = random.Random(7)  # noqa: S311 - repeatable
    refused = 0
    for _ in range(3000):
        data = bytearray(SOUND)
        for _ in range(rng.randrange(1, 4)):
            place = rng.randrange(len(data) // 4) * 4
            data[place : place + 4] = rng.choice([0, 1, 255, 2**31 - 1, 2**31, 2**32 - 1, rng.getrandbits(32)]).to_bytes(
                4, "little"
            )
        try:
            found = rewritten(bytes(data))
        except RefusedError:
            refused += 1
            continue
        opened(found).validate(full=True)
    assert refused > 300


def test_rules_local_data_is_sent_on_as_it_was_written_here():
    rules = Rules(Names(("people",)), lambda _text, _statement: None, session_id=SESSION, user_id="author")
    request = base_pb2.ExecutePlanRequest(session_id=SESSION)
    request.user_context.user_id = "author"
    request.plan.root.local_relation.data = SOUND + b"behind the end"

    rules.check(request)

    assert request.plan.root.local_relation.data == rewritten(SOUND)
    assert b"behind" not in request.plan.root.local_relation.data


def test_rules_local_data_that_is_not_sound_is_refused():
    rules = Rules(Names(("people",)), lambda _text, _statement: None, session_id=SESSION, user_id="author")
    request = base_pb2.ExecutePlanRequest(session_id=SESSION)
    request.user_context.user_id = "author"
    request.plan.root.local_relation.data = with_offsets(b"1234", [0, 4096], False)

    with pytest.raises(RefusedError):
        rules.check(request)
