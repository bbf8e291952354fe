"""Writing a dataset as encrypted Parquet: a stream of batches in, numbered parts out, memory bounded by one row group.

Every part and column gets a data key of its own; see `parquet` for the format. No plaintext touches the disk. Parts appear
under their names only when whole; if anything fails, what was written is removed.
"""

import contextlib
import errno
import hashlib
import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, Final, Self

import pyarrow as pa
import pyarrow.parquet as pq
from pyarrow.parquet import encryption

from opaque_jobs.crypto.parquet import (
    MasterKeyId,
    ReleasedKeys,
    RootKey,
    parse_master_key_id,
    part_name,
    released_keys,
    wrap_data_key,
)
from opaque_jobs.crypto.parquet_schema import indexing_options, physical_batch, physical_schema, storable_schema
from opaque_jobs.domain.dataset import Part
from opaque_jobs.errors import ConfigurationError, ConflictError, InvalidInputError

__all__ = ["write_dataset"]

ROW_GROUP_ROWS: Final = 250_000
ROW_GROUP_BYTES: Final = 32 << 20
PART_BYTES: Final = 256 << 20
"""Arrow bytes in memory; files are smaller."""


def write_dataset(
    batches: Iterable[pa.RecordBatch],
    schema: pa.Schema,
    folder: Path,
    root: RootKey,
    *,
    part_bytes: int = PART_BYTES,
    row_group_rows: int = ROW_GROUP_ROWS,
    on_rows: Callable[[int], None] = lambda _rows: None,
) -> tuple[Part, ...]:
    """Encrypt a dataset version.

    Args:
        batches: The data, each batch of `schema`. An error that the iterator raises passes through.
        schema: Schema of the batches; stored as `storable_schema` gives it.
        folder: Made if missing; must be empty.
        root: The version's root key.
        part_bytes: Arrow bytes after which a new part begins.
        row_group_rows: Most rows in a row group.
        on_rows: Called with the number of rows just written.

    Returns:
        The parts for the manifest, in order; one empty part for no rows.

    Raises:
        ConflictError: The folder has something in it.
        InvalidInputError: The schema cannot be stored, or a value does not fit (finer than microseconds, say).
        ConfigurationError: The disk refuses, for example because it is full.
    """
    stored = storable_schema(schema)
    keys = released_keys(root, stored.names)
    with _disk_errors():
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        if any(folder.iterdir()):
            raise ConflictError("the folder for the encrypted data is not empty", hint="versions are never overwritten")
    with _Parts(folder, stored, keys, part_bytes=part_bytes, on_rows=on_rows) as writer:
        for group in _row_groups(batches, schema, stored, row_group_rows):
            writer.write(group)
    return writer.finished


@contextlib.contextmanager
def _disk_errors() -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise ConfigurationError(
            f"encrypted data cannot be written: {os.strerror(error.errno or errno.EIO)}",
            hint="free some space or choose another folder; nothing was kept",
        ) from None


def _row_groups(
    batches: Iterable[pa.RecordBatch], schema: pa.Schema, stored: pa.Schema, row_group_rows: int
) -> Iterator[pa.Table]:
    pending: list[pa.RecordBatch] = []
    rows = size = 0
    for batch in batches:
        for piece in _slices(_as_stored(batch, schema, stored), row_group_rows):
            if rows + piece.num_rows > row_group_rows or size + piece.nbytes > ROW_GROUP_BYTES:
                if pending:
                    yield pa.Table.from_batches(pending)
                pending, rows, size = [], 0, 0
            pending.append(piece)
            rows += piece.num_rows
            size += piece.nbytes
    if rows:
        yield pa.Table.from_batches(pending)


def _slices(batch: pa.RecordBatch, most_rows: int) -> Iterator[pa.RecordBatch]:
    if not batch.num_rows:
        return
    step = max(1, min(most_rows, batch.num_rows * ROW_GROUP_BYTES // max(1, batch.nbytes)))
    for start in range(0, batch.num_rows, step):
        yield batch.slice(start, step)


def _as_stored(batch: pa.RecordBatch, schema: pa.Schema, stored: pa.Schema) -> pa.RecordBatch:
    if not batch.schema.equals(schema):
        raise InvalidInputError("a part of the data has other columns than the rest", hint="give files of one schema")
    try:
        return physical_batch(batch.cast(stored))
    except (pa.ArrowException, ValueError):  # Arrow's message shows the value
        raise InvalidInputError(
            "a value cannot be stored exactly", hint="timestamps may be no finer than microseconds; text must be UTF-8"
        ) from None


class _WrappingClient(encryption.KmsClient):  # type: ignore[misc]
    """Gives pyarrow the wrapped form of the data keys that it makes."""

    def __init__(self, keys: ReleasedKeys) -> None:
        super().__init__()
        self._keys = keys

    def wrap_key(self, key_bytes: bytes, master_key_identifier: str) -> str:
        """Wrap (pyarrow's name)."""
        return wrap_data_key(self._keys, parse_master_key_id(master_key_identifier), bytes(key_bytes))

    def unwrap_key(self, wrapped_key: str, master_key_identifier: str) -> bytes:
        """Not needed for writing."""
        raise NotImplementedError


def _encryption_properties(schema: pa.Schema, keys: ReleasedKeys, part: str) -> Any:
    def key_id(column: str | None) -> str:
        return str(MasterKeyId(dataset_id=keys.dataset_id, version=keys.version, part=part, column=column))

    leaves: dict[str, list[str]] = {}
    physical = physical_schema(schema)
    top_level = dict(zip(physical.names, schema.names, strict=True))
    for path in _leaf_paths(physical):
        leaves.setdefault(key_id(top_level[path.split(".", 1)[0]]), []).append(path)
    configuration = encryption.EncryptionConfiguration(
        footer_key=key_id(None),
        column_keys=leaves,
        encryption_algorithm="AES_GCM_V1",
        plaintext_footer=False,
        double_wrapping=False,
        internal_key_material=True,
        data_key_length_bits=256,
    )
    factory = encryption.CryptoFactory(lambda _configuration: _WrappingClient(keys))
    return factory, factory.file_encryption_properties(encryption.KmsConnectionConfig(), configuration)


def _leaf_paths(physical: pa.Schema) -> list[str]:
    sink = pa.BufferOutputStream()
    pq.write_table(physical.empty_table(), sink)
    parquet = pq.ParquetFile(pa.BufferReader(sink.getvalue())).schema
    return [parquet.column(index).path for index in range(len(parquet))]


class _HashingFile:
    """An append-only file that knows its length and SHA-256."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("xb")
        self._hash = hashlib.sha256()
        self.size_bytes = 0
        self.closed = False

    def write(self, data: Any) -> int:
        """Append."""
        view = memoryview(data)
        if self.closed:
            return view.nbytes
        self._file.write(view)
        self._hash.update(view)
        self.size_bytes += view.nbytes
        return view.nbytes

    def tell(self) -> int:
        """Give the position."""
        return self.size_bytes

    def flush(self) -> None:
        """Nothing to do before `close`."""

    def close(self) -> None:
        """Bring all to disk."""
        if not self.closed:
            self.closed = True
            try:
                self._file.flush()
                os.fsync(self._file.fileno())
            finally:
                self._file.close()

    def abandon(self) -> None:
        """Close without caring; later writes go nowhere."""
        self.closed = True
        with contextlib.suppress(OSError):
            self._file.close()

    @property
    def sha256(self) -> str:
        """Digest of all that was written."""
        return "sha256:" + self._hash.hexdigest()


class _Parts:
    """The parts of one version, one open at a time; removes them all when left by an exception."""

    def __init__(
        self, folder: Path, schema: pa.Schema, keys: ReleasedKeys, *, part_bytes: int, on_rows: Callable[[int], None]
    ) -> None:
        self._folder, self._schema, self._keys = folder, schema, keys
        self._part_bytes, self._on_rows = part_bytes, on_rows
        self._parts: list[Part] = []
        self._file: _HashingFile | None = None
        self._factory: Any = None
        self._writer: Any = None
        self._rows = self._size = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, _error: object, _traceback: object) -> None:
        whole = False
        try:
            if kind is None:
                self._finish()
                whole = True
        finally:
            if not whole:
                self._remove()

    @property
    def finished(self) -> tuple[Part, ...]:
        """The parts written."""
        return tuple(self._parts)

    def write(self, group: pa.Table) -> None:
        """Write one row group."""
        with _disk_errors():
            if self._file is None:
                self._open()
            self._writer.write_table(group, row_group_size=group.num_rows)
            self._rows += group.num_rows
            self._size += group.nbytes
            if self._size >= self._part_bytes:
                self._close()
        self._on_rows(group.num_rows)

    def _finish(self) -> None:
        with _disk_errors():
            if self._file is None and not self._parts:
                self._open()
            if self._file is not None:
                self._close()

    def _temporary(self) -> Path:
        return self._folder / f".{part_name(len(self._parts))}.partial"

    def _open(self) -> None:
        self._factory, properties = _encryption_properties(self._schema, self._keys, part_name(len(self._parts)))
        self._file = _HashingFile(self._temporary())
        physical = physical_schema(self._schema)
        self._writer = pq.ParquetWriter(
            pa.PythonFile(self._file, mode="w"), physical, encryption_properties=properties, **indexing_options(physical)
        )
        self._rows = self._size = 0

    def _close(self) -> None:
        assert self._file is not None  # noqa: S101 - both callers have just looked
        self._writer.close()
        self._file.close()
        name = part_name(len(self._parts))
        self._temporary().rename(self._folder / name)
        part = Part(name=name, size_bytes=self._file.size_bytes, sha256=self._file.sha256, rows=self._rows)
        self._parts.append(part)
        self._file = self._writer = self._factory = None

    def _remove(self) -> None:
        if self._file is not None:
            self._file.abandon()
            self._temporary().unlink(missing_ok=True)
        for part in self._parts:
            (self._folder / part.name).unlink(missing_ok=True)
