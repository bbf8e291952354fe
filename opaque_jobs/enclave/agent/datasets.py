"""The data sets of a run: their files are what the signed manifests say, and the author's session knows them by name."""

import hashlib
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final

from opaque_jobs.crypto.custody import KeyRelease
from opaque_jobs.crypto.parquet import logical_name
from opaque_jobs.domain.dataset import DatasetManifest, Part
from opaque_jobs.domain.job import DatasetUse
from opaque_jobs.enclave.agent.engine import Condition, Engine
from opaque_jobs.enclave.agent.places import DATA
from opaque_jobs.errors import InvalidInputError, TrustError

__all__ = ["check_parts", "define_real", "define_test", "give_keys"]

_CHUNK: Final = 4 * 1024 * 1024


def check_parts(manifests: Mapping[str, DatasetManifest], *, root: Path = DATA) -> None:
    """Compare every file with its manifest: name, size, digest; nothing missing, nothing more.

    Raises:
        TrustError: A file is not what the owner signed.
    """
    work = [(root / alias / part.name, part) for alias, manifest in manifests.items() for part in manifest.parts]
    for alias, manifest in manifests.items():
        folder = root / alias
        found = {path.name for path in folder.iterdir()} if folder.is_dir() else set()
        if found != {part.name for part in manifest.parts}:
            raise _refused()
    with ThreadPoolExecutor(max_workers=2) as pool:
        for sound in pool.map(lambda item: _matches(*item), work):
            if not sound:
                raise _refused()


def _refused() -> TrustError:
    return TrustError("a data set's files are not those of its manifest", hint="fetch the data set again from its owner")


def _matches(path: Path, part: Part) -> bool:
    try:
        if path.is_symlink() or not path.is_file() or path.stat().st_size != part.size_bytes:
            return False
        found = hashlib.sha256()
        with path.open("rb") as file:
            while chunk := file.read(_CHUNK):
                found.update(chunk)
    except OSError:
        return False
    return "sha256:" + found.hexdigest() == part.sha256


def define_real(engine: Engine, use: DatasetUse, manifest: DatasetManifest, release: KeyRelease, *, root: Path = DATA) -> None:
    """Let the engine read one data set, and its name stand for the approved columns and the owner's rows.

    The key table must be filled by `give_keys` and frozen before.

    Raises:
        EngineError: The files are not what they have to be.
        InvalidInputError: The broker's conditions name a column that is not there.
    """
    conditions = [Condition(column=c.column, operator=c.operator.value, value=c.value) for c in release.row_conditions]
    if not {c.column for c in conditions} <= {c.name for c in manifest.columns}:
        raise InvalidInputError("a row condition names an unknown column", hint="the owner must mend the policy")
    folder = root / use.alias
    _define(engine, use, folder / manifest.parts[0].name, conditions)


def give_keys(engine: Engine, use: DatasetUse, manifest: DatasetManifest, release: KeyRelease, *, root: Path = DATA) -> None:
    """Put the files and released keys of one data set into the engine's key table."""
    for part in manifest.parts:
        path = root / use.alias / part.name
        engine.allow_file(path, dataset_id=use.dataset_id, version=use.dataset_version, part=part.name)
    needed: dict[str | None, bytes] = {None: release.keys.footer_key}
    needed.update({c.column: release.keys.key_for(c.column) for c in release.row_conditions})
    needed.update({name: release.keys.key_for(name) for name in use.columns})
    for column, key in needed.items():
        engine.add_key(dataset_id=use.dataset_id, version=use.dataset_version, column=column, key=key)


def define_test(engine: Engine, use: DatasetUse, *, root: Path = DATA) -> None:
    """Let a name stand for plaintext test data, with the columns that the job may read.

    Raises:
        EngineError: The files do not read.
        TrustError: There are none.
    """
    files = sorted((root / use.alias).glob("*.parquet"))
    if not files:
        raise TrustError("a data set has no test data", hint="add test data to it")
    _define(engine, use, files[0], ())


def _define(engine: Engine, use: DatasetUse, sample: Path, conditions: Sequence[Condition]) -> None:
    schema = engine.schema(sample)
    fields = {_logical(field["name"]): field for field in schema["fields"]}
    if not set(use.columns) <= set(fields):
        raise TrustError("a data set lacks a column that the job names", hint="take the column out of the job")
    engine.define(
        use.alias,
        sample.parent,
        schema=schema,
        columns=[(fields[name]["name"], name, _inner(fields[name]["type"])) for name in use.columns],
        conditions=conditions,
        physical={name: field["name"] for name, field in fields.items()},
    )


def _logical(name: str) -> str:
    """Give a stored name as people wrote it; test data may have names of another origin."""
    try:
        return logical_name(name)
    except TrustError:
        return name


def _inner(kind: Any) -> Any:
    """Give a column's type with the names inside as people wrote them; None if they are stored so."""
    renamed = _renamed(kind)
    return None if renamed == kind else renamed


def _renamed(kind: Any) -> Any:
    if not isinstance(kind, dict):
        return kind
    inner = {"elementType", "keyType", "valueType"}
    renamed = {key: _renamed(value) if key in inner else value for key, value in kind.items()}
    if "fields" in kind:
        fields = kind["fields"]
        renamed["fields"] = [{**each, "name": _logical(each["name"]), "type": _renamed(each["type"])} for each in fields]
    return renamed
