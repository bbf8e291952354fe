"""The Airflow plugin. The provider entry point tells Airflow about operators; this one is where pages will be registered."""

from airflow.plugins_manager import AirflowPlugin

__all__ = ["OpaqueJobsPlugin"]


class OpaqueJobsPlugin(AirflowPlugin):
    """Registers what this package adds to Airflow's pages. It has no listeners: they fire twice or never."""

    name = "opaque_jobs"
