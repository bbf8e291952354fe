# ruff: noqa: INP001 - a folder that Airflow loads, not a package
"""For an Airflow that does not use entry points: copy this file into its plugins folder."""

from opaque_jobs.orchestration.plugin import OpaqueJobsPlugin

__all__ = ["OpaqueJobsPlugin"]
