"""The Airflow plugin: what Airflow has to know beyond the provider's operators."""

from typing import Any

from airflow.plugins_manager import AirflowPlugin

from opaque_jobs.airflow.timetable import ApprovedCron
from opaque_jobs.protocol.operations import MOUNT

__all__ = ["OpaqueJobsPlugin"]


class _Later:
    """The API, loaded by the one process of Airflow's that is asked for it."""

    _app: Any = None

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if self._app is None:
            from opaque_jobs.airflow.api import CoordinatorApp  # noqa: PLC0415 - no other process of Airflow's needs it

            self._app = CoordinatorApp()
        await self._app(scope, receive, send)


class OpaqueJobsPlugin(AirflowPlugin):
    """Registers what this package adds to Airflow's pages. It has no listeners: they fire twice or never."""

    name = "opaque_jobs"
    timetables = [ApprovedCron]  # noqa: RUF012 - the form that Airflow gives it
    fastapi_apps = [{"app": _Later(), "url_prefix": MOUNT, "name": "opaque-jobs"}]  # noqa: RUF012 - as above
