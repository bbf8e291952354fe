"""Who may see and do what in Airflow: the members' roles of each job, not Airflow's roles.

Airflow's own administrator is nobody to a job: health, pools and connections are theirs; DAGs, runs, code, parameters and logs
of jobs are not. Membership is looked up at every request, so leaving a workspace takes effect at once.
"""

from collections.abc import Sequence
from typing import Any, Final

from airflow.api_fastapi.auth.managers.base_auth_manager import ResourceMethod
from airflow.api_fastapi.auth.managers.models.batch_apis import IsAuthorizedDagRequest
from airflow.api_fastapi.auth.managers.models.resource_details import (
    AccessView,
    AssetDetails,
    ConfigurationDetails,
    DagAccessEntity,
    DagDetails,
)
from airflow.api_fastapi.auth.managers.simple.simple_auth_manager import SimpleAuthManager
from airflow.api_fastapi.auth.managers.simple.user import SimpleAuthManagerUser
from airflow.configuration import conf
from airflow.exceptions import AirflowConfigException
from fastapi import FastAPI

from opaque_jobs.airflow.access import services
from opaque_jobs.airflow.ids import job_id_of
from opaque_jobs.airflow.login_routes import login_router
from opaque_jobs.airflow.logins import ADMIN_LOGIN, HOUSEKEEPING_LOGIN
from opaque_jobs.domain.roles import Action, may, role_of
from opaque_jobs.errors import NotFoundError

__all__ = ["RUN", "WorkspaceAuthManager", "needed"]

RUN: Final = "run"
"""What the workspace's run policy decides about, beside the actions of `domain.roles`."""

_READ: Final = {
    None: Action.SEE,
    DagAccessEntity.AUDIT_LOG: Action.SEE,
    DagAccessEntity.CODE: Action.SEE,
    DagAccessEntity.DEPENDENCIES: Action.SEE,
    DagAccessEntity.RUN: Action.SEE,
    DagAccessEntity.TASK: Action.SEE,
    DagAccessEntity.TASK_INSTANCE: Action.SEE,
    DagAccessEntity.TASK_LOGS: Action.READ_RESULT,
    DagAccessEntity.VERSION: Action.SEE,
    DagAccessEntity.WARNING: Action.SEE,
    DagAccessEntity.XCOM: Action.READ_RESULT,
    DagAccessEntity.HITL_DETAIL: Action.SEE,
}
_CHANGE: Final = {
    ("PUT", None): RUN,  # pause and unpause: the schedule inside the approved terms
    ("POST", DagAccessEntity.RUN): RUN,
    ("PUT", DagAccessEntity.RUN): RUN,  # clear, mark failed
    ("PUT", DagAccessEntity.TASK_INSTANCE): RUN,
}
_HOUSEKEEPING: Final = {None, DagAccessEntity.RUN, DagAccessEntity.TASK_INSTANCE}


def needed(method: str, entity: DagAccessEntity | None) -> Action | str | None:
    """Give what a person must be allowed to do with the job for this request; None if nobody may."""
    return _READ.get(entity) if method == "GET" else _CHANGE.get((method, entity))


class WorkspaceAuthManager(SimpleAuthManager):
    """Airflow's simple auth manager, with log-ins from our members and the say over our DAGs from our services."""

    def init(self) -> None:
        """Refuse the setting that would make everybody an administrator.

        Raises:
            AirflowConfigException: `[core] simple_auth_manager_all_admins` is on.
        """
        if conf.getboolean("core", "simple_auth_manager_all_admins"):
            raise AirflowConfigException("simple_auth_manager_all_admins would let anybody read every job; switch it off")

    @staticmethod
    def get_users() -> list[SimpleAuthManagerUser]:
        """Give nobody: log-ins are looked up when somebody logs in."""
        return []

    def get_fastapi_app(self) -> FastAPI | None:
        """Give the log-in pages, with our own way of checking a password."""
        app = FastAPI(title="opaque-jobs log-in")
        app.include_router(login_router)
        if (pages := super().get_fastapi_app()) is not None:
            app.mount("/", pages)
        return app

    def is_authorized_dag(
        self,
        *,
        method: ResourceMethod,
        user: SimpleAuthManagerUser,
        access_entity: DagAccessEntity | None = None,
        details: DagDetails | None = None,
    ) -> bool:
        """Tell whether a person may do this; for our DAGs by the job's members, for others by Airflow's roles."""
        if details is None or details.id is None:
            # A list, whose entries are filtered by `filter_authorized_dag_ids`; or a change of no DAG in particular.
            # The audit log's entries without a DAG are not filtered, so that list is the administrator's.
            return method == "GET" and (access_entity is not DagAccessEntity.AUDIT_LOG or self._is_admin(user))
        job_id = job_id_of(details.id)
        if job_id is None:
            return super().is_authorized_dag(method=method, user=user, access_entity=access_entity, details=details)
        if user.username == HOUSEKEEPING_LOGIN:
            return method == "GET" and access_entity in _HOUSEKEEPING
        return self._may(user, job_id, needed(str(method), access_entity))

    def batch_is_authorized_dag(self, requests: Sequence[IsAuthorizedDagRequest], *, user: SimpleAuthManagerUser) -> bool:
        """Tell whether a person may do all of these; never for an empty list."""
        return bool(requests) and super().batch_is_authorized_dag(requests, user=user)

    def is_authorized_configuration(
        self, *, method: ResourceMethod, user: SimpleAuthManagerUser, details: ConfigurationDetails | None = None
    ) -> bool:
        """Tell whether a person may see Airflow's configuration: its administrator only."""
        return self._is_admin(user) and super().is_authorized_configuration(method=method, user=user, details=details)

    def is_authorized_asset(
        self, *, method: ResourceMethod, user: SimpleAuthManagerUser, details: AssetDetails | None = None
    ) -> bool:
        """Tell who may see assets, which name our jobs, and tell of refreshes: housekeeping; the administrator may look."""
        if user.username == HOUSEKEEPING_LOGIN:
            return method in ("GET", "POST") and (details is None or details.id is None)
        return method == "GET" and self._is_admin(user) and super().is_authorized_asset(method=method, user=user, details=details)

    def is_authorized_view(self, *, access_view: AccessView, user: SimpleAuthManagerUser) -> bool:
        """Tell whether a person may see an overview; members see the site, the rest is the administrator's."""
        return access_view in (AccessView.WEBSITE, AccessView.DOCS) or self._is_admin(user)

    def is_authorized_hitl_task(self, *, assigned_users: set[str], user: SimpleAuthManagerUser) -> bool:  # noqa: ARG002
        """Tell nobody that Airflow's own approvals count here."""
        return False

    def _may(self, user: SimpleAuthManagerUser, job_id: str, action: Action | str | None) -> bool:
        if action is None or user.username == ADMIN_LOGIN:
            return False
        try:
            member = services().workspaces.member_for_login(user.username)
            job = services().jobs.show(job_id, actor=member.id)
            roster = services().workspaces.show(job.workspace_id, actor=member.id).roster
        except NotFoundError:
            return False
        if roster is None or member.id not in {each.id for each in roster.members}:
            return False
        if action == RUN:
            return roster.may_run(member.id, author_id=job.author_id)
        role = role_of(
            member.id,
            member.organisation_id,
            author_id=job.author_id,
            author_organisation_id=roster.member(job.author_id).organisation_id,
            is_member=True,
        )
        return may(role, Action(action))

    def serialize_user(self, user: SimpleAuthManagerUser) -> dict[str, Any]:
        """Give what a token says about a person."""
        return {"sub": user.username, "role": user.role, "teams": []}
