"""Sealing results anew after an organisation's key has changed, and opening a result whichever key it is sealed to.

A receipt lists the digests of the files that left the enclave, so these stay as they are, for whoever verifies it. What the owner
sealed anew (the result's key, preview, log) stands beside them in one file a run, `storage/resealed/RUN.json`, which appears
whole or not at all; it is opened first. The Parquet files are encrypted with the result's own key and stay.

Trust: a receipt vouches for the originals, and is verified before they are opened here; what is sealed anew vouches only for
itself, that the holder of the key made it. Of a run without a receipt the log alone is sealed anew, and says so to who opens it.
Whoever has the former key and an old copy of a result can still read it: sealing anew does not undo that.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from opaque_jobs.cli.own_organisation import members_here
from opaque_jobs.cli.verified_run import verified_run
from opaque_jobs.crypto.key_files import write_new_private_file
from opaque_jobs.crypto.keys import SealingKey
from opaque_jobs.crypto.own_seal import open_own, own_sealed_by, seal_own
from opaque_jobs.domain.canonical import canonical_bytes, parse_canonical, parse_json
from opaque_jobs.domain.lifecycle import RunState
from opaque_jobs.domain.workspace import MemberEntry
from opaque_jobs.errors import ConfigurationError, InvalidInputError, NotFoundError, OpaqueJobsError, TrustError
from opaque_jobs.protocol.result_files import KEY_FILE, LOG_FILE, PREVIEW_FILE, Content, open_file, seal_info
from opaque_jobs.services import Services
from opaque_jobs.services.key_changes import SealedResult
from opaque_jobs.settings import Settings

__all__ = ["SEALED_FILES", "Resealed", "open_content", "reseal", "sealed_to", "vouching"]

SEALED_FILES: Final = {Content.RESULT_KEY: KEY_FILE, Content.PREVIEW: PREVIEW_FILE, Content.LOG: LOG_FILE}
_WHAT: Final = "a result sealed anew"
_UNPROVED: Final = {"proved": "no"}
"""Stands in the context of what no receipt vouched for when it was sealed anew: it never opens where one has to."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Resealed:
    """What sealing anew has come to, by run id.

    Args:
        done: Sealed to the new key now.
        kept: Sealed to it already.
        closed: None of the keys opens them.
        unproved: Their receipt does not hold.
    """

    done: tuple[str, ...]
    kept: tuple[str, ...]
    closed: tuple[str, ...]
    unproved: tuple[str, ...]


def open_content(
    content: Content, folder: Path, key: SealingKey, info: dict[str, str], *, resealed: Path | None, proved: bool = True
) -> bytes:
    """Open one sealed file of a result, for which a receipt vouches or not: what its owner sealed anew, or the original.

    Raises:
        NotFoundError: The file is missing.
        TrustError: It is not sealed to this key, not for this run, or was changed.
    """
    anew = _read_anew(resealed)
    if content.value in anew and own_sealed_by(anew[content.value]) == key.public.key_id:
        return open_own(anew[content.value], key, info if proved else info | _UNPROVED)
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


def vouching(opened: Services, organisation_id: str) -> Callable[[SealedResult], AbstractContextManager[SealedResult]]:
    """Give what verifies a result's receipt, as a member of the organisation who is here, and holds the verified files."""

    @contextmanager
    def vouched(result: SealedResult) -> Iterator[SealedResult]:
        problem: OpaqueJobsError = TrustError("no member here can verify the receipt", hint="do it where a member's key is")
        with ExitStack() as held:
            for name in members_here(opened.context.settings, organisation_id):
                try:
                    shown = _verified(opened, result, opened.workspaces.member_for_login(name), held)
                    break
                except OpaqueJobsError as error:
                    problem = error
            else:
                raise problem
            yield shown

    return vouched


def reseal(
    results: Sequence[SealedResult],
    keys: Sequence[SealingKey],
    settings: Settings,
    *,
    vouched: Callable[[SealedResult], AbstractContextManager[SealedResult]],
) -> Resealed:
    """Seal results to an organisation's new key; what was done before is left alone, so it can be repeated.

    Args:
        results: All of the organisation's.
        keys: The new key, then the former ones, newest first.
        settings: The installation.
        vouched: See `vouching`.

    Raises:
        ConfigurationError: A file cannot be written; results before it are done.
    """
    new = keys[0]
    done, kept, closed, unproved = [], [], [], []
    for result in results:
        if new.public.key_id in sealed_to(result, settings):
            kept.append(result.run_id)
            continue
        with ExitStack() as held:
            try:
                shown = held.enter_context(vouched(result))
            except OpaqueJobsError:
                unproved.append(result.run_id)
                continue
            try:
                document = _sealed_anew(shown, keys, settings)
            except (TrustError, InvalidInputError):
                closed.append(result.run_id)
                continue
        _replace(settings.resealed_path(result.run_id), canonical_bytes({"v": 1, "files": document}))
        done.append(result.run_id)
    return Resealed(done=tuple(done), kept=tuple(kept), closed=tuple(closed), unproved=tuple(unproved))


def _sealed_anew(result: SealedResult, keys: Sequence[SealingKey], settings: Settings) -> dict[str, Any]:
    mark = {} if result.proved else _UNPROVED
    return {
        content.value: seal_own(_opened(content, result, keys, settings), keys[0], _info(content, result) | mark)
        for content, name in SEALED_FILES.items()
        if (result.folder / name).exists() and (result.proved or content is Content.LOG)
    }


def _verified(opened: Services, result: SealedResult, member: MemberEntry, held: ExitStack) -> SealedResult:
    run = opened.runs.show(result.run_id, actor=member.id)
    if run.state in (RunState.FAILED, RunState.CANCELLED):
        return result  # it has no receipt, and its log may say why
    proved = held.enter_context(verified_run(opened, run, member))
    return replace(
        result,
        workspace_id=proved.receipt.workspace_id,
        job_digest=proved.run.job_digest,
        folder=proved.folder,
        proved=True,
    )


def _info(content: Content, result: SealedResult) -> dict[str, str]:
    return seal_info(content, workspace_id=result.workspace_id, job_digest=result.job_digest, run_id=result.run_id)


def _opened(content: Content, result: SealedResult, keys: Sequence[SealingKey], settings: Settings) -> bytes:
    resealed = settings.resealed_path(result.run_id)
    for key in keys:
        try:
            info = _info(content, result)
            return open_content(content, result.folder, key, info, resealed=resealed, proved=result.proved)
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
