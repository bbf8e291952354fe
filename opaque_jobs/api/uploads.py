"""Files on their way in: sent in pieces, gone on with after a break, visible to nobody until what they are for is registered.

An upload belongs to the member who began it. A piece is taken where the last one ended and nowhere else, so a piece that was sent
twice, or out of order, changes nothing.
"""

import contextlib
import errno
import fcntl
import json
import os
import re
import shutil
from collections.abc import Iterable, Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Final

from opaque_jobs.api.actor import Actor
from opaque_jobs.domain.ids import new_id
from opaque_jobs.errors import ConfigurationError, ConflictError, InvalidInputError, NotFoundError
from opaque_jobs.protocol.documents import FileDocument, UploadDocument

__all__ = ["Uploads"]

KEPT: Final = timedelta(days=2)
_MOST_FILES: Final = 10_000
_MOST_OPEN: Final = 100
_ID: Final = re.compile(r"up-[A-Za-z0-9-]{1,60}")
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}")


class Uploads:
    """Uploads of one coordinator.

    Args:
        folder: Where they wait; on the file system of the storage, so that what is finished is moved and not copied.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def begin(self, actor: Actor, *, now: datetime) -> UploadDocument:
        """Begin one; what was left unfinished long ago is removed.

        Raises:
            ConflictError: The member has too many open ones.
            ConfigurationError: The storage cannot be written.
        """
        self._clear(now)
        if sum(self._owner(each) == actor.member_id for each in self._all()) >= _MOST_OPEN:
            raise ConflictError("you have too many unfinished uploads", hint="finish them, or wait two days", most=_MOST_OPEN)
        upload = self._folder / new_id("up")
        try:
            upload.mkdir(mode=0o700, parents=True)
            _note_of(upload).write_text(json.dumps({"owner": actor.member_id, "expires_at": (now + KEPT).isoformat()}))
        except OSError as error:
            raise ConfigurationError(f"the storage cannot be written: {error.strerror}", hint="is the disk full?") from None
        return self._document(upload)

    def adopt(self, folder: Path, *, actor: Actor, now: datetime) -> UploadDocument:
        """Take a folder of files on this machine as an upload that is complete; they are moved, or copied from elsewhere.

        Raises:
            ConflictError: The member has too many open ones.
            ConfigurationError: The storage cannot be written.
            InvalidInputError: A file's name is not valid.
        """
        files = sorted(path for path in folder.iterdir() if path.is_file() and not path.is_symlink())
        for each in files:
            _checked(each.name)
        begun = self.begin(actor, now=now)
        try:
            for each in files:
                shutil.move(each, self._folder / begun.id / each.name)
        except OSError as error:
            _remove(self._folder / begun.id)
            raise _full(error) from None
        return self._document(self._folder / begun.id)

    def show(self, upload_id: str, *, actor: Actor) -> UploadDocument:
        """Tell what has arrived.

        Raises:
            NotFoundError: None, or another member's.
        """
        return self._document(self._own(upload_id, actor))

    def append(self, upload_id: str, name: str, *, start: int, blocks: Iterable[bytes], actor: Actor) -> FileDocument:
        """Take the next piece of a file.

        Raises:
            NotFoundError: No such upload.
            ConflictError: The piece does not begin where the file ends; `facts["size_bytes"]` says where that is.
            InvalidInputError: The name is not valid, or there are too many files.
            ConfigurationError: The disk is full; what has arrived stays.
        """
        upload = self._own(upload_id, actor)
        path = upload / _checked(name)
        if not path.exists() and sum(1 for _ in upload.iterdir()) > _MOST_FILES:
            raise InvalidInputError("an upload has too many files", hint=f"send at most {_MOST_FILES}")
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        with os.fdopen(descriptor, "r+b") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            size = file.seek(0, os.SEEK_END)
            if size != start:
                raise ConflictError(
                    "the piece does not begin where the file ends", hint="go on from 'size_bytes'", size_bytes=size
                )
            try:
                for block in blocks:
                    size += file.write(block)
                file.flush()
                os.fsync(file.fileno())
            except OSError as error:
                raise ConfigurationError(f"the storage cannot be written: {error.strerror}", hint="is the disk full?") from None
        return FileDocument(name=name, size_bytes=size)

    def folder(self, upload_id: str, *, actor: Actor) -> Path:
        """Give the folder of an upload, to look at what has arrived.

        Raises:
            NotFoundError: No such upload.
        """
        return self._own(upload_id, actor)

    @contextlib.contextmanager
    def moved(self, upload_id: str, target: Path, *, actor: Actor) -> Iterator[None]:
        """Move an upload's files to their place as a whole; back again if what is done with them raises.

        Raises:
            NotFoundError: No such upload.
            ConfigurationError: The storage cannot be written.
        ConflictError: There is something there.
        """
        upload = self._own(upload_id, actor)
        note = _note_of(upload).read_bytes()
        if target.exists():
            raise ConflictError("there is something at this place already", hint="versions are never replaced")
        try:
            target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            _place(upload, target)
        except OSError as error:
            raise _full(error) from None
        _note_of(upload).unlink()
        try:
            yield
        except BaseException:
            _place(target, upload)
            _note_of(upload).write_bytes(note)
            raise

    def drop(self, upload_id: str, *, actor: Actor) -> None:
        """Forget an upload.

        Raises:
            NotFoundError: No such upload.
        """
        _remove(self._own(upload_id, actor))

    def _own(self, upload_id: str, actor: Actor) -> Path:
        upload = self._folder / upload_id
        if not _ID.fullmatch(upload_id) or self._owner(upload) != actor.member_id:
            raise NotFoundError("no such upload", hint="begin another")
        return upload

    def _owner(self, upload: Path) -> str | None:
        return self._note(upload)[0]

    @staticmethod
    def _note(upload: Path) -> tuple[str | None, datetime | None]:
        try:
            note = json.loads(_note_of(upload).read_text())
            return str(note["owner"]), datetime.fromisoformat(note["expires_at"])
        except (OSError, ValueError, KeyError, TypeError):
            return None, None

    def _document(self, upload: Path) -> UploadDocument:
        _, expires = self._note(upload)
        if expires is None:
            raise NotFoundError("no such upload", hint="begin another")
        files = [FileDocument(name=path.name, size_bytes=path.stat().st_size) for path in sorted(upload.iterdir())]
        return UploadDocument(id=upload.name, files=tuple(files), expires_at=expires)

    def _all(self) -> list[Path]:
        return [path for path in self._folder.glob("up-*") if path.is_dir()]

    def _clear(self, now: datetime) -> None:
        for upload in self._all():
            _, expires = self._note(upload)
            if expires is None or expires < now:
                _remove(upload)


def _note_of(upload: Path) -> Path:
    """Give where it is noted whose upload it is: beside it, for all that is in it is what was sent."""
    return upload.with_name(f"{upload.name}.json")


def _place(folder: Path, target: Path) -> None:
    """Move a folder so that it appears whole or not at all, also to another file system."""
    try:
        folder.rename(target)
    except OSError as error:
        if error.errno != errno.EXDEV:
            raise
        partial = target.with_name(f".{target.name}.partial")
        try:
            shutil.copytree(folder, partial)
            partial.rename(target)
        except BaseException:
            shutil.rmtree(partial, ignore_errors=True)
            raise
        shutil.rmtree(folder, ignore_errors=True)


def _full(error: OSError) -> ConfigurationError:
    return ConfigurationError(
        f"the storage cannot be written: {error.strerror}", hint="is the disk full? nothing was kept; make room and say it again"
    )


def _remove(upload: Path) -> None:
    shutil.rmtree(upload, ignore_errors=True)
    _note_of(upload).unlink(missing_ok=True)


def _checked(name: str) -> str:
    if not _NAME.fullmatch(name):
        raise InvalidInputError("a file's name is not valid", hint="letters, digits, '.', '_' and '-'")
    return name
