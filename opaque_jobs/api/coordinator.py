"""The coordinator of an installation: its services behind the API."""

import os
import secrets
from collections.abc import Iterable
from importlib.metadata import version
from pathlib import Path
from typing import Final

from fastapi import FastAPI
from starlette.applications import Starlette
from starlette.routing import Mount

from opaque_jobs.api.app import Noun, create_api
from opaque_jobs.api.authentication import Authenticator, KeyAuthenticator
from opaque_jobs.api.files import add_files
from opaque_jobs.api.tokens import Tokens
from opaque_jobs.api.uploads import Uploads
from opaque_jobs.api.use_cases import use_cases
from opaque_jobs.crypto.key_files import write_new_private_file
from opaque_jobs.crypto.keys import VerifyKey
from opaque_jobs.errors import ConfigurationError, ConflictError
from opaque_jobs.protocol.api import NOUNS
from opaque_jobs.protocol.operations import MOUNT
from opaque_jobs.services import Services
from opaque_jobs.services.answers import KeptAnswers

__all__ = ["coordinator_api", "whole"]

_SECRET_BYTES: Final = 32


def whole(app: FastAPI) -> Starlette:
    """Give the application at the address that members know, for a server of its own."""
    return Starlette(routes=[Mount(MOUNT, app)])


def coordinator_api(services: Services, *, origins: Iterable[str], others: Iterable[Authenticator] = ()) -> FastAPI:
    """Give the application over an installation's services, to be mounted at `MOUNT`.

    Args:
        services: Opened.
        origins: The addresses under which members reach it, such as `https://coordinator.example`; log-ins name one of them.
        others: Further ways to know who asks, such as Airflow's session.

    Raises:
        ConfigurationError: The home cannot be written.
    """
    context = services.context
    uploads = Uploads(context.settings.storage_dir / "uploads")
    answering = use_cases(services, uploads, version=version("opaque-jobs"))
    keys = KeyAuthenticator(
        Tokens(_secret(context.settings.home / "api" / "token-secret")),
        lambda member_id: VerifyKey.parse(services.workspaces.member(member_id).public_key),
        origins=origins,
        now=context.now,
    )
    app, actor = create_api(
        {name: Noun(declared=declared, use_cases=answering[name]) for name, declared in NOUNS.items()},
        keys=keys,
        others=others,
        answers=KeptAnswers(context),
        now=context.now,
        version=version("opaque-jobs"),
    )
    add_files(app, services, uploads, actor=actor)
    return app


def _secret(path: Path) -> bytes:
    """Give what tokens are made with, made on first use: all processes of a coordinator share it."""
    for _ in range(2):
        try:
            kept = path.read_bytes()
        except FileNotFoundError:
            path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            try:
                write_new_private_file(path, secrets.token_bytes(_SECRET_BYTES))
            except ConflictError:
                continue  # another process was faster
            continue
        except OSError as error:
            raise ConfigurationError(f"{os.fspath(path)} cannot be read: {error.strerror}", hint="check who owns it") from None
        if len(kept) == _SECRET_BYTES:
            return kept
        break
    raise ConfigurationError("the coordinator's token secret is damaged", hint=f"remove {path}; members log in again")
