"""Routes of files: what is sealed goes out in whole or by ranges (RFC 9110, section 14), what is encrypted comes in by pieces."""

from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any, Final

import anyio.from_thread
from fastapi import FastAPI, Request, Response
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import FileResponse, JSONResponse

from opaque_jobs.api.actor import Actor
from opaque_jobs.api.uploads import Uploads
from opaque_jobs.domain.document import to_json
from opaque_jobs.errors import InvalidInputError, NotFoundError
from opaque_jobs.protocol.operations import ROUTES
from opaque_jobs.services import Services

__all__ = ["OFFSET", "add_files"]

OFFSET: Final = "upload-offset"
_BYTES: Final = "application/octet-stream"

Who = Callable[[Request], Actor]


def add_files(app: FastAPI, services: Services, uploads: Uploads, *, actor: Who) -> None:
    """Add the routes."""
    _add_downloads(app, services, actor)
    _add_upload(app, uploads, actor)


def _add_downloads(app: FastAPI, services: Services, actor: Who) -> None:
    async def sent(request: Request, folder_of: Callable[[str], Path], name: str) -> Response:
        asking = await run_in_threadpool(actor, request)
        folder = await run_in_threadpool(folder_of, asking.member_id)
        path = await run_in_threadpool(_listed, folder, name)
        # Ciphertext of others is nobody's page: it is saved, not shown.
        headers = {"X-Content-Type-Options": "nosniff", "Content-Disposition": "attachment", "Cache-Control": "no-store"}
        return FileResponse(path, media_type=_BYTES, headers=headers)

    @app.get(f"{ROUTES}/runs/{{run_id}}/files/{{name:path}}", tags=["runs"], operation_id="runs.file", **_described)
    async def run_file(request: Request, run_id: str, name: str) -> Response:
        """Fetch a file that a run left, in whole or by ranges; sealed, or of a test, plain."""
        return await sent(request, lambda asking: services.runs.result_folder(run_id, actor=asking), name)

    @app.get(
        f"{ROUTES}/datasets/{{dataset_id}}/test-files/{{name}}",
        tags=["datasets"],
        operation_id="datasets.test_file",
        **_described,
    )
    async def test_file(request: Request, dataset_id: str, name: str) -> Response:
        """Fetch a file of a data set's test data."""
        return await sent(request, lambda asking: services.datasets.test_folder(dataset_id, actor=asking), name)

    @app.get(
        f"{ROUTES}/datasets/{{dataset_id}}/versions/{{version}}/files/{{name}}",
        tags=["datasets"],
        operation_id="datasets.file",
        **_described,
    )
    async def version_file(request: Request, dataset_id: str, version: int, name: str) -> Response:
        """Fetch an encrypted file of one's own organisation's data set."""
        return await sent(request, lambda asking: services.datasets.version_folder(dataset_id, version, actor=asking), name)


def _add_upload(app: FastAPI, uploads: Uploads, actor: Who) -> None:
    @app.put(
        f"{ROUTES}/uploads/{{upload_id}}/files/{{name}}",
        tags=["uploads"],
        operation_id="uploads.append",
        openapi_extra={
            "parameters": [{"name": "Upload-Offset", "in": "header", "required": True, "schema": {"type": "integer"}}],
            "requestBody": {"required": True, "content": {_BYTES: {"schema": {"type": "string", "format": "binary"}}}},
        },
    )
    async def append(request: Request, upload_id: str, name: str) -> Response:
        """Send the next piece of a file; it begins where the last one ended."""
        asking = await run_in_threadpool(actor, request)
        start = _offset(request)
        stream = request.stream()

        def blocks() -> Iterator[bytes]:
            while block := anyio.from_thread.run(_next, stream):
                yield block

        taken = await run_in_threadpool(uploads.append, upload_id, name, start=start, blocks=blocks(), actor=asking)
        return JSONResponse(to_json(taken))


_described: Final[dict[str, Any]] = {
    "response_class": FileResponse,
    "responses": {206: {"description": "The asked range"}, 416: {"description": "No such range"}},
}


async def _next(stream: AsyncIterator[bytes]) -> bytes:
    async for block in stream:
        if block:
            return block
    return b""


def _offset(request: Request) -> int:
    text = request.headers.get(OFFSET, "")
    if not text.isascii() or not text.isdigit() or len(text) > len(str(1 << 62)):
        raise InvalidInputError("the piece does not say where it begins", hint="give the header Upload-Offset, in bytes")
    return int(text)


def _listed(folder: Path, name: str) -> Path:
    """Give a file of a folder that is there under exactly this name: nothing that a name could otherwise lead to."""
    for path in folder.rglob("*"):
        if path.relative_to(folder).as_posix() == name and path.is_file() and not path.is_symlink():
            return path
    raise NotFoundError("there is no such file", hint="see the list of files")
