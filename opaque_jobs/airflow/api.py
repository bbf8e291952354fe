"""The coordinator's API inside Airflow's api-server.

Airflow loads plugins in all of its processes, and authenticates none of a plugin's routes. So the application is made when the
first request comes, and a person whom Airflow's own session names is looked up among the members like anybody else.
"""

import asyncio
import threading
from typing import Any, Final
from urllib.parse import urlsplit

import anyio.from_thread
from airflow.api_fastapi.app import get_auth_manager
from airflow.api_fastapi.auth.managers.base_auth_manager import COOKIE_NAME_JWT_TOKEN
from airflow.configuration import conf
from fastapi import Request
from jwt.exceptions import InvalidTokenError

from opaque_jobs.airflow.access import services
from opaque_jobs.api.actor import Actor, Via
from opaque_jobs.api.coordinator import coordinator_api
from opaque_jobs.api.problems import UnauthenticatedError
from opaque_jobs.errors import NotFoundError

__all__ = ["AirflowSession", "CoordinatorApp", "own_origins"]

_READING: Final = frozenset({"GET", "HEAD", "OPTIONS"})


class AirflowSession:
    """A person by Airflow's own session, from its cookie. What changes something must come from a page of this very server."""

    def __call__(self, request: Request) -> Actor | None:
        """See `api.authentication.Authenticator`."""
        token = request.cookies.get(COOKIE_NAME_JWT_TOKEN)
        if token is None:
            return None
        # Airflow has no protection against other sites' pages; a browser names the origin of whatever could change something.
        if request.method not in _READING and request.headers.get("origin") is None:
            raise UnauthenticatedError("the request does not say which page it comes from", hint="use the page, or log in by key")
        manager: Any = get_auth_manager()
        try:
            user = anyio.from_thread.run(manager.get_user_from_token, token)
            member = services().workspaces.member_for_login(user.get_name())
        except (InvalidTokenError, NotFoundError):
            raise UnauthenticatedError("Airflow's session is none of a member", hint="log in to Airflow as a member") from None
        return Actor(member_id=member.id, via=Via.AIRFLOW)


def own_origins() -> set[str]:
    """Give the addresses under which this Airflow is reached: log-ins name one of them."""
    parts = urlsplit(conf.get("api", "base_url", fallback=""))
    found = {f"{parts.scheme}://{parts.netloc}"} if parts.scheme and parts.netloc else set()
    port = conf.getint("api", "port", fallback=8080)
    return found | {f"http://127.0.0.1:{port}", f"http://localhost:{port}"}


class CoordinatorApp:
    """The application, made when it is first asked."""

    def __init__(self) -> None:
        self._app: Any = None
        self._guard = threading.Lock()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Answer one request."""
        app = self._app or await asyncio.to_thread(self._made)
        await app(scope, receive, send)

    def _made(self) -> Any:
        with self._guard:
            if self._app is None:
                self._app = coordinator_api(services(), origins=own_origins(), others=[AirflowSession()])
            return self._app
