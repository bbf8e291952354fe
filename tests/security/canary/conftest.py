import os
import sys
import tempfile
from pathlib import Path

# Importing Airflow writes a configuration file into its home; it must not be the user's.
os.environ.setdefault("AIRFLOW_HOME", tempfile.mkdtemp(prefix="airflow-of-tests-"))

sys.path.insert(0, str(Path(__file__).parents[2] / "support"))
