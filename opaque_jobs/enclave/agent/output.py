"""The result, before it leaves: written encrypted by the engine into the enclave's memory, held to the output policy, previewed.

The policy is applied to what was written, outside the author's process; a result beyond it is refused whole, and so is one
beside which lies anything that the agent did not have written.
"""

import io
import re
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import pyarrow.parquet as pq
from pyarrow.parquet import encryption

from opaque_jobs.crypto.parquet import part_name, result_aad_prefix, result_file_key
from opaque_jobs.crypto.result_file import sealed_result
from opaque_jobs.domain.output_policy import OutputPolicy
from opaque_jobs.enclave.agent.engine import Engine
from opaque_jobs.enclave.agent.outbox import Outbox
from opaque_jobs.enclave.agent.places import RESULT
from opaque_jobs.errors import DeniedError
from opaque_jobs.protocol.result_files import RESULT_FILE, TEST_RESULT_FOLDER

__all__ = ["WrittenResult", "beside_result", "beyond_bytes", "made_files", "send_result", "write_result"]

_PREVIEW_BYTES: Final = 4 * 1024 * 1024
_CHUNK: Final = 1 << 20
_WRITTEN: Final = re.compile(r"part-([0-9]{5,10})-([0-9a-f-]{36})-c([0-9]{3,6})(?:\.[a-z0-9]{1,8})?\.parquet")


@dataclass(frozen=True, slots=True, kw_only=True)
class WrittenResult:
    """A result in the enclave's memory that the policy lets out.

    Args:
        files: The engine's files, in the order of its rows.
        preview: First rows as an Arrow IPC stream.
    """

    files: tuple[Path, ...]
    preview: bytes


def write_result(engine: Engine, frame: Any, policy: OutputPolicy, *, run_id: str, key: bytes | None) -> WrittenResult:
    """Compute a frame and write it, if the policy allows it.

    Args:
        engine: Whose key table has the result's key, and the policy's bound on bytes.
        frame: The engine's frame.
        policy: Bounds.
        run_id: The run.
        key: The result's key; None in test runs.

    Raises:
        DeniedError: The result is beyond the policy, or something else was written too.
        EngineError: Computing it failed.
    """
    if engine.column_count(frame) > policy.max_columns:
        raise _beyond("columns", policy.max_columns)
    files = made_files(engine.write(frame))
    if sum(path.stat().st_size for path in files) > policy.max_bytes:
        raise beyond_bytes(policy)
    opened = [pq.ParquetFile(path, decryption_properties=_decryption(run_id, key)) for path in files]
    try:
        if sum(file.metadata.num_rows for file in opened) > policy.max_rows:
            raise _beyond("rows", policy.max_rows)
        return WrittenResult(files=files, preview=_preview(opened, policy.preview_rows))
    finally:
        for file in opened:
            file.close()


def send_result(outbox: Outbox, written: WrittenResult, *, run_id: str, key: bytes | None) -> None:
    """Let a result leave: one sealed file, or in test runs its plain parts under fixed names."""
    if key is not None:
        outbox.put(RESULT_FILE, sealed_result(written.files, key, run_id=run_id))
        return
    for index, path in enumerate(written.files):
        outbox.put(f"{TEST_RESULT_FOLDER}/{part_name(index)}", _pieces(path))


def made_files(folder: Path) -> tuple[Path, ...]:
    """Give the files of the one write that the agent ordered, in the order of its partitions.

    Args:
        folder: Below `RESULT`, named by the agent.

    Raises:
        DeniedError: There is anything beside them.
    """
    found = sorted(folder.iterdir())
    matches = [_WRITTEN.fullmatch(path.name) for path in found]
    sound = [match for match, path in zip(matches, found, strict=True) if match and stat.S_ISREG(path.lstat().st_mode)]
    alone = [path.name for path in RESULT.iterdir()] == [folder.name]
    if not found or len(sound) != len(found) or len({match[2] for match in sound}) != 1 or not alone:
        raise beside_result()
    ordered = sorted(sound, key=lambda match: (int(match[1]), int(match[3])))
    return tuple(folder / match[0] for match in ordered)


def beyond_bytes(policy: OutputPolicy) -> DeniedError:
    """Give the refusal of a result that is too large; the engine stops writing at the same bound."""
    return _beyond("bytes", policy.max_bytes)


def beside_result() -> DeniedError:
    """Give the refusal of a run in which anything but the result was to be written."""
    return DeniedError("something was to be written beside the result", hint="a job only returns its result")


def _beyond(what: str, limit: int) -> DeniedError:
    return DeniedError(f"the result has more {what} than the output policy allows", hint="aggregate more", limit=limit)


def _decryption(run_id: str, key: bytes | None) -> Any:
    if key is None:
        return None
    return encryption.create_decryption_properties(
        footer_key=result_file_key(key, run_id=run_id),
        aad_prefix=result_aad_prefix(run_id=run_id),
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


def _pieces(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while piece := file.read(_CHUNK):
            yield piece
