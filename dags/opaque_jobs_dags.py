# ruff: noqa: INP001 - a folder that Airflow loads, not a package
"""For an Airflow that loads a plain folder: the DAG of every job under review or accepted.

The DAG bundle (`opaque_jobs.airflow.bundle`) is the better way; it keeps the revision that an old run executed.
"""

from opaque_jobs.airflow.dags import build_all

build_all(globals().__setitem__)
