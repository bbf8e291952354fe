"""The application without a socket: for one machine, where client and coordinator are one program, and for tests."""

from types import TracebackType
from typing import Any, Self

import httpx
from anyio.from_thread import BlockingPortal, start_blocking_portal
from starlette.types import ASGIApp

__all__ = ["InProcess"]


class InProcess(httpx.BaseTransport):
    """Carries the requests of a synchronous client to an application in this process.

    Args:
        app: The application.
    """

    def __init__(self, app: ASGIApp) -> None:
        # What the application raises is answered by its own handlers, as over a socket.
        self._inner = httpx.ASGITransport(app, raise_app_exceptions=False)
        self._context = start_blocking_portal()
        self._portal: BlockingPortal = self._context.__enter__()

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        """Answer one request."""
        status, headers, content = self._portal.call(self._answer, request)
        return httpx.Response(status, headers=headers, content=content)

    async def _answer(self, request: httpx.Request) -> tuple[int, Any, bytes]:
        body = request.read()
        asked = httpx.Request(request.method, request.url, headers=request.headers, content=body)
        response = await self._inner.handle_async_request(asked)
        content = await response.aread()
        return response.status_code, response.headers.raw, content

    def close(self) -> None:
        """End the thread that answers."""
        self._context.__exit__(None, None, None)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None = None, error: BaseException | None = None, trace: TracebackType | None = None
    ) -> None:
        self.close()
