"""How somebody logs in to Airflow: the same addresses as the simple auth manager's, against our members."""

from typing import Annotated, Any

from airflow.api_fastapi.app import get_auth_manager
from airflow.api_fastapi.auth.managers.simple.datamodels.login import LoginBody, LoginResponse
from airflow.api_fastapi.auth.managers.simple.user import SimpleAuthManagerUser
from airflow.api_fastapi.auth.managers.simple.utils import parse_login_body
from fastapi import APIRouter, Depends, HTTPException, status

from opaque_jobs.airflow.access import services
from opaque_jobs.airflow.logins import ADMIN_LOGIN, HOUSEKEEPING_LOGIN, password_matches
from opaque_jobs.errors import NotFoundError
from opaque_jobs.settings import Settings

__all__ = ["login_router", "role_for"]

login_router = APIRouter()


def role_for(name: str) -> str | None:
    """Give the Airflow role of a log-in name, None for nobody. What a member may do with a job is decided elsewhere."""
    if name == ADMIN_LOGIN:
        return "ADMIN"
    if name == HOUSEKEEPING_LOGIN:
        return "VIEWER"
    try:
        services().workspaces.member_for_login(name)
    except NotFoundError:
        return None
    return "USER"


@login_router.post("/token", status_code=status.HTTP_201_CREATED)
@login_router.post("/token/cli", status_code=status.HTTP_201_CREATED)
def create_token(body: Annotated[LoginBody, Depends(parse_login_body)]) -> LoginResponse:
    """Give a token for a right name and password."""
    right = password_matches(Settings.load(), body.username, body.password)
    role = role_for(body.username) if right else None
    if role is None:
        raise HTTPException(status.HTTP_401_UNAUTHORIZED, "Invalid credentials")
    manager: Any = get_auth_manager()
    return LoginResponse(access_token=manager.generate_jwt(SimpleAuthManagerUser(username=body.username, role=role)))
