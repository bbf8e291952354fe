"""From an owner's plain file to an encrypted data set version, and back for its owner.

All or nothing: the version's folder appears whole under its name, or, whatever happens, not at all. Plaintext passes through
memory in pieces and never touches the disk.
"""

import hashlib
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Final

import pyarrow as pa

from opaque_jobs.crypto.parquet import RootKey, released_keys
from opaque_jobs.crypto.parquet_read import read_dataset
from opaque_jobs.crypto.parquet_schema import manifest_columns, storable_schema
from opaque_jobs.crypto.parquet_write import write_dataset
from opaque_jobs.data.sources import Progress, open_source
from opaque_jobs.domain.dataset import Column, DatasetManifest, SaltedPolicy
from opaque_jobs.errors import ConfigurationError, ConflictError, TrustError

__all__ = ["PART_BYTES", "EncryptedDataset", "Policy", "encrypt_batches", "encrypt_file", "read_files", "verify_files"]

Policy = Callable[[Sequence[Column]], SaltedPolicy]
"""Gives what the owner lets be released of data with these columns."""

PART_BYTES: Final = 256 << 20
"""Arrow bytes of a part; the encrypted, compressed file is about half of it."""
_CHUNK: Final = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class EncryptedDataset:
    """What encrypting gave: the manifest to sign, and what to deposit at the owner's broker.

    Args:
        manifest: It commits to the policy.
        root_key: To be forgotten afterwards.
        salted: What may be released; the owner keeps it.
    """

    manifest: DatasetManifest
    root_key: RootKey
    salted: SaltedPolicy


def encrypt_file(
    source: Path,
    *,
    name: str,
    dataset_id: str,
    version: int,
    organisation_id: str,
    out_dir: Path,
    now: datetime,
    policy: Policy,
    types: Mapping[str, str] | None = None,
    delimiter: str = "",
    part_bytes: int = PART_BYTES,
    progress: Progress = lambda _done, _total: None,
) -> EncryptedDataset:
    """Encrypt a CSV or Parquet file as one version of a data set.

    Args:
        source: The plain file.
        name: Identifier by which jobs refer to the data set.
        dataset_id: Id of the data set.
        version: 1, or the next one for a refresh.
        organisation_id: The owner.
        out_dir: Folder of the encrypted parts; must not exist.
        now: For the manifest.
        policy: What may be released; asked before anything is encrypted.
        types: Column -> type name, for CSV; the others are found by looking at every value.
        delimiter: Between a CSV file's fields; empty = by the file's ending.
        part_bytes: Size of a part in memory.
        progress: Told bytes done and in all (of the plain file; a CSV file is read twice).

    Raises:
        NotFoundError: There is no such file.
        InvalidInputError: The file is broken, or has a type or name that cannot be stored; says where.
        ConflictError: `out_dir` exists.
        ConfigurationError: The disk refuses, for example because it is full.
    """
    _check_free(out_dir)
    opened = open_source(source, types=types or {}, delimiter=delimiter, progress=progress)
    result = encrypt_batches(
        opened.batches(progress),
        opened.schema,
        name=name,
        dataset_id=dataset_id,
        version=version,
        organisation_id=organisation_id,
        out_dir=out_dir,
        now=now,
        policy=policy,
        part_bytes=part_bytes,
    )
    size = source.stat().st_size
    progress(size, size)
    return result


def encrypt_batches(
    batches: Iterator[pa.RecordBatch],
    schema: pa.Schema,
    *,
    name: str,
    dataset_id: str,
    version: int,
    organisation_id: str,
    out_dir: Path,
    now: datetime,
    policy: Policy,
    part_bytes: int = PART_BYTES,
) -> EncryptedDataset:
    """Encrypt a stream of batches as one version of a data set, for example a result that becomes one.

    Raises:
        InvalidInputError: The schema, or a value, cannot be stored.
        ConflictError: `out_dir` exists.
        ConfigurationError: The disk refuses, for example because it is full.
    """
    _check_free(out_dir)
    columns = manifest_columns(storable_schema(schema))
    salted = policy(columns)
    root = RootKey.generate(dataset_id=dataset_id, version=version)
    work = _work_folder(out_dir)
    try:
        parts = write_dataset(batches, schema, work, root, part_bytes=part_bytes)
        manifest = DatasetManifest(
            v=1,
            dataset_id=dataset_id,
            dataset_version=version,
            organisation_id=organisation_id,
            name=name,
            columns=columns,
            parts=parts,
            rows=sum(part.rows for part in parts),
            policy_commitment=salted.commitment,
            created_at=now.isoformat(),
        )
        _publish(work, out_dir)
    except BaseException:  # Ctrl-C too leaves nothing behind
        shutil.rmtree(work, ignore_errors=True)
        raise
    return EncryptedDataset(manifest=manifest, root_key=root, salted=salted)


def _check_free(out_dir: Path) -> None:
    if out_dir.exists():
        raise ConflictError("the folder for the encrypted data exists already", hint="versions are never overwritten")


def _disk_error(error: OSError) -> ConfigurationError:
    return ConfigurationError(
        f"encrypted data cannot be written: {os.strerror(error.errno or 0)}",
        hint="free some space or choose another folder; nothing was kept",
    )


def _work_folder(out_dir: Path) -> Path:
    try:
        out_dir.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        return Path(tempfile.mkdtemp(prefix=f".{out_dir.name}-", suffix=".partial", dir=out_dir.parent))
    except OSError as error:
        raise _disk_error(error) from None


def _publish(work: Path, out_dir: Path) -> None:
    _check_free(out_dir)
    try:
        work.rename(out_dir)
    except OSError as error:
        raise _disk_error(error) from None


def verify_files(
    manifest: DatasetManifest, folder: Path, *, also: Sequence[str] = (), progress: Progress = lambda _done, _total: None
) -> None:
    """Check that a folder holds exactly the files of a manifest.

    Args:
        manifest: Verified by its signature before.
        folder: With the encrypted parts.
        also: Names of other files that may be there.
        progress: Told bytes done and in all.

    Raises:
        TrustError: A file is missing, extra, of another size, or has another content; the message names it.

    Trust: After this the bytes are those that the owner signed. A file that changes later is caught by its own encryption.
    """
    total, done = sum(part.size_bytes for part in manifest.parts), 0
    try:
        found = {path.name: path for path in folder.iterdir()}
    except OSError:
        raise TrustError("the data set's folder cannot be read", hint="was it moved or deleted?") from None
    extra = sorted(set(found) - {part.name for part in manifest.parts} - set(also))
    if extra:
        raise TrustError("the data set's folder has a file that its manifest does not list", hint="remove it", files=len(extra))
    for part in manifest.parts:
        path = found.get(part.name)
        if path is None or path.is_symlink() or not path.is_file():
            raise TrustError(f"{part.name} is missing", hint="fetch it again from its owner", file=part.name)
        size = path.stat().st_size
        if size != part.size_bytes:
            word = "cut short" if size < part.size_bytes else "longer than it was"
            raise TrustError(f"{part.name} is {word}", hint="fetch it again from its owner", file=part.name)
        hashed = hashlib.sha256()
        with path.open("rb") as file:
            while chunk := file.read(_CHUNK):
                hashed.update(chunk)
                done += len(chunk)
                progress(done, total)
        if "sha256:" + hashed.hexdigest() != part.sha256:
            raise TrustError(
                f"{part.name} was changed or exchanged for another file", hint="fetch it again from its owner", file=part.name
            )


def read_files(
    manifest: DatasetManifest, folder: Path, root: RootKey, *, columns: Sequence[str] | None = None
) -> Iterator[pa.RecordBatch]:
    """Verify and decrypt a version, for its owner.

    Raises:
        TrustError: The files are not those of the manifest, or the key is not theirs.
        NotFoundError: A column is not in the data.
    """
    verify_files(manifest, folder)
    wanted = [column.name for column in manifest.columns] if columns is None else list(columns)
    keys = released_keys(root, wanted)
    yield from read_dataset([folder / part.name for part in manifest.parts], keys, columns=wanted)
