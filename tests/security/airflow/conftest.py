"""Real services, and an Airflow that is imported but not started."""

import os
import sys
import tempfile
from pathlib import Path

# Importing Airflow writes a configuration file into its home; it must not be the user's.
os.environ.setdefault("AIRFLOW_HOME", tempfile.mkdtemp(prefix="airflow-of-tests-"))
os.environ.setdefault("AIRFLOW__CORE__LOAD_EXAMPLES", "False")

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "support"))

from consortium import open_consortium

from opaque_jobs.airflow.access import use_services


@pytest.fixture
def study(tmp_path):
    """The workspace of anna, ben and lea, its services taken by this process."""
    cast = open_consortium(tmp_path / "home")
    cast.settle_in()
    use_services(cast.services)
    yield cast
    cast.services.close()
