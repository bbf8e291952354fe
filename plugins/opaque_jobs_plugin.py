# ruff: noqa: INP001 - a folder that Airflow loads, not a package
"""For an Airflow that does not use entry points: copy this file into its plugins folder.

Airflow imports it by its bare file name; called `opaque_jobs.py` it would take the place of the package.
"""

from opaque_jobs.airflow.plugin import OpaqueJobsPlugin

__all__ = ["OpaqueJobsPlugin"]
