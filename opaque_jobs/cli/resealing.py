"""Sealing results anew after an organisation's key has changed, and opening a result whichever key it is sealed to.

A receipt lists the digests of the files that left the enclave, so these stay as they are, for whoever verifies it. What the owner
sealed anew (the result's key, preview, log) stands beside them in one file a run, `storage/resealed/RUN.json`, which appears
whole or not at all; it is opened first. The Parquet files are encrypted with the result's own key and stay.

Trust: a receipt vouches for the originals; what is sealed anew vouches only for itself, that the holder of the key made it.
Whoever has the former key and an old copy of a result can still read it: sealing anew does not undo that.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from opaque_jobs.crypto.key_files import write_new_private_file
from opaque_jobs.crypto.keys import SealingKey
from opaque_jobs.crypto.own_seal import open_own, own_sealed_by, seal_own
from opaque_jobs.domain.canonical import canonical_bytes, parse_canonical, parse_json
from opaque_jobs.enclave.agent.result_files import KEY_FILE, LOG_FILE, PREVIEW_FILE, Content, open_file, seal_info
from opaque_jobs.errors import ConfigurationError, InvalidInputError, NotFoundError, TrustError
from opaque_jobs.services.key_changes import SealedResult
from opaque_jobs.settings import Settings

__all__ = ["SEALED_FILES", "Resealed", "open_content", "reseal", "sealed_to"]

SEALED_FILES: Final = {Content.RESULT_KEY: KEY_FILE, Content.PREVIEW: PREVIEW_FILE, Content.LOG: LOG_FILE}
_WHAT: Final = "a result sealed anew"


@dataclass(frozen=True, slots=True, kw_only=True)
class Resealed:
    """What sealing anew has come to, by run id.

    Args:
        done: Sealed to the new key now.
        kept: Sealed to it already.
        closed: None of the keys opens them.
    """

    done: tuple[str, ...]
    kept: tuple[str, ...]
    closed: tuple[str, ...]


def open_content(content: Content, folder: Path, key: SealingKey, info: dict[str, str], *, resealed: Path | None) -> bytes:
    """Open one sealed file of a result: what its owner sealed anew, or the original.

    Raises:
        NotFoundError: The file is missing.
        TrustError: It is not sealed to this key, not for this run, or was changed.
    """
    anew = _read_anew(resealed)
    if content.value in anew and own_sealed_by(anew[content.value]) == key.public.key_id:
        return open_own(anew[content.value], key, info)
    try:
        data = (folder / SEALED_FILES[content]).read_bytes()
    except OSError:
        raise NotFoundError(f"{SEALED_FILES[content]} is missing", hint="was the result folder moved?") from None
    return open_file(data, key, info)


def sealed_to(result: SealedResult, settings: Settings) -> frozenset[str]:
    """Give the ids of the keys that open a result now. Nothing is verified: good for telling what is left to do."""
    found: set[str] = set()
    anew = _read_anew(settings.resealed_path(result.run_id))
    for content, name in SEALED_FILES.items():
        if (result.folder / name).exists():
            original = parse_json((result.folder / name).read_bytes(), what="sealed file")
            ids = {str(each.get("recipient")) for each in original.get("sealed", ())}
            ids |= {own_sealed_by(anew[content.value])} if content.value in anew else set()
            found = found & ids if found else ids
    return frozenset(found)


def reseal(results: Sequence[SealedResult], keys: Sequence[SealingKey], settings: Settings) -> Resealed:
    """Seal results to an organisation's new key; what was done before is left alone, so it can be repeated.

    Args:
        results: All of the organisation's.
        keys: The new key, then the former ones, newest first.
        settings: The installation.

    Raises:
        ConfigurationError: A file cannot be written; results before it are done.
    """
    new = keys[0]
    done, kept, closed = [], [], []
    for result in results:
        if new.public.key_id in sealed_to(result, settings):
            kept.append(result.run_id)
            continue
        try:
            document = {
                content.value: seal_own(_opened(content, result, keys, settings), new, _info(content, result))
                for content, name in SEALED_FILES.items()
                if (result.folder / name).exists()
            }
        except (TrustError, InvalidInputError):
            closed.append(result.run_id)
            continue
        _replace(settings.resealed_path(result.run_id), canonical_bytes({"v": 1, "files": document}))
        done.append(result.run_id)
    return Resealed(done=tuple(done), kept=tuple(kept), closed=tuple(closed))


def _info(content: Content, result: SealedResult) -> dict[str, str]:
    return seal_info(content, workspace_id=result.workspace_id, job_digest=result.job_digest, run_id=result.run_id)


def _opened(content: Content, result: SealedResult, keys: Sequence[SealingKey], settings: Settings) -> bytes:
    resealed = settings.resealed_path(result.run_id)
    for key in keys:
        try:
            return open_content(content, result.folder, key, _info(content, result), resealed=resealed)
        except TrustError:
            continue
    raise TrustError("none of the organisation's keys opens this result", hint="is a former key file missing?")


def _read_anew(path: Path | None) -> dict[str, Any]:
    if path is None or not path.exists():
        return {}
    document = parse_canonical(path.read_bytes(), fields=("v", "files"), what=_WHAT)
    if document["v"] != 1 or not isinstance(document["files"], dict):
        raise InvalidInputError(f"{_WHAT} is of an unknown version", hint="use a newer version of this program")
    return document["files"]


def _replace(path: Path, data: bytes) -> None:
    fresh = path.with_name(f".{path.name}.new")
    fresh.unlink(missing_ok=True)  # of a run of this command that was killed
    write_new_private_file(fresh, data)
    try:
        fresh.replace(path)
    except OSError:
        raise ConfigurationError(f"{path.name} cannot be written", hint="check the folder and the free space") from None
