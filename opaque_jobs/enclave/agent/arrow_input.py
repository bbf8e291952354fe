"""Arrow data that the author sends, read, validated in full and written again before the engine sees it.

The engine takes strings from where the offsets say, without a look at the buffer's end: an offset of the author's choice would
read its memory. What goes on is what Arrow's own library wrote from arrays that it found sound.
"""

import struct
from typing import Any, Final

import pyarrow as pa
from pyarrow import types

from opaque_jobs.enclave.agent.schema_rules import RefusedError

__all__ = ["rewritten"]

_PLAIN: Final = (
    types.is_null, types.is_boolean, types.is_signed_integer, types.is_float32, types.is_float64, types.is_string,
    types.is_large_string, types.is_binary, types.is_large_binary, types.is_date32, types.is_timestamp, types.is_duration,
    types.is_decimal128, types.is_time64, types.is_interval,
)  # fmt: skip
_NESTED: Final = (types.is_list, types.is_map, types.is_struct)
_DEEPEST: Final = 64
_HEADER: Final = 2
_COMPRESSION: Final = 3
"""Places in Arrow's tables Message and RecordBatch (format/Message.fbs)."""


def rewritten(data: bytes) -> bytes:
    """Return a stream of record batches that holds the same values, in buffers of our own.

    Raises:
        RefusedError: It is no stream, or not sound, or compressed, or of a type that Spark does not read.
    """
    try:
        return _rewritten(data)
    except (pa.ArrowException, ValueError, OSError, struct.error, StopIteration, RecursionError):
        raise RefusedError("data made in the code is not sound Arrow") from None


def _rewritten(data: bytes) -> bytes:
    messages = pa.ipc.MessageReader.open_stream(pa.py_buffer(data))
    schema = pa.ipc.read_schema(messages.read_next_message()).remove_metadata()
    _check_type(pa.struct(schema))
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, schema) as writer:
        while (message := _next(messages)) is not None:
            if message.type != "record batch" or _is_compressed(message.metadata.to_pybytes()):
                raise RefusedError("data made in the code is neither compressed nor by dictionary in a job")
            batch = pa.ipc.read_record_batch(message, schema)
            batch.validate(full=True)
            writer.write_batch(batch)
    return bytes(sink.getvalue().to_pybytes())


def _next(messages: Any) -> Any:
    try:
        return messages.read_next_message()
    except StopIteration:
        return None


def _check_type(kind: pa.DataType, depth: int = 0) -> None:
    if depth > _DEEPEST or not any(check(kind) for check in _PLAIN + _NESTED) or isinstance(kind, pa.BaseExtensionType):
        raise RefusedError("data made in the code is of a type that Spark does not read")
    for field in map(kind.field, range(kind.num_fields)):
        field.name.encode()  # whose bytes may be no text
        _check_type(field.type, depth + 1)


def _is_compressed(metadata: bytes) -> bool:
    """Tell whether a record batch says so; its length when opened is its writer's choice, so it is not opened at all."""
    message = _unsigned(metadata, 0)
    header = _field(metadata, message, _HEADER)
    batch = header + _unsigned(metadata, header)
    return _field(metadata, batch, _COMPRESSION) != 0


def _field(data: bytes, table: int, place: int) -> int:
    """Return where a table's field lies (FlatBuffers); 0 if it is not there."""
    vtable = table - struct.unpack_from("<i", data, table)[0]
    entry = 4 + 2 * place
    if entry >= struct.unpack_from("<H", data, vtable)[0]:
        return 0
    offset = int(struct.unpack_from("<H", data, vtable + entry)[0])
    return table + offset if offset else 0


def _unsigned(data: bytes, place: int) -> int:
    return int(struct.unpack_from("<I", data, place)[0])
