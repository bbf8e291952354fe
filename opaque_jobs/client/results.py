"""Opening results on the reader's side: with the organisation's own key, on this machine, never by a service.

The sealed files are bound to workspace, job digest and run; each is demanded again here, so no other run's result opens in
its place.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from opaque_jobs.crypto.keys import SealingKey
from opaque_jobs.crypto.parquet_read import read_result, result_schema
from opaque_jobs.crypto.result_file import open_result
from opaque_jobs.domain.run import RunKind
from opaque_jobs.errors import ConflictError, NotFoundError
from opaque_jobs.protocol.result_files import (
    KEY_FILE,
    LOG_FILE,
    RESULT_FILE,
    TEST_LOG_FILE,
    TEST_RESULT_FOLDER,
    Content,
    open_file,
    recipients_of,
    seal_info,
)
from opaque_jobs.protocol.views import RunView

__all__ = ["OpenedResult", "open_log", "open_real_result", "open_test_result", "read_test_log", "sealed_to"]


@dataclass(frozen=True, slots=True, kw_only=True)
class OpenedResult:
    """A readable result: a schema and a stream of batches (once)."""

    schema: pa.Schema
    batches: Iterator[pa.RecordBatch]

    def first(self, limit: int) -> list[dict[str, Any]]:
        """Give the first rows; this uses the stream up."""
        return list(islice((row for batch in self.batches for row in batch.to_pylist()), limit))

    def table(self) -> pa.Table:
        """Give all of it; for results that are known to be small."""
        return pa.Table.from_batches(list(self.batches), schema=self.schema)


def open_real_result(run: RunView, folder: Path, key: SealingKey, *, workspace_id: str) -> OpenedResult:
    """Open a sealed result.

    Args:
        run: Whose.
        folder: Its files, as they left the enclave and were verified: copies that nobody else can change.
        key: The organisation's.
        workspace_id: Of the job.

    Raises:
        TrustError: It is not sealed to this key, is of another run or job, or was changed.
        NotFoundError: A file is missing.
    """
    info = seal_info(Content.RESULT_KEY, workspace_id=workspace_id, job_digest=run.job_digest, run_id=run.id)
    result_key = open_file(_read(folder / KEY_FILE), key, info)
    unpacked = _unpacked(folder / RESULT_FILE, result_key, run.id)
    schema = result_schema(next(unpacked)[0], result_key, run_id=run.id)
    return OpenedResult(schema=schema, batches=(b for files in unpacked for b in read_result(files, result_key, run_id=run.id)))


def sealed_to(folder: Path) -> frozenset[str]:
    """Return the ids of the keys that open a run's sealed files, as its log says: every run that has begun has one.

    Raises:
        InvalidInputError: It is no sealed file.
        NotFoundError: It is missing.
    """
    return recipients_of(_read(folder / LOG_FILE))


def open_test_result(folder: Path) -> OpenedResult:
    """Open the plain result of a test run.

    Raises:
        NotFoundError: A file is missing.
    """
    files = _parts(folder)
    schema = pq.read_schema(files[0])
    return OpenedResult(schema=schema, batches=(batch for file in files for batch in _plain_batches(file)))


def open_log(run: RunView, folder: Path, key: SealingKey, *, workspace_id: str) -> str:
    """Open a real run's sealed log, for which a receipt vouches or not. Arguments and errors as of `open_real_result`."""
    info = seal_info(Content.LOG, workspace_id=workspace_id, job_digest=run.job_digest, run_id=run.id)
    return open_file(_read(folder / LOG_FILE), key, info).decode("utf-8", "replace")


def read_test_log(run: RunView, folder: Path) -> str:
    """Read a test run's log.

    Raises:
        ConflictError: It is a real run, whose log is sealed.
        NotFoundError: There is none.
    """
    if run.kind is not RunKind.TEST:
        raise ConflictError("this is a real run, whose log is sealed", hint="open it with the organisation's key")
    return _read(folder / TEST_LOG_FILE).decode("utf-8", "replace")


def _plain_batches(file: Path) -> Iterator[pa.RecordBatch]:
    with pq.ParquetFile(file) as opened:
        yield from opened.iter_batches()


def _unpacked(sealed: Path, result_key: bytes, run_id: str) -> Iterator[list[Path]]:
    """Yield the encrypted Parquet files of a sealed result twice, for its schema and its rows; they are there as long."""
    with TemporaryDirectory(prefix=".unpacked-", dir=sealed.parent.parent) as own:
        try:
            files = open_result(sealed, Path(own), result_key, run_id=run_id)
        except OSError:
            raise NotFoundError(f"{sealed.name} is missing or cannot be unpacked", hint="check the free space") from None
        yield files
        yield files


def _parts(folder: Path) -> list[Path]:
    files = sorted((folder / TEST_RESULT_FOLDER).glob("part-*.parquet"))
    if not files:
        raise NotFoundError("the result has no files", hint="was the result folder moved?")
    return files


def _read(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError:
        raise NotFoundError(f"{file.name} is missing", hint="was the result folder moved?") from None
