"""The data sets of a run: the engine gets their keys, and the author's session knows them by name."""

from pathlib import Path
from typing import Any

from opaque_jobs.crypto.custody import KeyRelease, check_rule_types
from opaque_jobs.crypto.parquet import logical_name
from opaque_jobs.domain.dataset import DatasetManifest
from opaque_jobs.domain.job import DatasetUse
from opaque_jobs.domain.row_rule import RowRule, rule_columns
from opaque_jobs.enclave.agent.engine import Engine
from opaque_jobs.enclave.agent.places import DATA
from opaque_jobs.errors import TrustError

__all__ = ["define_real", "define_test", "give_keys"]


def define_real(engine: Engine, use: DatasetUse, manifest: DatasetManifest, release: KeyRelease, *, root: Path = DATA) -> None:
    """Let the engine read one data set, and its name stand for the approved columns and the owner's rows.

    The key table must be filled by `give_keys` and frozen before.

    Raises:
        EngineError: The files are not what they have to be.
        InvalidInputError: The broker's row rule was made for other columns than there are.
    """
    check_rule_types(manifest, release.salted.policy.row_rule)
    folder = root / use.alias
    _define(engine, use, folder / manifest.parts[0].name, release.salted.policy.row_rule)


def give_keys(engine: Engine, use: DatasetUse, manifest: DatasetManifest, release: KeyRelease, *, root: Path = DATA) -> None:
    """Put the files and released keys of one data set into the engine's key table."""
    for part in manifest.parts:
        path = root / use.alias / part.name
        engine.allow_file(path, dataset_id=use.dataset_id, version=use.dataset_version, part=part.name)
    needed: dict[str | None, bytes] = {None: release.keys.footer_key}
    needed.update({name: release.keys.key_for(name) for name in rule_columns(release.salted.policy.row_rule)})
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
    _define(engine, use, files[0], None)


def _define(engine: Engine, use: DatasetUse, sample: Path, rule: RowRule | None) -> None:
    schema = engine.schema(sample)
    fields = {_logical(field["name"]): field for field in schema["fields"]}
    if not set(use.columns) <= set(fields):
        raise TrustError("a data set lacks a column that the job names", hint="take the column out of the job")
    engine.define(
        use.alias,
        sample.parent,
        schema=schema,
        columns=[(fields[name]["name"], name, _inner(fields[name]["type"])) for name in use.columns],
        rule=rule,
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
