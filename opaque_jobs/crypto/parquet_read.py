"""Reading encrypted Parquet outside Spark: the owner's own dataset, and a result at its recipient.

Refuses what Parquet libraries accept: plaintext files, plaintext footers, files under another file's name. Whole older files
and missing files are for the signed manifest or receipt to notice. Arrow's messages may show data, so they never get out.
"""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import pyarrow.parquet as pq
from pyarrow.parquet import encryption

from opaque_jobs.crypto.parquet import (
    ENCRYPTED_MAGIC,
    ReleasedKeys,
    physical_name,
    result_aad_prefix,
    result_file_key,
    unwrap_data_key,
)
from opaque_jobs.crypto.parquet_schema import logical_batch
from opaque_jobs.errors import InvalidInputError, NotFoundError, TrustError

__all__ = ["read_dataset", "read_result", "result_schema"]

BATCH_ROWS: Final = 65_536


def read_dataset(files: Iterable[Path], keys: ReleasedKeys, *, columns: Sequence[str] | None = None) -> Iterator[pa.RecordBatch]:
    """Decrypt the parts of a dataset version, batch by batch.

    Args:
        files: The parts; their names count.
        keys: Keys of the footer and of the columns to read.
        columns: Logical names of the columns to read; None = all.

    Raises:
        NotFoundError: A file is missing.
        TrustError: A file is not an encrypted part under its own name and these keys, or was changed.
    """
    wanted = None if columns is None else [physical_name(column) for column in columns]
    for path in files:
        client = _UnwrappingClient(keys, path.name)
        factory = encryption.CryptoFactory(lambda _configuration, client=client: client)
        properties = factory.file_decryption_properties(encryption.KmsConnectionConfig(), encryption.DecryptionConfiguration())
        for batch in _batches(path, properties, wanted):
            yield logical_batch(batch)


def read_result(files: Iterable[Path], result_key: bytes, *, run_id: str) -> Iterator[pa.RecordBatch]:
    """Decrypt the files of a result, batch by batch.

    Args:
        files: The encrypted files, in order.
        result_key: The run's result key, unsealed by the recipient.
        run_id: The run that the result must be of.

    Raises:
        NotFoundError: A file is missing.
        TrustError: A file is not an encrypted file of this run, or was changed.
    """
    for path in files:
        yield from _batches(path, _result_properties(result_key, run_id), None)


def result_schema(file: Path, result_key: bytes, *, run_id: str) -> pa.Schema:
    """Give the schema of a result from one of its files. Raises as `read_result`."""
    with _opened(file, _result_properties(result_key, run_id)) as opened:
        return opened.schema_arrow


def _result_properties(result_key: bytes, run_id: str) -> Any:
    return encryption.create_decryption_properties(
        footer_key=result_file_key(result_key, run_id=run_id),
        aad_prefix=result_aad_prefix(run_id=run_id),
        check_footer_integrity=True,
        allow_plaintext_files=False,
    )


class _UnwrappingClient(encryption.KmsClient):  # type: ignore[misc]
    """Gives pyarrow the data keys of one part."""

    def __init__(self, keys: ReleasedKeys, part: str) -> None:
        super().__init__()
        self._keys = keys
        self._part = part

    def wrap_key(self, key_bytes: bytes, master_key_identifier: str) -> str:
        """Not needed for reading."""
        raise NotImplementedError

    def unwrap_key(self, wrapped_key: str, master_key_identifier: str) -> bytes:
        """Unwrap (pyarrow's name)."""
        text = wrapped_key.decode("ascii", "replace") if isinstance(wrapped_key, bytes) else wrapped_key
        return unwrap_data_key(self._keys, master_key_identifier, text, part=self._part)


def _refused(path: Path) -> TrustError:
    return TrustError(
        f"{path.name} does not decrypt: it was changed, or is not what its name says",
        hint="fetch it again from its owner",
        file=path.name,
    )


def _check_magic(path: Path) -> None:
    try:
        with path.open("rb") as file:
            head = file.read(len(ENCRYPTED_MAGIC))
            file.seek(-len(ENCRYPTED_MAGIC), 2)
            tail = file.read()
    except FileNotFoundError:
        raise NotFoundError(f"{path.name} is missing", hint="fetch it again from its owner", file=path.name) from None
    except OSError:
        head = tail = b""
    if head != ENCRYPTED_MAGIC or tail != ENCRYPTED_MAGIC:
        raise TrustError(f"{path.name} is not encrypted Parquet with an encrypted footer", hint="fetch it again", file=path.name)


def _opened(path: Path, properties: Any) -> Any:
    _check_magic(path)
    try:
        return pq.ParquetFile(path, decryption_properties=properties)
    except TrustError:
        raise
    except (pa.ArrowException, OSError, ValueError, InvalidInputError):
        raise _refused(path) from None


def _batches(path: Path, properties: Any, columns: list[str] | None) -> Iterator[pa.RecordBatch]:
    with _opened(path, properties) as opened:
        names = opened.schema_arrow.names
        if columns is not None and not set(columns) <= set(names):
            raise NotFoundError("a column is not in the data", hint="see the dataset's columns", file=path.name)
        batches = opened.iter_batches(batch_size=BATCH_ROWS, columns=columns)
        while True:
            try:
                batch = next(batches, None)
            except TrustError:
                raise
            except (pa.ArrowException, OSError, ValueError, InvalidInputError):
                raise _refused(path) from None
            if batch is None:
                return
            yield batch
