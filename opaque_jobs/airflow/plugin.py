"""The Airflow plugin: what Airflow has to know beyond the provider's operators. Pages will be registered here."""

from airflow.plugins_manager import AirflowPlugin

from opaque_jobs.airflow.timetable import ApprovedCron

__all__ = ["OpaqueJobsPlugin"]


class OpaqueJobsPlugin(AirflowPlugin):
    """Registers what this package adds to Airflow's pages. It has no listeners: they fire twice or never."""

    name = "opaque_jobs"
    timetables = [ApprovedCron]  # noqa: RUF012 - the form that Airflow gives it
