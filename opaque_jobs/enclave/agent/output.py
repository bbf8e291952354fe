"""The result leaves here: computed and written encrypted by the engine, held to the output policy, previewed, sealed.

The policy is applied to what was written, outside the author's process; a result beyond it is refused whole.
"""

import io
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import pyarrow.parquet as pq
from pyarrow.parquet import encryption

from opaque_jobs.crypto.parquet import result_aad_prefix, result_file_key
from opaque_jobs.domain.canonical import digest
from opaque_jobs.domain.output_policy import OutputPolicy
from opaque_jobs.domain.run import OutputFile
from opaque_jobs.enclave.agent.engine import Engine
from opaque_jobs.enclave.agent.places import OUT
from opaque_jobs.errors import DeniedError
from opaque_jobs.protocol.result_files import RESULT_FOLDER

__all__ = ["WrittenResult", "output_files", "write_result"]

_PREVIEW_BYTES: Final = 4 * 1024 * 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class WrittenResult:
    """A result in the output folder that the policy lets out.

    Args:
        preview: First rows as an Arrow IPC stream.
    """

    preview: bytes


def write_result(
    engine: Engine, frame: Any, policy: OutputPolicy, *, run_id: str, key: bytes | None, out: Path = OUT
) -> WrittenResult:  # fmt: skip
    """Compute a frame and write it, if the policy allows it.

    Args:
        engine: Whose key table has the result's key.
        frame: The engine's frame.
        policy: Bounds.
        run_id: The run.
        key: The result's key; None in test runs.
        out: The output folder.

    Raises:
        DeniedError: The result is beyond the policy.
        EngineError: Computing it failed.
    """
    if engine.column_count(frame) > policy.max_columns:
        raise _beyond("columns", policy.max_columns)
    folder = out / RESULT_FOLDER
    engine.write(frame, folder)
    for path in folder.iterdir():
        if path.name.startswith((".", "_")):
            path.unlink()
    files = sorted(folder.iterdir())
    if sum(path.stat().st_size for path in files) > policy.max_bytes:
        raise _beyond("bytes", policy.max_bytes)
    opened = [pq.ParquetFile(path, decryption_properties=_decryption(path, run_id, key)) for path in files]
    try:
        if sum(file.metadata.num_rows for file in opened) > policy.max_rows:
            raise _beyond("rows", policy.max_rows)
        return WrittenResult(preview=_preview(opened, policy.preview_rows))
    finally:
        for file in opened:
            file.close()


def _beyond(what: str, limit: int) -> DeniedError:
    return DeniedError(f"the result has more {what} than the output policy allows", hint="aggregate more", limit=limit)


def _decryption(path: Path, run_id: str, key: bytes | None) -> Any:
    if key is None:
        return None
    return encryption.create_decryption_properties(
        footer_key=result_file_key(key, run_id=run_id, name=path.name),
        aad_prefix=result_aad_prefix(run_id=run_id, name=path.name),
        check_footer_integrity=True,
        allow_plaintext_files=False,
    )


def _preview(files: Sequence[pq.ParquetFile], rows: int) -> bytes:
    """Give the first rows, and fewer where they are very large."""
    schema = files[0].schema_arrow.remove_metadata()
    sink = io.BytesIO()
    with pa.ipc.new_stream(sink, schema) as writer:
        for file in files:
            if rows <= 0:
                break
            for batch in file.iter_batches(batch_size=max(1, min(rows, 1000))):
                kept = batch.slice(0, rows).replace_schema_metadata(None)
                if kept.nbytes > _PREVIEW_BYTES:
                    rows = 0
                if rows <= 0:
                    break
                writer.write_batch(kept.cast(schema))
                rows -= kept.num_rows
    return sink.getvalue()


def output_files(out: Path = OUT) -> tuple[OutputFile, ...]:
    """List everything in the output folder, for the receipt."""
    found = sorted(path for path in out.rglob("*") if path.is_file())
    return tuple(
        OutputFile(name=path.relative_to(out).as_posix(), size_bytes=path.stat().st_size, sha256=_digest(path)) for path in found
    )


def _digest(path: Path) -> str:
    return digest(path.read_bytes())
