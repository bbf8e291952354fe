"""A member's session at a coordinator on another machine: operations over HTTP, files in pieces that can be sent again."""

import shutil
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path, PurePosixPath
from typing import Final
from urllib.parse import quote

import httpx

from opaque_jobs.client.connection import Connection, bind
from opaque_jobs.client.login import KeyLogin, checked_address
from opaque_jobs.client.scratch import scratch
from opaque_jobs.client.session import Session
from opaque_jobs.crypto.keys import Signer
from opaque_jobs.errors import ConfigurationError, ConflictError, NotFoundError, TrustError
from opaque_jobs.protocol import api
from opaque_jobs.protocol.views import DatasetVersionView
from opaque_jobs.settings import Settings

__all__ = ["RemoteFiles", "remote_session"]

_PIECE_BYTES: Final = 8 << 20
_BLOCK_BYTES: Final = 1 << 20
_TIMEOUT_S: Final = 60.0


class RemoteFiles:
    """Files over HTTP; see `client.session.Files`.

    Args:
        connection: As the member.
        home: Where downloads are kept while they are used; private to the member.
    """

    def __init__(self, connection: Connection, home: Path) -> None:
        self._connection, self._home = connection, home
        self._runs, self._uploads = bind(api.Runs, "runs", connection), bind(api.Uploads, "uploads", connection)

    @contextmanager
    def run_files(self, run_id: str) -> Iterator[Path]:
        """See `Files`: they are downloaded, and gone when the context ends."""
        listing = [(each.name, each.size_bytes) for each in self._runs.files(run_id)]
        with self._fetched(f"/runs/{quote(run_id, safe='')}/files", listing) as folder:
            yield folder

    @contextmanager
    def dataset_files(self, dataset_id: str, version: DatasetVersionView) -> Iterator[Path]:
        """See `Files`: as `run_files`."""
        listing = [(each.name, each.size_bytes) for each in version.manifest.parts]
        place = f"/datasets/{quote(dataset_id, safe='')}/versions/{version.version}/files"
        with self._fetched(place, listing) as folder:
            yield folder

    @contextmanager
    def _fetched(self, place: str, listing: Iterable[tuple[str, int]]) -> Iterator[Path]:
        with scratch(self._home, "fetched") as own:
            folder = own / "files"
            folder.mkdir()
            for name, size in listing:
                self._fetch(f"{place}/{quote(name)}", folder, name, size)
            yield folder

    def upload(self, folder: Path) -> str:
        """See `Files`: a piece that got no answer is sent again from where the file ends by now."""
        begun = self._uploads.begin().id
        for path in sorted(each for each in folder.iterdir() if each.is_file() and not each.is_symlink()):
            self._send_file(begun, path)
        return begun

    def _send_file(self, upload_id: str, path: Path) -> None:
        target, size, at = f"/uploads/{upload_id}/files/{quote(path.name)}", path.stat().st_size, 0
        with path.open("rb") as file:
            while at < size or not size:
                file.seek(at)
                piece = file.read(_PIECE_BYTES)
                try:
                    self._connection.send("PUT", target, headers={"Upload-Offset": str(at)}, content=piece)
                except ConflictError as error:
                    # The last piece arrived although its answer did not.
                    arrived = error.facts.get("size_bytes")
                    if type(arrived) is not int or not at < arrived <= size:
                        raise
                    at = arrived
                    continue
                at += len(piece)
                if not size:
                    return

    def _fetch(self, target: str, folder: Path, name: str, size: int) -> None:
        parts = PurePosixPath(name).parts
        if not parts or PurePosixPath(name).is_absolute() or ".." in parts:
            raise TrustError("a file's name leads elsewhere", hint="nothing was written: is this the right coordinator?")
        path = folder.joinpath(*parts)
        if shutil.disk_usage(folder).free < size:
            raise ConfigurationError("there is no room for the run's files", hint=f"{size} bytes are needed at {folder}")
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("xb") as file:
            while (at := file.tell()) < size:
                headers = {"Range": f"bytes={at}-{min(size, at + _PIECE_BYTES) - 1}"}
                data = self._connection.send("GET", target, headers=headers).content
                if not data or at + len(data) > size:
                    raise NotFoundError("a file of the run changed while it was fetched", hint="say it again")
                file.write(data)


def remote_session(
    settings: Settings,
    address: str,
    *,
    member_id: str,
    signer: Signer,
    transport: httpx.BaseTransport | None = None,
    now: Callable[[], datetime] = lambda: datetime.now(UTC),
) -> Session:
    """Return the session of a member at a coordinator's address.

    Args:
        settings: The member's own home.
        address: Such as `https://coordinator.example`; plain HTTP only on this machine.
        member_id: Who.
        signer: Their signing key; asked for when the first request is made.
        transport: What carries requests; None for the network.
        now: The clock.

    Raises:
        InvalidInputError: The address is none.
    """
    origin = checked_address(address)
    http = httpx.Client(base_url=origin, timeout=_TIMEOUT_S, transport=transport, trust_env=False)
    login = KeyLogin(http, origin=origin, member_id=member_id, signer=signer, now=now)
    connection = Connection(http, login, now=now)
    return Session(settings, connection, RemoteFiles(connection, settings.home), close=connection.close)
